"""Publishes of all clients on their way to Kafka, each answered once.

    read → check → line (room, `publish.max_bytes`) → gate (the topic exists) → handed in → reported

Rules: what waits, waits in these queues, each first in first out, so the publishes of one connection to one partition
keep their order. Whoever has too much on its way is read no further (`Publisher.room`). Every publish is answered
`publish.timeout` after it was read at the latest; its bytes count until Kafka has reported. Handed in means "it may be
in the log" from there on; before that, a failure says it is not. The producer is made for the first publish.
"""

import math
from collections import deque
from enum import Enum

import structlog
import trio

from tailrace.config import Config
from tailrace.core.commands import Publish
from tailrace.core.histogram import PUBLISH_SECONDS, Histogram
from tailrace.core.lifecycle import Ticket
from tailrace.core.publishing import Room, check, size_of
from tailrace.errors import ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.away import Away
from tailrace.gateway.publisher import Publisher, PublishStatistics, Settled, TellSettled
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.producer import Fate, RecordProducer, Report

KNOWN_SECONDS = 30.0  # so long a topic is believed to exist, and to have its partitions
STEP = 100  # entries between two checkpoints: 1-2 ms
MAX_CHARACTERS = 200  # of an error's message (docs/protocol.md, section 8)
LATE = "Kafka has not acknowledged it in time; it may be in the log"
NOT_SENT = "it was not sent to Kafka in time"

_log = structlog.get_logger(__name__)


class State(Enum):
    """Of an entry."""

    IN_LINE = "in line"  # no room taken
    AT_GATE = "at the gate"
    HANDED_IN = "handed in"
    DONE = "done"


class Entry:
    """One publish. `record` is given away when it is handed in; `answered`: nobody waits for it any more."""

    __slots__ = ("answered", "asked_at", "deadline", "publisher", "record", "size", "state", "ticket", "topic")

    def __init__(self, publisher: Publisher, ticket: Ticket, record: Publish, now: float, deadline: float) -> None:
        self.publisher = publisher
        self.ticket = ticket
        self.topic = record.topic
        self.record: Publish | None = record
        self.size = size_of(record)
        self.state = State.IN_LINE
        self.answered = False
        self.asked_at = now
        self.deadline = deadline


class TopicGate:
    """What is known of a topic, and who waits for it to be known."""

    __slots__ = ("asked_at", "asking", "parked", "partitions")

    def __init__(self) -> None:
        self.partitions: frozenset[int] = frozenset()
        self.asked_at = -math.inf
        self.asking = False
        self.parked: deque[Entry] = deque()


