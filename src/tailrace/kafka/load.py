"""Records at a rate, for `tailrace bench`: one thread produces on a schedule and counts what the broker acknowledged.

A record's place in the schedule is its due time, however late the producer is, so that neither its own stalls nor the
broker's are forgiven. Idempotent, so that a retry neither repeats nor reorders. Records that failed are counted, and
are nobody's loss.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, Producer
from msgspec import Struct

from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.settings import Settings

_FLUSH_SECONDS = 30.0
_REACH_SECONDS = 10.0


class Schedule(Struct, frozen=True):
    """So many records, `rate` a second; keys in turn, none: records without one. value: that of a due time (ns)."""

    topic: str
    records: int
    rate: float
    keys: tuple[str, ...]
    value: Callable[[int], bytes]


class Load:
    """`open`, then `run`, in a thread; the counts may be read meanwhile."""

    def __init__(self, settings: Settings, schedule: Schedule) -> None:
        self.acknowledged: Counter[str | None] = Counter()
        self.failed = 0
        self.produced = 0
        self._schedule = schedule
        self._stopped = False
        self._producer: Producer | None = None
        self._settings: dict[str, Any] = {
            "linger.ms": 1,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 100_000,
            **settings,
        }

    def stop(self) -> None:
        """`run` ends, once what is under way has been acknowledged."""
        self._stopped = True

    def open(self) -> None:
        """Connect, some time before `run`: the first record of an idempotent producer waits for its id, up to 0.5 s.

        Raises ConnectionError when there is no broker, or no such topic.
        """
        self._producer = Producer(self._settings, logger=BrokerLog(), error_cb=_ignored)
        self._reach(self._producer)

    def run(self) -> None:
        """Produce everything and wait for the broker."""
        producer = self._producer
        assert producer is not None, "open comes first"
        started_ns = time.time_ns()
        for number in range(self._schedule.records):
            due_ns = started_ns + int(number / self._schedule.rate * 1e9)
            while (left := (due_ns - time.time_ns()) / 1e9) > 0 and not self._stopped:
                producer.poll(min(left, 0.1))
            if self._stopped:
                break
            self._produce(producer, number, due_ns)
        self.failed += producer.flush(_FLUSH_SECONDS)

    def _reach(self, producer: Producer) -> None:
        topic = self._schedule.topic
        try:
            found = producer.list_topics(topic, timeout=_REACH_SECONDS).topics[topic]
        except KafkaException as error:
            raise ConnectionError(f"cannot reach Kafka: {error.args[0].str()}") from None
        if found.error is not None:
            raise ConnectionError(f"cannot produce to {topic}: {found.error.str()}")

    def _produce(self, producer: Producer, number: int, due_ns: int) -> None:
        keys = self._schedule.keys
        key = keys[number % len(keys)] if keys else None

        def delivered(error: object, message: object) -> None:
            if error is None:
                self.acknowledged[key] += 1
            else:
                self.failed += 1

        value = self._schedule.value(due_ns)
        while True:
            try:
                producer.produce(self._schedule.topic, value, key, on_delivery=delivered)
                break
            except BufferError:  # the broker is slower than the schedule
                producer.poll(0.05)
        self.produced += 1
        producer.poll(0)


def _ignored(_: object) -> None:
    """What goes wrong shows in the records that fail."""
