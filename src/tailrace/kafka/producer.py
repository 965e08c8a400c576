"""Records to Kafka, each with a report of what became of it: one idempotent producer, one thread that polls it.

Rules:
- `produce` is the event loop's and never waits: librdkafka copies the record into its queue, or refuses it.
- A report says WRITTEN, REJECTED (it is not in the log) or UNKNOWN (it may be). Only an error that proves it makes a
  REJECTED; an error of a record that was under way when a connection was lost proves nothing, since an earlier
  attempt may have been appended.
- Reports come to the loop in batches, in the order librdkafka gives them: one wake-up for all that one poll found.
- A fatal error (an idempotent producer that lost its sequence) ends `run`; the next record needs a new producer.

Left out: whether the topic exists, limits, and who waits for the answer.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any

import msgspec
import structlog
import trio
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from tailrace.errors import KafkaUnavailable
from tailrace.kafka import settings
from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.native import Doorbell
from tailrace.kafka.trouble import in_words, trouble

# As for the live consumer: the bell ends the wait, this is the last resort.
_WAIT_SECONDS = 0.5
_WAIT_WITHOUT_BELL_SECONDS = 0.05
_PURGE_SECONDS = 1.0  # until what was purged is reported
_BY_KEY = -1  # RD_KAFKA_PARTITION_UA: the partitioner chooses
# What librdkafka's own cluster (`tailrace demo`) says of every record, while it keeps the time that the record brought.
_EMBEDDED_TIME = (TIMESTAMP_LOG_APPEND_TIME, 1234)

_REJECTIONS = frozenset(
    {
        "MSG_SIZE_TOO_LARGE",
        "RECORD_LIST_TOO_LARGE",
        "INVALID_RECORD",
        "INVALID_TIMESTAMP",
        "POLICY_VIOLATION",
        "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        "UNSUPPORTED_COMPRESSION_TYPE",
        "TOPIC_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        "TOPIC_EXCEPTION",
        "UNKNOWN_TOPIC_OR_PART",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
    }
)
"""The broker said no before it appended anything, or there is nothing to append to. NOT_ENOUGH_REPLICAS is not among
them: an attempt before may have been appended and not replicated."""

_log = structlog.get_logger("tailrace.kafka")


class Fate(Enum):
    """What became of a record."""

    WRITTEN = "written"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Report(msgspec.Struct, frozen=True, gc=False):
    """Of the record that was produced with `token`. WRITTEN: where it stands, `timestamp_ms` None when Kafka tells
    none; else `text` says why not."""

    token: Any
    fate: Fate
    partition: int = -1
    offset: int = -1
    timestamp_ms: int | None = None
    text: str = ""


class RecordProducer:
    """One librdkafka producer. `kafka`: the user's settings; on_reports: called in the loop, must not raise."""

    def __init__(
        self,
        kafka: Mapping[str, settings.Value],
        timeout_seconds: float,
        on_reports: Callable[[list[Report]], None],
        log: BrokerLog | None = None,
    ) -> None:
        self._settings = settings.producer(kafka, timeout_seconds)
        self._on_reports = on_reports
        self._log = log or BrokerLog()
        self._token = trio.lowlevel.current_trio_token()
        self._error_callback = self._error_event  # one object: the bell knows the client by it
        self._started = trio.Event()
        self._refusal = ""
        self._producer: Producer | None = None
        self._bell: Doorbell | None = None
        self._stopping = False
        self._taking = threading.Lock()  # nothing is handed in once it is stopping, or it would never be reported
        self._losses = 0  # error events so far: each may be a connection that was lost
        self._reports: deque[Report] = deque()

    async def run(self) -> None:
        """Polls until cancelled, or until the client is of no more use. What is then under way is given up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_cancelled)
            await trio.to_thread.run_sync(self._poll, limiter=trio.CapacityLimiter(1))
            nursery.cancel_scope.cancel()
        self._started.set()

    async def started(self) -> None:
        """Wait until it can be used; raises KafkaUnavailable when it never will."""
        await self._started.wait()
        if self._refusal:
            raise KafkaUnavailable(self._refusal)

    @property
    def usable(self) -> bool:
        """It takes records."""
        return self._producer is not None and not self._stopping

    def produce(
        self,
        token: object,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> str | None:
        """Hand a record in; its report comes later. A text instead: why it was not taken, and it is not in the log.

        `token` stands in the report. None as `key` or `value` is a null, `partition` None is chosen by the key.
        """
        created_ms = time.time_ns() // 1_000_000
        report = partial(self._reported, token, self._losses, created_ms)
        more: dict[str, Any] = {"headers": list(headers)} if headers else {}
        where = _BY_KEY if partition is None else partition
        with self._taking:
            if self._producer is None or self._stopping:
                return "the producer has ended"
            try:
                self._producer.produce(topic, value, key, where, on_delivery=report, timestamp=created_ms, **more)
            except BufferError:
                return "librdkafka's queue is full"
            except KafkaException as error:
                return _why(error)
        return None

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        if (bell := self._bell) is not None:
            bell.ring()

    def _deliver(self) -> None:
        reports = [self._reports.popleft() for _ in range(len(self._reports))]
        if reports:
            self._on_reports(reports)

    # The poll thread.

    def _poll(self) -> None:
        try:
            producer = Producer(self._settings, error_cb=self._error_callback, logger=self._log)
        except KafkaException as error:
            self._refusal = _why(error)
            return
        self._bell = bell = Doorbell(producer, self._error_callback, polls=True)
        self._producer = producer
        self._in_loop(self._started.set)
        try:
            while not self._stopping:
                producer.poll(_WAIT_SECONDS if bell.works else _WAIT_WITHOUT_BELL_SECONDS)
                self._hand_over()
        except KafkaException as error:  # a fatal one
            _log.warning("the producer ended, another takes its place", reason=_why(error))
        finally:
            with self._taking:
                self._stopping, self._producer = True, None
            bell.close()
            producer.purge()
            producer.flush(_PURGE_SECONDS)
            self._hand_over()

    def _hand_over(self) -> None:
        if self._reports:
            self._in_loop(self._deliver)

    def _in_loop(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(call, idempotent=True)

    def _error_event(self, error: KafkaError) -> None:
        self._losses += 1
        if error.fatal():
            self._stopping = True

    def _reported(
        self, token: object, losses: int, created_ms: int, error: KafkaError | None, message: Message
    ) -> None:
        self._reports.append(_report(token, error, message, created_ms, settled=losses == self._losses))


def _report(token: object, error: KafkaError | None, message: Message, created_ms: int, settled: bool) -> Report:
    """created_ms: the time that the record brought. settled: no connection was lost since it was handed in."""
    if error is not None:
        proof = settled and error.name() in _REJECTIONS
        return Report(token, Fate.REJECTED if proof else Fate.UNKNOWN, text=_why(error))
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None or offset < 0:  # a retry was recognised as one, long after
        return Report(token, Fate.UNKNOWN, text="it is in the log, at an offset that the broker no longer tells")
    kind, time_ms = message.timestamp()
    if (kind, time_ms) == _EMBEDDED_TIME:
        time_ms = created_ms
    return Report(token, Fate.WRITTEN, partition, offset, time_ms if kind else None)


def _why(error: KafkaError | KafkaException) -> str:
    return in_words([trouble(error)])