class Publishing:
    """`run` it; `publisher` gives a connection its way in. delay: seconds from the command to the acknowledgement."""

    def __init__(self, config: Config, cluster: Cluster, make_producer: type[RecordProducer] = RecordProducer) -> None:
        self._kafka = config.kafka
        self._limits = config.publish
        self.delay = Histogram(PUBLISH_SECONDS)
        self._cluster = cluster
        self._make_producer = make_producer
        self._producer: RecordProducer | None = None
        self._away = Away()
        self._making = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._room = Room(config.publish.max_bytes)
        self._line: deque[Entry] = deque()
        self._gates: dict[str, TopicGate] = {}
        self._open: deque[Entry] = deque()  # in the order of their deadlines
        self._opened = trio.Event()
        self._reports: deque[Report] = deque()
        self._came = trio.Event()
        self._untold: dict[Publisher, list[Settled]] = {}
        self._on_their_way = 0
        self._counts = dict.fromkeys(("published", "failed", "timed_out", "too_late", "dropped"), 0)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._take_reports)
            self._nursery.start_soon(self._expire)

    def publisher(self, tell: TellSettled) -> Publisher:
        """For one connection; `tell` is called with what was settled."""
        return Publisher(self, tell, self._limits.max_bytes_per_connection)

    def statistics(self) -> PublishStatistics:
        """A moment, and what was counted so far."""
        waiting = len(self._line) + sum(len(gate.parked) for gate in self._gates.values())
        return PublishStatistics(self._on_their_way, self._room.bytes, waiting, **self._counts)

    # ------------------------------------------------------------------------------------------------ on the way in

    def submit(self, publisher: Publisher, ticket: Ticket, record: Publish) -> None:
        """Take it on. Raises CommandError when no such record can be published."""
        check(record, self._limits)
        now = trio.current_time()
        entry = Entry(publisher, ticket, record, now, now + self._limits.timeout)
        publisher.took(entry.size)
        self._on_their_way += 1
        self._open.append(entry)
        self._opened.set()
        self._line.append(entry)
        self._admit()
        self._tell()

    def _admit(self) -> None:
        """From the line to the gates, as far as there is room."""
        while self._line:
            entry = self._line[0]
            if entry.state is State.IN_LINE:
                if not entry.publisher.closed and not self._room.take(entry.size):
                    return
                self._enter(entry)
            self._line.popleft()

    def _enter(self, entry: Entry) -> None:
        if entry.publisher.closed:
            self._drop(entry)
            return
        entry.state = State.AT_GATE
        entry.publisher.left_line()
        gate = self._gates.setdefault(entry.topic, TopicGate())
        if gate.asking or not self._is_open(gate):
            gate.parked.append(entry)
            self._ask(entry.topic, gate)
        else:
            self._pass(entry, gate)

    def _is_open(self, gate: TopicGate) -> bool:
        fresh = trio.current_time() - gate.asked_at < KNOWN_SECONDS
        return fresh and self._producer is not None and self._producer.usable

    def _ask(self, topic: str, gate: TopicGate) -> None:
        if not gate.asking and self._nursery is not None:
            gate.asking = True
            self._nursery.start_soon(self._find_out, topic, gate)

    async def _find_out(self, topic: str, gate: TopicGate) -> None:
        """Is there a producer, and is there the topic? Then those who wait go on, else that is their answer."""
        while gate.parked:
            asked_at = trio.current_time()
            try:
                await self._have_producer()
                description = await self._cluster.describe(topic)
            except UnknownTopic:
                await self._turn_away(topic, gate, ErrorCode.UNKNOWN_TOPIC, f"there is no topic {topic}")
                return
            except KafkaUnavailable as error:
                await self._turn_away(topic, gate, ErrorCode.KAFKA_UNAVAILABLE, self._away.told(topic, error))
                return
            gate.partitions, gate.asked_at = frozenset(description.partitions), asked_at
            await self._let_in(gate)
        gate.asking = False

    async def _have_producer(self) -> None:
        async with self._making:
            if self._producer is None or not self._producer.usable:
                assert self._nursery is not None
                self._producer = self._make_producer(self._kafka, self._limits.timeout, self._reported)
                self._nursery.start_soon(self._producer.run)
                await self._producer.started()

    async def _let_in(self, gate: TopicGate) -> None:
        """Those who wait, in their order; until one has to be asked for again."""
        passed = 0
        while gate.parked and self._is_open(gate):
            if not self._pass(gate.parked[0], gate):
                return
            gate.parked.popleft()
            passed += 1
            if passed % STEP == 0:
                self._tell()
                await trio.lowlevel.checkpoint()
        self._tell()

    async def _turn_away(self, topic: str, gate: TopicGate, code: ErrorCode, message: str) -> None:
        del self._gates[topic]  # who comes from now on asks anew
        for number, entry in enumerate(gate.parked, 1):
            self._fail(entry, code, message)
            if number % STEP == 0:
                self._tell()
                await trio.lowlevel.checkpoint()
        self._admit()
        self._tell()

    def _pass(self, entry: Entry, gate: TopicGate) -> bool:
        """Hand it in, or settle it; False: its partition is not known, but may be new, so it is asked for once after
        the command came."""
        record = entry.record
        if entry.state is State.DONE or record is None:
            return True
        if entry.publisher.closed:
            self._drop(entry)
        elif record.partition is None or record.partition in gate.partitions:
            self._hand_in(entry, record)
        elif gate.asked_at < entry.asked_at:
            if gate.asking:
                return False
            gate.parked.append(entry)
            self._ask(entry.topic, gate)
        else:
            self._fail(entry, ErrorCode.PUBLISH_FAILED, f"topic {entry.topic} has no partition {record.partition}")
        return True

    def _hand_in(self, entry: Entry, record: Publish) -> None:
        assert self._producer is not None
        entry.state, entry.record = State.HANDED_IN, None
        refusal = self._producer.produce(
            entry, record.topic, record.value, record.key, record.partition, record.headers
        )
        if refusal is not None:
            self._fail(entry, ErrorCode.PUBLISH_FAILED, refusal)

    # ----------------------------------------------------------------------------------------------- on the way back

    def _reported(self, reports: list[Report]) -> None:
        self._reports += reports
        self._came.set()

    async def _take_reports(self) -> None:
        while True:
            await self._came.wait()
            self._came = trio.Event()
            while self._reports:
                for _ in range(min(STEP, len(self._reports))):
                    self._report(self._reports.popleft())
                self._admit()
                self._tell()
                while self._open and self._open[0].answered:
                    self._open.popleft()
                await trio.lowlevel.checkpoint()

    def _report(self, report: Report) -> None:
        entry: Entry = report.token
        if report.fate is Fate.WRITTEN:
            self._counts["too_late" if entry.answered else "published"] += 1
            self.delay.observe(trio.current_time() - entry.asked_at)
            self._answer(entry, report.partition, report.offset, report.timestamp_ms)
            self._leave(entry)
        elif report.fate is Fate.REJECTED:
            self._fail(entry, ErrorCode.PUBLISH_FAILED, report.text)
        else:
            self._time_out(entry, f"{report.text}; it may be in the log")
            self._leave(entry)

    async def _expire(self) -> None:
        """What is not settled in time is answered; what was handed in still counts until it is reported."""
        while True:
            await self._opened.wait()
            await trio.sleep_until(self._open[0].deadline if self._open else trio.current_time())
            self._expired(trio.current_time())
            if not self._open:
                self._opened = trio.Event()

    def _expired(self, now: float) -> None:
        for _ in range(STEP):
            if not self._open or (not self._open[0].answered and self._open[0].deadline > now):
                break
            entry = self._open.popleft()
            if entry.answered or entry.publisher.closed:
                continue
            if entry.state is State.HANDED_IN:
                self._time_out(entry, LATE)
            else:
                self._fail(entry, ErrorCode.PUBLISH_FAILED, NOT_SENT)
        self._admit()
        self._tell()

    # ------------------------------------------------------------------------------------------------------ endings

    def _fail(self, entry: Entry, code: ErrorCode, message: str) -> None:
        """It is not in the log."""
        if entry.state is State.DONE:
            return
        self._counts["failed"] += not entry.answered
        self._answer(entry, code=code, message=message)
        self._leave(entry)

    def _time_out(self, entry: Entry, message: str) -> None:
        self._counts["timed_out"] += not entry.answered
        self._answer(entry, code=ErrorCode.PUBLISH_TIMEOUT, message=message)

    def _drop(self, entry: Entry) -> None:
        """Its client has left, and it was not handed in."""
        self._counts["dropped"] += 1
        entry.answered = True
        self._leave(entry)

    def _answer(
        self,
        entry: Entry,
        partition: int = -1,
        offset: int = -1,
        timestamp_ms: int | None = None,
        code: ErrorCode | None = None,
        message: str = "",
    ) -> None:
        if not entry.answered and not entry.publisher.closed:
            told = Settled(entry.ticket, entry.topic, partition, offset, timestamp_ms, code, message[:MAX_CHARACTERS])
            self._untold.setdefault(entry.publisher, []).append(told)
        entry.answered = True

    def _leave(self, entry: Entry) -> None:
        """It takes no memory any more."""
        if entry.state is not State.IN_LINE:
            self._room.give_back(entry.size)
        entry.publisher.gave_back(entry.size, in_line=entry.state is State.IN_LINE)
        entry.state, entry.record = State.DONE, None
        self._on_their_way -= 1

    def _tell(self) -> None:
        """Everyone's answers together: one send for each client."""
        untold, self._untold = self._untold, {}
        for publisher, settled in untold.items():
            try:
                publisher.tell(settled)
            except Exception:  # noqa: BLE001  costs this client its answers, not the others theirs
                _log.exception("a connection failed, by a fault of ours")
