"""Which topics are open: opened when first wanted, closed a while after the last subscriber left.

Rules: opening is done once for all who wait (`hold`); where a subscription begins is asked of Kafka after its command
came, by requests shared with all who ask meanwhile; whoever holds a topic releases it. What becomes of an open topic
is `tending`'s.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from tailrace._fanout import Tail
from tailrace.config import Config
from tailrace.core.begin import Beginning, wants
from tailrace.core.commands import From, Latest, Snapshot
from tailrace.core.encode import Encoder
from tailrace.core.exposure import Exposure
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.away import Away
from tailrace.gateway.begin import LAG_PAUSE_SECONDS, LAG_SECONDS, Beginnings, UnknownToLeaders
from tailrace.gateway.blocks import Blocks, Source
from tailrace.gateway.counts import Counts
from tailrace.gateway.shared import Once
from tailrace.gateway.snapshots import Lease, Snapshots
from tailrace.gateway.topic import OpenTopic
from tailrace.kafka.batch import Batch, Fault
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.live import LiveConsumer
from tailrace.kafka.topic import TopicDescription
from tailrace.kafka.trouble import NOT_ALLOWED, Trouble, in_words

if TYPE_CHECKING:
    from tailrace.gateway.reading import Reading

START_SECONDS = 9.5  # a command that needs Kafka is answered within 10 s
BUILD_SECONDS = 4.0  # how long an answer waits for a snapshot, so that what is wrong with it is the answer
SPARE_SECONDS = 0.5  # of the 10, for saying so
AGAIN_SECONDS = 0.1  # until it is asked again about a topic that is just being recreated

_log = structlog.get_logger(__name__)


class Held:
    """An open topic with what belongs to it here. `generation`: of its assignment; `lost`: partitions whose next
    offset is gone; `readings` in the order they came; `impatient`: those that skip or close; `refused`: why a broker
    does not let us read it, or empty."""

    __slots__ = (
        "description",
        "generation",
        "impatient",
        "lost",
        "missing_since",
        "open",
        "readings",
        "refused",
        "source",
    )

    def __init__(self, description: TopicDescription, open: OpenTopic, generation: int, source: Source) -> None:
        self.description = description
        self.open = open
        self.generation = generation
        self.source = source
        self.missing_since: float | None = None
        self.lost: set[int] = set()
        self.refused = ""
        self.readings: dict[Reading, None] = {}
        self.impatient: dict[Reading, None] = {}


class Start(msgspec.Struct, frozen=True, gc=False):
    """Where a subscription begins; the topic is held. `seq`: a place in the tail that has all of it, or None.
    `snapshot`: where it is read from, up to its ends."""

    held: Held
    tail: Tail
    seq: int | None
    beginning: Beginning
    snapshot: Lease | None = None


class Topics:
    """All open topics. `due`: those with something to do for the pump, in the order of their turns; `impatience`: set
    when a subscription comes that skips or closes."""

    def __init__(self, live: LiveConsumer, cluster: Cluster, blocks: Blocks, config: Config) -> None:
        self.live = live
        self.cluster = cluster
        self.blocks = blocks
        self.snapshots = Snapshots(config.kafka, config.catchup)
        self.counts = Counts(config.admin.metrics_topics)
        self.away = Away()
        self._beginnings = Beginnings(cluster)
        self.exposure = Exposure(config.topics)
        self._max_record_bytes = config.limits.max_record_bytes
        self._held: dict[str, Held] = {}
        self._openings: dict[str, Once[Held]] = {}
        self.due: dict[OpenTopic, None] = {}
        self.impatience = trio.Event()
        self.tail_bytes = 0

    @property
    def held(self) -> list[Held]:
        """Those that are open now."""
        return list(self._held.values())

    @property
    def open(self) -> list[OpenTopic]:
        """What is read of each."""
        return [held.open for held in self._held.values()]

    @property
    def tails(self) -> Iterable[Tail]:
        """Of all open topics."""
        return (tail for held in self._held.values() for tail in held.open.tails.values())

    # --------------------------------------------------------------------------------------------- for subscriptions

    async def start(self, name: str, from_: From, format: int) -> Start:
        """Where a subscription begins. The topic is held for the caller, who begins there or gives it up.

        Raises CommandError (`forbidden`, `bad_position`, `snapshot_unavailable`), UnknownTopic; KafkaUnavailable
        when Kafka does not answer in time.
        """
        with trio.move_on_after(START_SECONDS):
            while True:
                held = await self.hold(name)
                try:
                    start = await self._start(held, from_, format)
                    if start is not None:
                        return start
                except BaseException:
                    self.release(held)
                    raise
                self.release(held)
                await trio.sleep(AGAIN_SECONDS)
        raise KafkaUnavailable("Kafka did not answer in time")

    async def _start(self, held: Held, from_: From, format: int) -> Start | None:
        """None when the topic has become another one meanwhile."""
        if isinstance(from_, Snapshot):
            wants(from_, self._replay(held))  # what is forbidden is, whether there could be a snapshot or not
            if not await self._is_compacted(held):
                return None
        tail = held.open.tail(format)
        seq, place = tail.end, tail.positions  # the ends are listed later: of nothing before is the newest wanted
        beginning = await self._beginnings.find(held.description, from_, self._replay(held))
        if not self._is_current(held, tail) or beginning.topic_id != held.description.topic_id:
            return None
        if not isinstance(from_, Snapshot) or beginning.live:
            at_hand = isinstance(from_, Latest) and all(beginning.positions.get(p, 0) >= place[p] for p in place)
            return Start(held, tail, seq if at_hand else None, beginning)
        lease = self.snapshots.ask(held.source, format, beginning.positions, beginning.goal)
        try:
            await self._until_built(lease)
        except BaseException:
            lease.release()
            raise
        start = Start(held, tail, None, beginning, lease)
        if self._is_current(held, tail):
            return start
        lease.release()
        return None

    def _replay(self, held: Held) -> bool | float:
        exposed = self.exposure.find(held.open.name)
        return exposed.replay if exposed else True

    def _is_current(self, held: Held, tail: Tail) -> bool:
        """It has not been closed, recreated or given up while something was waited for."""
        return self._held.get(held.open.name) is held and held.open.tails.get(tail.format) is tail

    async def _is_compacted(self, held: Held) -> bool:
        """False when it has become another topic. Raises CommandError when it is not compacted, which may have changed,
        or have been unknown, since it was opened."""
        if held.description.compacted is not True:
            found = await self.cluster.describe(held.open.name)
            if found.compacted is not True:
                why = "it is not known whether the topic is" if found.compacted is None else "the topic is not"
                raise CommandError(ErrorCode.SNAPSHOT_UNAVAILABLE, f"{why} compacted (cleanup.policy)")
            if msgspec.structs.replace(found, compacted=held.description.compacted) != held.description:
                return False
            held.description = found
        return True

    async def _until_built(self, lease: Lease) -> None:
        """Or for a while: a long one comes after the answer. Raises CommandError."""
        answer_by = trio.current_effective_deadline() - SPARE_SECONDS
        with trio.move_on_at(min(trio.current_time() + BUILD_SECONDS, answer_by)):
            await lease.ready()

    def give_up(self, start: Start) -> None:
        """Nobody begins there."""
        if start.snapshot is not None:
            start.snapshot.release()
        self.release(start.held)

    async def hold(self, name: str) -> Held:
        """The topic, opened if it is not; `release` it."""
        held = self._held.get(name)
        if held is None:
            opening = self._openings.get(name)
            if opening is None:
                opening = self._openings[name] = Once(lambda: self._open(name), lambda: self._openings.pop(name))
            held = await opening.get()
        held.open.users += 1
        return held

    def release(self, held: Held) -> None:
        """One user less; the last one's leaving starts the linger."""
        held.open.users -= 1
        held.open.idle_since = trio.current_time()

    async def _open(self, name: str) -> Held:
        description, positions = await self._found(name)
        opened, generation, source = self.read_from(name, positions)
        held = self._held[name] = Held(description, opened, generation, source)
        _log.info("topic opened", topic=name, partitions=len(description.partitions))
        return held

    async def _found(self, name: str) -> tuple[TopicDescription, dict[int, int]]:
        """It, and its ends. Raises UnknownTopic, KafkaUnavailable."""
        give_up = trio.current_time() + LAG_SECONDS
        while True:
            description = await self.cluster.describe(name)
            try:
                return description, await self.cluster.ends(name, description.partitions)
            except UnknownTopic:
                if trio.current_time() > give_up:
                    raise UnknownToLeaders(name) from None
            await trio.sleep(LAG_PAUSE_SECONDS)

    def read_from(self, name: str, positions: dict[int, int]) -> tuple[OpenTopic, int, Source]:
        """Begin to read a topic at these offsets: tails of its own, a generation of the assignment, a source."""
        exposed = self.exposure.find(name)
        encoder = Encoder(name, exposed.value if exposed else "auto", self._max_record_bytes)
        generation = self.live.assign(name, positions)
        opened = OpenTopic(name, encoder, positions, self.counts.topic(name))
        opened.idle_since = trio.current_time()
        return opened, generation, Source(name, generation, encoder)

    def shut(self, held: Held) -> None:
        """Close a topic that has no readings."""
        name = held.open.name
        del self._held[name]
        self.live.unassign(name)
        self.blocks.forget(name)
        self.drop_tails(held)
        _log.info("topic closed", topic=name)

    def drop_tails(self, held: Held) -> None:
        """Its tails are nobody's any more."""
        self.due.pop(held.open, None)
        for format in list(held.open.tails):
            self.tail_bytes -= held.open.forget(format)
        held.open.retire()

    # --------------------------------------------------------------------------------------------------- for the pump

    def arrived(self, batch: Batch) -> None:
        """Sort a batch to its topics; what belongs to a former assignment is dropped."""
        ends: dict[str, list[tuple[int, int]]] = {}
        for name, partition, offset in batch.ends:
            ends.setdefault(name, []).append((partition, offset))
        for name in {**batch.records, **ends} if ends else batch.records:
            held = self._held.get(name)
            if held is not None and held.generation == batch.generation.get(name):
                held.refused = ""
                held.open.accept(batch.records.get(name, []), ends.get(name, ()))
                self.due[held.open] = None
                self.regulate(held.open)
        for fault in batch.faults:
            self._fault(fault, batch.generation.get(fault.topic))

    def regulate(self, topic: OpenTopic) -> None:
        """Stop or go on reading a topic, by what waits of it."""
        pause = topic.wants_pause
        if pause is None:
            return
        topic.paused = pause
        (self.live.pause if pause else self.live.resume)(topic.name)

    def _fault(self, fault: Fault, generation: int | None) -> None:
        held = self._held.get(fault.topic)
        if held is None or generation != held.generation:
            return
        if fault.name in NOT_ALLOWED:
            self._refused(held, fault)
            return
        _log.warning(
            "trouble with a topic", topic=fault.topic, partition=fault.partition, error=fault.name, text=fault.text
        )
        if fault.name == "_AUTO_OFFSET_RESET":
            held.lost.add(fault.partition)

    def _refused(self, held: Held, fault: Fault) -> None:
        """Told again and again, at every attempt; logged once."""
        reason = in_words([Trouble(fault.name, fault.text)])
        if held.refused != reason:
            _log.warning("cannot be read", topic=fault.topic, reason=reason)
        held.refused = reason
