"""Which topics are open: opened when first wanted, watched while open, closed a while after the last subscriber left.

Rules: opening is done once for all who wait (`hold`); the ends that a subscription to "latest" begins at are listed
after its command came, by one request for all that came meanwhile; whoever holds a topic releases it. What happens to
a topic under its subscribers (it is deleted, its records are gone) is told to each of them, never left to silence.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec
import structlog
import trio

from tailrace._fanout import Tail
from tailrace.config import Config
from tailrace.core.encode import Encoder
from tailrace.core.exposure import Exposure
from tailrace.errors import ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.shared import Fresh, Once
from tailrace.gateway.topic import OpenTopic
from tailrace.kafka.batch import Batch, Fault
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.live import LiveConsumer
from tailrace.kafka.topic import Change, TopicDescription

LINGER_SECONDS = 30.0  # a page that is reloaded finds its topic open
WATCH_SECONDS = 2.0  # for topic ids and new partitions: one request for all open topics
MISSING_SECONDS = 5.0  # then a topic counts as deleted (docs/protocol.md, section 3)
START_SECONDS = 9.5  # a command that needs Kafka is answered within 10 s

_log = structlog.get_logger(__name__)


class Reader(Protocol):
    """Who holds a topic open for a subscription."""

    def ended(self, code: ErrorCode, message: str) -> None:
        """The gateway ends the subscription: say so to the client, and release the topic."""


class Start(msgspec.Struct, frozen=True, gc=False):
    """Where a subscription begins: a place in a tail, and the offsets (of every partition) below which it wants
    nothing."""

    held: "Held"
    tail: Tail
    seq: int
    positions: dict[int, int]


class Held:
    """An open topic with what belongs to it here."""

    __slots__ = ("description", "ends", "generation", "missing_since", "open", "readers")

    def __init__(
        self, description: TopicDescription, open: OpenTopic, generation: int, ends: Fresh[dict[int, int]]
    ) -> None:
        self.description = description
        self.open = open
        self.generation = generation
        self.ends = ends
        self.missing_since: float | None = None
        self.readers: set[Reader] = set()

    def end_all(self, code: ErrorCode, message: str) -> None:
        """End every subscription of the topic, saying why."""
        for reader in list(self.readers):
            reader.ended(code, message)


class Topics:
    """All open topics. `due`: those with something to do for the pump, in the order of their turns."""

    def __init__(self, live: LiveConsumer, cluster: Cluster, config: Config) -> None:
        self._live = live
        self._cluster = cluster
        self._exposure = Exposure(config.topics)
        self._max_record_bytes = config.limits.max_record_bytes
        self._held: dict[str, Held] = {}
        self._openings: dict[str, Once[Held]] = {}
        self.due: dict[OpenTopic, None] = {}
        self.tail_bytes = 0

    @property
    def open(self) -> Iterable[OpenTopic]:
        """The open topics."""
        return (held.open for held in self._held.values())

    # --------------------------------------------------------------------------------------------- for subscriptions

    async def start(self, name: str, format: int) -> Start:
        """Where a subscription to "latest" begins. The caller has the topic held, and releases it.

        Raises UnknownTopic; KafkaUnavailable when Kafka does not answer in time.
        """
        with trio.move_on_after(START_SECONDS):
            while True:
                held = await self.hold(name)
                try:
                    tail = held.open.tail(format)
                    seq = tail.end
                    positions = await held.ends.get()
                    if self._held.get(name) is held and tail.start <= seq:
                        return Start(held, tail, seq, _whole(positions, tail))
                except BaseException:
                    self.release(held)
                    raise
                self.release(held)
        raise KafkaUnavailable("Kafka did not answer in time")

    async def hold(self, name: str) -> Held:
        """The topic, opened if it is not; `release` it."""
        held = self._held.get(name)
        if held is None:
            opening = self._openings.get(name)
            if opening is None:
                opening = self._openings[name] = Once(lambda: self._open(name))
            try:
                held = await opening.get()
            finally:
                if self._openings.get(name) is opening and (opening.done or not opening.wanted):
                    del self._openings[name]
        held.open.users += 1
        return held

    def release(self, held: Held) -> None:
        """One user less; the last one's leaving starts the linger."""
        held.open.users -= 1
        held.open.idle_since = trio.current_time()

    async def _open(self, name: str) -> Held:
        description = await self._cluster.describe(name)
        positions = await self._cluster.ends(name, description.partitions)
        topic = self._exposure.find(name)
        encoder = Encoder(name, topic.value if topic else "auto", self._max_record_bytes)
        generation = self._live.assign(name, positions)
        ends = Fresh(lambda: self._cluster.ends(name, self._held[name].description.partitions))
        held = self._held[name] = Held(description, OpenTopic(name, encoder, positions), generation, ends)
        held.open.idle_since = trio.current_time()
        _log.info("topic opened", topic=name, partitions=len(description.partitions))
        return held

    def _close(self, name: str) -> None:
        held = self._held.pop(name)
        self._live.unassign(name)
        self.due.pop(held.open, None)
        for format in list(held.open.tails):
            self.tail_bytes -= held.open.forget(format)
        _log.info("topic closed", topic=name)

    # --------------------------------------------------------------------------------------------------- for the pump

    def arrived(self, batch: Batch) -> None:
        """Sort a batch to its topics; what belongs to a former assignment is dropped."""
        ends: dict[str, list[tuple[int, int]]] = {}
        for name, partition, offset in batch.ends:
            ends.setdefault(name, []).append((partition, offset))
        for name in {**batch.records, **ends}:
            held = self._held.get(name)
            if held is not None and held.generation == batch.generation.get(name):
                held.open.accept(batch.records.get(name, []), ends.get(name, ()))
                self.due[held.open] = None
                self.regulate(held.open)
        for fault in batch.faults:
            self._fault(fault)

    def regulate(self, topic: OpenTopic) -> None:
        """Stop or go on reading a topic, by what waits of it."""
        pause = topic.wants_pause
        if pause is None:
            return
        topic.paused = pause
        (self._live.pause if pause else self._live.resume)(topic.name)

    def _fault(self, fault: Fault) -> None:
        held = self._held.get(fault.topic)
        if held is None:
            return
        if fault.name == "_AUTO_OFFSET_RESET":
            _log.warning("records are gone before they were read", topic=fault.topic, partition=fault.partition)
            self._lose(held, "records were gone from Kafka before they were read; subscribe again")
        else:
            _log.warning(
                "trouble with a topic", topic=fault.topic, partition=fault.partition, error=fault.name, text=fault.text
            )

    def _lose(self, held: Held, message: str) -> None:
        """What its subscribers want next cannot be read: each is told, and the topic is opened anew when wanted."""
        held.end_all(ErrorCode.INTERNAL, message)
        self._close(held.open.name)

    # -------------------------------------------------------------------------------------------------------- watching

    async def tend(self) -> None:
        """Watch the open topics and close those that nobody uses. Until cancelled."""
        while True:
            await trio.sleep(WATCH_SECONDS)
            self._close_idle(trio.current_time())
            try:
                changes = await self._cluster.changes([held.description for held in self._held.values()])
            except KafkaUnavailable:
                continue
            await self._follow(changes)

    def _close_idle(self, now: float) -> None:
        for name, held in list(self._held.items()):
            if held.open.users == 0 and now - held.open.idle_since > LINGER_SECONDS:
                self._close(name)

    async def _follow(self, changes: list[Change]) -> None:
        changed = {change.before.name: change for change in changes}
        for name, held in list(self._held.items()):
            change = changed.get(name)
            if change is None or change.before is not held.description:
                held.missing_since = None
            elif change.after is None:
                self._missing(held, trio.current_time())
            elif change.recreated:
                self._lose(held, "the topic was deleted and created again; subscribe again")
            else:
                await self._grow(held, change)

    def _missing(self, held: Held, now: float) -> None:
        held.missing_since = held.missing_since or now
        if now - held.missing_since >= MISSING_SECONDS:
            _log.warning("topic deleted", topic=held.open.name)
            held.end_all(ErrorCode.TOPIC_DELETED, "the topic was deleted")
            self._close(held.open.name)

    async def _grow(self, held: Held, change: Change) -> None:
        """New partitions are read from their beginning."""
        assert change.after is not None
        try:
            beginnings = await self._cluster.beginnings(held.open.name, change.added)
        except (KafkaUnavailable, UnknownTopic):
            return  # the next look finds them again
        if self._held.get(held.open.name) is not held or held.description is not change.before:
            return
        for partition in sorted(change.added):
            held.open.add_partition(partition, beginnings[partition])
        held.description = change.after
        self._live.extend(held.open.name, beginnings)
        _log.info("topic has new partitions", topic=held.open.name, partitions=len(change.after.partitions))


def _whole(positions: dict[int, int], tail: Tail) -> dict[int, int]:
    """The listed ends, and for a partition that came while they were listed, its beginning."""
    return {**tail.positions, **positions} if positions.keys() != tail.positions.keys() else positions
