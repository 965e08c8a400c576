"""Kafka in this process: librdkafka's mock cluster, for `tailrace demo` and quick tests.

It speaks the protocol on a loopback port, so everybody else is an ordinary client of `bootstrap`. It keeps the newest
5 MB or so of a partition, in memory. Left out by librdkafka: topic ids, configurations, look-ups by time.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import trio
from confluent_kafka import KafkaError, Producer

from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.native import create_mock_topic
from tailrace.kafka.settings import Settings

_METADATA_SECONDS = 5.0
_FLUSH_SECONDS = 5.0


class EmbeddedKafka:
    """`async with EmbeddedKafka() as kafka:`; ends with the block, and everything in it is gone."""

    def __init__(self) -> None:
        self._error_callback = _ignored
        self._producer: Producer | None = None
        self.bootstrap = ""

    @property
    def settings(self) -> Settings:
        """What the gateway's clients need in `[kafka]`. The mock holds back an empty fetch all of its wait: 5 ms."""
        return {"bootstrap.servers": self.bootstrap, "fetch.wait.max.ms": 5}

    async def __aenter__(self) -> Self:
        await trio.to_thread.run_sync(self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._stop)

    def create(self, topic: str, partitions: int) -> None:
        """Creates a topic of so many partitions. Raises ValueError when it exists or cannot be."""
        if not create_mock_topic(self._running(), self._error_callback, topic, partitions):
            raise ValueError(f"cannot create topic {topic!r} with {partitions} partitions")

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int = -1,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Appends a record (partition -1: by its key), in the background; never waits."""
        producer = self._running()
        producer.produce(topic, value, key, partition, headers=list(headers))
        producer.poll(0)

    async def flush(self) -> None:
        """Waits until everything produced is in the log."""
        await trio.to_thread.run_sync(self._running().flush, _FLUSH_SECONDS)

    def _start(self) -> None:
        producer = Producer(
            {"test.mock.num.brokers": 1, "linger.ms": 1},
            error_cb=self._error_callback,
            logger=BrokerLog(),
        )
        brokers = producer.list_topics(timeout=_METADATA_SECONDS).brokers.values()
        self.bootstrap = ",".join(f"{each.host}:{each.port}" for each in brokers)
        self._producer = producer

    def _stop(self) -> None:
        """The last reference goes here, in a thread: librdkafka joins its own threads then."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    def _running(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("the embedded Kafka is not running")
        return self._producer


def _ignored(_: KafkaError) -> None:
    """Errors of the producer of a cluster in the same process concern nobody."""
