"""What librdkafka tells of the live end now and then, and how far the tails are behind the log.

The lag is taken when the statistics come: the ends they name, less the places that the tails have reached at that
moment, so that both are of the same time. Records in librdkafka's queue, in the channel and in the backlog count.
"""

import contextlib
from collections.abc import Callable, Iterable

import msgspec
import structlog
import trio

from tailrace.gateway.topic import OpenTopic
from tailrace.kafka.statistics import Numbers, numbers

_log = structlog.get_logger(__name__)


class Lag:
    """`take` is for LiveConsumer's `on_statistics`. open: the topics that are open now. partitions: the lag in records,
    by topic and partition, as of the last statistics. Built in trio."""

    def __init__(self, open: Callable[[], Iterable[OpenTopic]]) -> None:
        self._open = open
        self._token = trio.lowlevel.current_trio_token()
        self.kafka = Numbers()
        self.partitions: dict[tuple[str, int], int] = {}

    def take(self, text: str) -> None:
        """In the poll thread."""
        try:
            told = numbers(text)
        except msgspec.MsgspecError:
            _log.exception("statistics of librdkafka cannot be read")
            return
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._took, told)

    def _took(self, told: Numbers) -> None:
        self.kafka = told
        self.partitions = {}
        for topic in self._open():
            places = topic.positions
            for partition, end in told.ends.get(topic.name, {}).items():
                if partition in places:
                    self.partitions[topic.name, partition] = max(0, end - places[partition])
