"""What is worth having of librdkafka's statistics (`statistics.interval.ms`, STATISTICS.md of its sources). Pure.

Left out: its consumer_lag, which counts from committed offsets, and there are none; round trips, which contain the
time a broker holds an empty fetch back.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

_UNASSIGNED: Final = "-1"  # librdkafka's own partition for records without one


class Numbers(msgspec.Struct, frozen=True):
    """Of one consumer. ends: of each topic's partitions the end for committed readers, as of their last fetch, where
    it is known. Received and failed are so far, the others now. throttle_seconds: the most any broker held us back."""

    received_bytes: int = 0
    failed_requests: int = 0
    brokers_up: int = 0
    throttle_seconds: float = 0.0
    queued_records: int = 0
    queued_bytes: int = 0
    ends: Mapping[str, Mapping[int, int]] = {}


class _Window(msgspec.Struct, frozen=True):
    avg: int = 0  # microseconds


class _Broker(msgspec.Struct):
    nodeid: int = -1
    state: str = ""
    txerrs: int = 0
    rxerrs: int = 0
    req_timeouts: int = 0
    throttle: _Window = _Window()


class _Partition(msgspec.Struct):
    fetchq_cnt: int = 0
    fetchq_size: int = 0
    ls_offset: int = -1


class _Topic(msgspec.Struct):
    partitions: dict[str, _Partition] = {}


class _Told(msgspec.Struct):
    rx_bytes: int = 0
    brokers: dict[str, _Broker] = {}
    topics: dict[str, _Topic] = {}


_decoder = msgspec.json.Decoder(_Told)


def numbers(text: str) -> Numbers:
    """Raises msgspec.ValidationError or DecodeError for a text that is no statistics."""
    told = _decoder.decode(text)
    brokers = [broker for broker in told.brokers.values() if broker.nodeid >= 0]  # not the logical ones
    partitions = [each for topic in told.topics.values() for each in topic.partitions.values()]
    return Numbers(
        received_bytes=told.rx_bytes,
        failed_requests=sum(each.txerrs + each.rxerrs + each.req_timeouts for each in brokers),
        brokers_up=sum(each.state == "UP" for each in brokers),
        throttle_seconds=max((each.throttle.avg / 1000 for each in brokers), default=0.0),
        queued_records=sum(each.fetchq_cnt for each in partitions),
        queued_bytes=sum(each.fetchq_size for each in partitions),
        ends={name: _ends(topic) for name, topic in told.topics.items()},
    )


def _ends(topic: _Topic) -> dict[int, int]:
    return {
        int(number): each.ls_offset
        for number, each in topic.partitions.items()
        if number != _UNASSIGNED and each.ls_offset >= 0
    }
