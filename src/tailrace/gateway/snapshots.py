"""Snapshots of compacted topics: the newest record of every key, built once for all who ask, and kept up to date.

A snapshot is a log compacted as of now. Whoever begins with one reads its chunks (`core.compacting`) as he would read
blocks, from the beginnings up to the ends as of which it is true, and from there on the log itself, like anybody.

Rules: a snapshot is true as of a moment after it was asked for; those who ask while one is being built share the next,
which reads only what was written since. Versions never change under a reader and share what they have in common; when
memory gets short, readers of an old one go on in the newest instead: what they miss of the old one was superseded
behind their ends, and comes from the log. Building runs in a thread (`kafka.scan`), and ends when nobody wants it.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog
import trio

from tailrace._fanout import Stretch
from tailrace.config import Catchup
from tailrace.core.block_cache import BlockCache
from tailrace.core.compacting import Exceeded, Memory, Row, covering, from_offset
from tailrace.core.position import Positions
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.blocks import Gone, Source
from tailrace.gateway.scanning import Scanning
from tailrace.kafka.scan import Truncated
from tailrace.kafka.settings import Value

BUILDS = 2  # at a time: one that is long does not hold up those that are short
STRETCH_SHARE = 4  # of the memory: for chunks in the core's form, which last as long as they are read
KEEP_SECONDS = 60.0  # unused
REFUSE_SECONDS = 60.0  # after one was too large: who asks again and again does not read the log each time
AGAIN_SECONDS = 1.0  # after Kafka could not be read
# A log that ends too early is a topic made anew or one that lost records: `tending` finds out which within seconds, and
# tells those who wait by a `gap`, as it tells everybody. Who still waits after this long is told by us.
CUT_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class SnapshotStatistics(msgspec.Struct, frozen=True):
    """Now: `snapshots` kept, `building` those that are led on, `memory_bytes` of their records, `stretch_bytes` beside
    them. So far: `scans` of Kafka, and `read_records` by them."""

    snapshots: int
    building: int
    memory_bytes: int
    stretch_bytes: int
    scans: int
    read_records: int


class _Version:
    """The rows of all partitions, true as of `ends`."""

    __slots__ = ("ends", "rows", "users")

    def __init__(self, rows: dict[int, Row], ends: dict[int, int]) -> None:
        self.rows = rows
        self.ends = ends
        self.users = 0  # leases, and the snapshot itself for its newest


class _Snapshot:
    """Of one topic in one format."""

    __slots__ = (
        "current",
        "cut_since",
        "format",
        "idle_since",
        "leases",
        "refused_until",
        "scope",
        "source",
        "troubled",
    )

    def __init__(self, source: Source, format: int) -> None:
        self.source = source
        self.format = format
        self.current: _Version | None = None
        self.leases: set[Lease] = set()
        self.scope: trio.CancelScope | None = None  # of the task that builds it
        self.refused_until = 0.0
        self.cut_since: float | None = None  # the log ends too early, as of the first try to build
        self.troubled = False  # Kafka could not be read when it was last tried
        self.idle_since = 0.0

    @property
    def waiting(self) -> list["Lease"]:
        return [lease for lease in self.leases if lease.waits]


class Lease:
    """One subscription's hold on a snapshot, until `release`."""

    __slots__ = ("_answered", "_error", "_snapshots", "beginnings", "ends", "snapshot", "version")

    def __init__(self, snapshots: "Snapshots", snapshot: _Snapshot, beginnings: Positions, ends: Positions) -> None:
        self._snapshots = snapshots
        self._answered = trio.Event()
        self._error: CommandError | None = None
        self.snapshot = snapshot
        self.version: _Version | None = None
        self.beginnings = dict(beginnings)
        self.ends = dict(ends)

    @property
    def waits(self) -> bool:
        """It is not built yet."""
        return not self._answered.is_set()

    async def ready(self) -> dict[int, int]:
        """The ends as of which it is true, none below those it was asked for with; after `release` any.

        Raises CommandError `snapshot_unavailable`. Waits as long as Kafka cannot be read.
        """
        await self._answered.wait()
        if self._error is not None:
            raise CommandError(self._error.code, self._error.message)
        return self.ends

    def get(self, partition: int, offset: int) -> Stretch:
        """The records that hold this offset, which is below the end there; only when it is ready. Raises Gone when the
        log no longer has it, and memory was too short for keeping it in spite of that."""
        return self._snapshots.stretch(self, partition, offset)

    def release(self) -> None:
        """It is not wanted any more. Twice is allowed."""
        self._answered.set()
        self._snapshots.release(self)

    def answer(self, version: _Version | None, error: CommandError | None = None) -> None:
        """For who builds it."""
        if version is not None:
            self.ends = version.ends
        self._error = error
        self._answered.set()


