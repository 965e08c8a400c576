"""Reads ranges of a topic's partitions once, from an offset to a given end, in a thread with a consumer of its own.

Rules:
- What is read goes to `take`, in the thread, a few records at a time: what it does there is what bounds the reading.
- An end is reached with the first record at or behind it, or when the broker tells of the partition's own end: control
  records, aborted ones and compaction leave offsets without records.
- A few partitions at a time, so that what librdkafka fetches ahead is bounded too.
- What the log no longer has at a beginning is passed over: for whoever scans, a record that is gone does not count.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import trio
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka import settings
from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.consume import consume
from tailrace.kafka.trouble import NO_SUCH_TOPIC, in_words, trouble

PARTITIONS = 8  # at a time: of each a fetch is under way, and one more waits
MAX_RECORDS = 256  # of one consume(), which holds the GIL: 2 ms
_WAIT_SECONDS = 0.05
_ASK_SECONDS = 1.5
PATIENCE_SECONDS = 8.0  # without a record or an end

Take = Callable[[int, list[Message]], None]
"""A partition's next records, in offset order; called in the thread."""


class Range(msgspec.Struct, frozen=True):
    """start <= offset < stop; `stop` must not be above the partition's read_committed end."""

    partition: int
    start: int
    stop: int


class Truncated(Exception):
    """The log ends below the end that was given: it has lost records, or is another one."""


async def scan(kafka: Mapping[str, settings.Value], topic: str, ranges: Iterable[Range], take: Take) -> None:
    """Returns when all of it went to `take`. kafka: the user's librdkafka settings.

    Cancelled, it ends within a poll (50 ms). Raises Truncated, UnknownTopic, KafkaUnavailable when nothing comes for
    PATIENCE_SECONDS, and what `take` raises.
    """
    wanted = [each for each in ranges if each.start < each.stop]
    if wanted:
        await trio.to_thread.run_sync(_scan, settings.reader(kafka), topic, wanted, take)


def _scan(configuration: settings.Settings, topic: str, ranges: Sequence[Range], take: Take) -> None:
    consumer = Consumer(configuration, logger=BrokerLog())
    try:
        for first in range(0, len(ranges), PARTITIONS):
            _Group(consumer, topic, ranges[first : first + PARTITIONS], take).read()
    except KafkaException as error:
        raise KafkaUnavailable(in_words([trouble(error)])) from None
    finally:
        consumer.close()


class _Group:
    """The partitions that are read at the same time. `_next`: per partition that is not finished, the next offset."""

    def __init__(self, consumer: Consumer, topic: str, ranges: Sequence[Range], take: Take) -> None:
        self._consumer = consumer
        self._topic = topic
        self._take = take
        self._stops = {each.partition: each.stop for each in ranges}
        self._next = {each.partition: each.start for each in ranges}
        self._heard_at = time.monotonic()

    def read(self) -> None:
        self._assign()
        while self._next:
            trio.from_thread.check_cancelled()
            messages = consume(self._consumer, MAX_RECORDS, _WAIT_SECONDS)
            self._sort(messages)
            if messages:
                self._heard_at = time.monotonic()
            elif time.monotonic() - self._heard_at > PATIENCE_SECONDS:
                raise KafkaUnavailable(f"nothing could be read of {self._topic} for {PATIENCE_SECONDS:g} s")
        self._consumer.unassign()

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])

    def _sort(self, messages: list[Message]) -> None:
        records: dict[int, list[Message]] = {}
        for message in messages:
            partition = message.partition()
            if partition is None or partition not in self._next:
                if (error := message.error()) is not None and partition is None:
                    raise _failure(error)
            elif (error := message.error()) is not None:
                self._hand_on(partition, records.pop(partition, []))
                self._event(partition, error, message.offset() or 0)
            else:
                records.setdefault(partition, []).append(message)
        for partition, those in records.items():
            self._hand_on(partition, those)

    def _hand_on(self, partition: int, records: list[Message]) -> None:
        """Those that are wanted: after a new assignment some come again, and the last ones may be behind the end."""
        if partition not in self._next or not records:
            return
        next, stop = self._next[partition], self._stops[partition]
        wanted = [record for record in records if next <= (record.offset() or 0) < stop]
        if wanted:
            self._take(partition, wanted)
        self._reached(partition, max(next, (records[-1].offset() or 0) + 1))

    def _event(self, partition: int, error: KafkaError, offset: int) -> None:
        if partition not in self._next:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._reached(partition, offset)
            if partition in self._next:
                self._examine(partition)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._examine(partition)
        else:
            raise _failure(error)

    def _reached(self, partition: int, next: int) -> None:
        self._next[partition] = next
        if next >= self._stops[partition]:
            del self._next[partition]
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def _examine(self, partition: int) -> None:
        """It cannot be read on from there: its log begins later now, or ends before."""
        place = TopicPartition(self._topic, partition)
        bounds = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
        if bounds is None:
            raise KafkaUnavailable("no broker answers")
        beginning, end = bounds
        if end < self._stops[partition]:
            raise Truncated(f"{self._topic}/{partition} ends at {end}, below {self._stops[partition]}")
        if beginning > self._next[partition]:
            self._reached(partition, beginning)
            if partition in self._next:
                self._assign()


def _failure(error: KafkaError) -> Exception:
    what = trouble(error)
    return (UnknownTopic if what.name in NO_SUCH_TOPIC else KafkaUnavailable)(in_words([what]))