class Snapshots:
    """`kafka`: the user's librdkafka settings. `run` it, then `ask`."""

    def __init__(self, kafka: Mapping[str, Value], catchup: Catchup) -> None:
        self._limit_bytes = catchup.snapshot_bytes
        for_stretches = catchup.snapshot_bytes // STRETCH_SHARE
        self._memory = Memory(catchup.snapshot_bytes - for_stretches)
        self._stretches: BlockCache[int, Stretch] = BlockCache(for_stretches)
        self._kept: dict[tuple[str, int, int], _Snapshot] = {}
        self._turns = trio.CapacityLimiter(BUILDS)
        self._scanning = Scanning(kafka, self._memory, catchup.bytes_per_second)
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for snapshot in self._kept.values():
                self._start(snapshot)
            while True:
                await trio.sleep(KEEP_SECONDS / 4)
                self._forget(trio.current_time() - KEEP_SECONDS)

    def ask(self, source: Source, format: int, beginnings: Positions, ends: Positions) -> Lease:
        """The newest record of every key from `beginnings` on, as of `ends` or later, both just listed.

        Raises CommandError `snapshot_unavailable` when it was too large a while ago.
        """
        key = (source.name, source.generation, format)
        snapshot = self._kept.get(key) or self._kept.setdefault(key, _Snapshot(source, format))
        if trio.current_time() < snapshot.refused_until:
            raise self._too_large()
        lease = Lease(self, snapshot, beginnings, ends)
        snapshot.leases.add(lease)
        self._start(snapshot)
        return lease

    def statistics(self) -> SnapshotStatistics:
        return SnapshotStatistics(
            snapshots=sum(snapshot.current is not None for snapshot in self._kept.values()),
            building=sum(snapshot.scope is not None for snapshot in self._kept.values()),
            memory_bytes=self._memory.used_bytes,
            stretch_bytes=self._stretches.memory_bytes,
            scans=self._scanning.scans,
            read_records=self._scanning.read_records,
        )

    # ------------------------------------------------------------------------------------------------------ for leases

    def stretch(self, lease: Lease, partition: int, offset: int) -> Stretch:
        version = lease.version
        assert version is not None, "not ready"
        row = version.rows[partition]
        chunk = covering(row, offset)
        if chunk is None:
            raise Gone(row[0].start if row else version.ends[partition])
        stretch = self._stretches.find(chunk.serial, offset)
        if stretch is None:
            stretch = chunk.stretch(lease.snapshot.format, partition)
            for outlet in self._stretches.add(chunk.serial, stretch):
                outlet.wake()
        return stretch

    def release(self, lease: Lease) -> None:
        snapshot = lease.snapshot
        if lease not in snapshot.leases:
            return
        snapshot.leases.discard(lease)
        self._move(lease, None)
        snapshot.idle_since = trio.current_time()
        if snapshot.scope is not None and not snapshot.waiting:
            snapshot.scope.cancel()

    # --------------------------------------------------------------------------------------------------- what is held

    def _move(self, lease: Lease, version: _Version | None) -> None:
        before, lease.version = lease.version, version
        self._use(version)
        self._leave(before)

    def _use(self, version: _Version | None) -> None:
        if version is not None:
            version.users += 1
            if version.users == 1:
                self._memory.hold(version.rows.values())

    def _leave(self, version: _Version | None) -> None:
        if version is not None:
            version.users -= 1
            if not version.users:
                self._forget_stretches(self._memory.drop(version.rows.values()))

    def _forget_stretches(self, serials: set[int]) -> None:
        """Of chunks that no version has: nobody will ask for them again."""
        for outlet in self._stretches.drop(serials.__contains__) if serials else ():
            outlet.wake()

    def _become(self, snapshot: _Snapshot, version: _Version | None) -> None:
        before, snapshot.current = snapshot.current, version
        self._use(version)
        self._leave(before)

    def _forget(self, unused_since: float) -> bool:
        """Those that nobody has used since then; whether there were any."""
        now = trio.current_time()
        found = [
            key
            for key, snapshot in self._kept.items()
            if not snapshot.leases
            and snapshot.scope is None
            and snapshot.idle_since <= unused_since
            and snapshot.refused_until <= now
        ]
        for key in found:
            self._become(self._kept.pop(key), None)
        return bool(found)

    # ------------------------------------------------------------------------------------------------------- building

    def _start(self, snapshot: _Snapshot) -> None:
        """See to it that somebody builds what is waited for."""
        if self._nursery is not None and snapshot.scope is None and snapshot.waiting:
            snapshot.scope, snapshot.cut_since = trio.CancelScope(), None
            self._nursery.start_soon(self._build, snapshot, snapshot.scope)

    async def _build(self, snapshot: _Snapshot, scope: trio.CancelScope) -> None:
        with scope:
            while snapshot.waiting:
                async with self._turns:
                    again_seconds = await self._serve(snapshot, snapshot.waiting)
                await trio.sleep(again_seconds)
        snapshot.scope = None
        self._start(snapshot)  # for who came while it was being cancelled

    async def _serve(self, snapshot: _Snapshot, waiting: list[Lease]) -> float:
        """Answer those who wait. Seconds until Kafka should be asked again, when it could not be read."""
        if not waiting:
            return 0.0
        try:
            version = await self._renew(snapshot, waiting)
        except (KafkaUnavailable, UnknownTopic) as error:
            self._note(snapshot, str(error))
            return AGAIN_SECONDS
        except Truncated as error:
            return self._cut(snapshot, error, trio.current_time())
        except Exception as error:  # noqa: BLE001  costs those who wait for it, not the gateway
            self._fail(snapshot, error)
        else:
            self._note(snapshot, None)
            for lease in waiting:
                if lease in snapshot.leases:  # it may have left meanwhile
                    self._move(lease, version)
                    lease.answer(version)
        return 0.0

    def _cut(self, snapshot: _Snapshot, error: Truncated, now: float) -> float:
        """What was read may be of another log. Seconds until it is tried again."""
        self._become(snapshot, None)
        if snapshot.cut_since is None:
            snapshot.cut_since = now
        if now - snapshot.cut_since < CUT_SECONDS:
            return AGAIN_SECONDS
        self._fail(snapshot, error)
        return 0.0

    def _fail(self, snapshot: _Snapshot, error: Exception) -> None:
        """Nobody who waits for it gets it."""
        if isinstance(error, Exceeded):
            snapshot.refused_until = trio.current_time() + REFUSE_SECONDS
            told = self._too_large()
        elif isinstance(error, Truncated):
            told = CommandError(ErrorCode.SNAPSHOT_UNAVAILABLE, f"the log lost records meanwhile: {error}")
        else:
            _log.error("a snapshot failed, by a fault of ours", topic=snapshot.source.name, exc_info=error)
            self._become(snapshot, None)
            told = CommandError(ErrorCode.INTERNAL, "the snapshot could not be built")
        for lease in snapshot.waiting:
            lease.answer(None, told)

    def _too_large(self) -> CommandError:
        message = f"too large: all snapshots together may take {self._limit_bytes} bytes (catchup.snapshot_bytes)"
        return CommandError(ErrorCode.SNAPSHOT_UNAVAILABLE, message)

    def _note(self, snapshot: _Snapshot, trouble: str | None) -> None:
        """Once when it begins and once when it is over."""
        before, snapshot.troubled = snapshot.troubled, trouble is not None
        if trouble is not None and not before:
            _log.warning("cannot read a snapshot", topic=snapshot.source.name, reason=trouble)
        elif before and trouble is None:
            _log.info("reading snapshots again", topic=snapshot.source.name)

    async def _renew(self, snapshot: _Snapshot, waiting: list[Lease]) -> _Version:
        """A version that is true as of the last of their ends; if need be without sparing the readers of the one
        before. Raises Exceeded."""
        ends = _each(max, [lease.ends for lease in waiting])
        beginnings = _each(min, [lease.beginnings for lease in waiting])
        base = snapshot.current
        if base is not None and base.ends == ends:
            return base
        if base is not None and not _follows(ends, base.ends):
            self._become(snapshot, None)  # the log was cut off: what it has there now is something else
        try:
            return await self._advance(snapshot, beginnings, ends, spare=True)
        except Exceeded:
            if not self._make_room():
                raise
        return await self._advance(snapshot, beginnings, ends, spare=snapshot.current is None)

    def _make_room(self) -> bool:
        """Keep of every snapshot only the newest version, and of those that nobody uses none. Whether it may help."""
        may_help = self._forget(trio.current_time())
        for snapshot in self._kept.values():
            newest = snapshot.current
            for lease in list(snapshot.leases) if newest is not None else ():
                if lease.version is not None and newest is not None and _follows(newest.ends, lease.ends):
                    self._move(lease, newest)
            may_help |= newest is not None
        return may_help

    async def _advance(self, snapshot: _Snapshot, beginnings: Positions, ends: dict[int, int], spare: bool) -> _Version:
        """Read on from the newest version. spare: that one stays as it is; else it becomes the new one, chunk by chunk,
        under those who read it. Raises Exceeded, and what `scan` raises."""
        what = (snapshot.source, snapshot.format)
        if spare:
            rows, starts = ({}, {}) if snapshot.current is None else (snapshot.current.rows, snapshot.current.ends)
            version = _Version({p: from_offset(row, beginnings.get(p, 0)) for p, row in rows.items()}, ends)
            await self._scanning.lead_on(*what, version.rows, starts, beginnings, ends, owned=False)
            self._become(snapshot, version)
            return version
        assert snapshot.current is not None
        version = snapshot.current
        self._memory.drop(version.rows.values())
        try:
            await self._scanning.lead_on(*what, version.rows, version.ends, beginnings, ends, owned=True)
            version.ends = ends
        except BaseException:
            self._memory.hold(version.rows.values())
            self._become(snapshot, None)  # its readers may go on, but it is true as of no moment
            raise
        self._memory.hold(version.rows.values())
        return version


def _each(choose: Callable[[int, int], int], vectors: Iterable[Positions]) -> dict[int, int]:
    """Per partition the largest, or smallest, of several vectors."""
    chosen: dict[int, int] = {}
    for vector in vectors:
        for partition, offset in vector.items():
            chosen[partition] = choose(chosen.get(partition, offset), offset)
    return chosen


def _follows(ends: Positions, before: Positions) -> bool:
    """Whether a log that had the one has the other later."""
    return all(ends.get(partition, -1) >= end for partition, end in before.items())
