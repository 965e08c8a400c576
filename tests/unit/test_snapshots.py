"""gateway/snapshots: who shares what, for how long, and what happens when memory or Kafka is short.

The scan is a plain one, of a log that is a list; everything else is real. What a lease gives is read through the core.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.plain_client import Client
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace import _fanout
from tailrace.config import Catchup
from tailrace.core import compacting
from tailrace.core.encode import Encoder
from tailrace.core.pace import CATCHUP_BURST_SECONDS
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable
from tailrace.gateway import chase as chasing
from tailrace.gateway import scanning
from tailrace.gateway.blocks import Gone, Source
from tailrace.gateway.snapshots import (
    AGAIN_SECONDS,
    CUT_SECONDS,
    KEEP_SECONDS,
    REFUSE_SECONDS,
    Lease,
    Snapshots,
)
from tailrace.kafka.scan import Range, Truncated

LARGE = 10**9
ROOM = 40_000  # for about ten records of 1,000 bytes, raw and encoded


class Record:
    """A `confluent_kafka.Message`, as far as it is read; its value tells its offset."""

    def __init__(self, offset: int, key: bytes, size: int | None) -> None:
        self.offset, self.key = (lambda: offset), (lambda: key)
        self.value = lambda: None if size is None else b"%d " % offset + b"x" * size

    def __len__(self) -> int:
        return len(self.value() or b"")


class Log:
    """Partition 0, and the scan of it: `pieces` of so many records between two turns of the loop."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, int | None]] = []
        self.gate = trio.Event()
        self.gate.set()
        self.errors: list[Exception] = []
        self.late_errors: list[Exception] = []
        self.scanned: list[tuple[int, int]] = []
        self.pieces = 3

    def write(self, *keys: bytes, size: int | None = 10) -> int:
        self.records += [(key, size) for key in keys]
        return len(self.records)

    async def scan(
        self, kafka: Any, topic: str, ranges: Iterable[Range], take: Callable[[int, list[Any]], None]
    ) -> None:
        [each] = ranges
        self.scanned.append((each.start, each.stop))
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        for start in range(each.start, each.stop, self.pieces):
            stop = min(start + self.pieces, each.stop)
            take(0, [Record(offset, *self.records[offset]) for offset in range(start, stop)])
            await trio.lowlevel.checkpoint()
        if self.late_errors:
            raise self.late_errors.pop(0)

    def newest(self, end: int) -> list[int]:
        last = {key: offset for offset, (key, _) in enumerate(self.records[:end])}
        return sorted(offset for offset in last.values() if self.records[offset][1] is not None)


async def at_once(do: Callable[..., None], *arguments: Any) -> None:
    """Instead of a thread, whose end no test could await."""
    await trio.lowlevel.checkpoint()
    do(*arguments)


def replace_scan(patch: pytest.MonkeyPatch, log: Log, chunk_records: int) -> None:
    patch.setattr(scanning, "scan", log.scan)
    patch.setattr(trio.to_thread, "run_sync", at_once)
    patch.setattr(compacting, "CHUNK_RECORDS", chunk_records)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    replace_scan(monkeypatch, log, 4)
    return log


@asynccontextmanager
async def running(limit_bytes: int = LARGE, **more: Any) -> AsyncIterator[Snapshots]:
    snapshots = Snapshots({}, Catchup(snapshot_bytes=limit_bytes, **more))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(snapshots.run)
        yield snapshots
        nursery.cancel_scope.cancel()


SOURCE = Source("t", 1, Encoder("t"))


def ask(snapshots: Snapshots, log: Log, beginning: int = 0, format: int = _fanout.VALUE) -> Lease:
    return snapshots.ask(SOURCE, format, {0: beginning}, {0: len(log.records)})


class Chase:
    """A subscription that reads a lease, as `Reading` does."""

    def __init__(self, lease: Lease, start: int = 0) -> None:
        self.lease, self.client = lease, Client(_fanout)
        tail = _fanout.Tail(_fanout.VALUE, [10**6])
        self.cursor = _fanout.Subscription(self.client.line, tail, 1, None, 0, {0: start}, None, True)

    @property
    def at(self) -> int:
        return int(self.cursor.positions[0])

    def step(self) -> bool:
        """A stretch further; False at the end."""
        if self.at >= self.lease.ends[0]:
            return False
        self.cursor.feed(self.lease.get(0, self.at), self.lease.ends[0])
        self.client.drain(_fanout)
        return True

    def offsets(self) -> list[int]:
        """Of all it has received."""
        while self.step():
            pass
        return self.received()

    def received(self) -> list[int]:
        return [int(frame.payload.split()[0]) for frame in self.client.read()]

    def close(self) -> None:
        self.client.close()


async def read(lease: Lease, start: int = 0) -> list[int]:
    await lease.ready()
    chase = Chase(lease, start)
    found = chase.offsets()
    chase.close()
    return found


# --- sharing ---


async def test_those_who_ask_while_nothing_was_written_share_one_scan(log: Log) -> None:
    log.write(b"a", b"b", b"a", b"c")
    async with running() as snapshots:
        leases = [ask(snapshots, log) for _ in range(50)]
        assert [await read(lease) for lease in leases] == [[1, 2, 3]] * 50
        assert await read(ask(snapshots, log)) == [1, 2, 3]
    assert log.scanned == [(0, 4)]


async def test_those_who_ask_while_one_is_built_share_the_next(log: Log) -> None:
    log.write(b"a", b"b")
    log.gate = trio.Event()
    async with running() as snapshots:
        first = ask(snapshots, log)
        await wait_all_tasks_blocked()
        later = []
        for _ in range(5):
            log.write(b"a")
            later.append(ask(snapshots, log))
        log.gate.set()
        assert await read(first) == [0, 1]
        assert [await read(lease) for lease in later] == [[1, 6]] * 5, "as of the last of them"
        assert {lease.ends[0] for lease in later} == {7}
    assert log.scanned == [(0, 2), (2, 7)]


async def test_a_version_does_not_change_under_its_reader(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(12)))
    async with running() as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        chase = Chase(lease)
        chase.step()
        log.write(*(b"%d" % number for number in range(12)), size=None)
        assert await read(ask(snapshots, log)) == []
        assert chase.offsets() == list(range(12))
        chase.close()


async def test_what_nobody_reads_any_more_is_forgotten_at_once(log: Log) -> None:
    """Of a version, and with it the chunks in the core's form that were made of it for its readers."""
    log.write(*(b"%d" % number for number in range(12)))
    async with running() as snapshots:
        first = ask(snapshots, log)
        await first.ready()
        chase = Chase(first)
        assert chase.offsets() == list(range(12))
        superseded = snapshots.statistics().stretch_bytes
        assert superseded > 0
        log.write(*(b"%d" % number for number in range(12)), size=None)
        await read(ask(snapshots, log))
        both = snapshots.statistics().stretch_bytes
        assert both > superseded, "it may be read again"
        chase.close()
        first.release()
        assert snapshots.statistics().stretch_bytes == both - superseded


async def test_formats_are_built_apart_and_generations_too(log: Log) -> None:
    log.write(b"a")
    async with running() as snapshots:
        await ask(snapshots, log).ready()
        other = Source("t", 2, Encoder("t"))
        await snapshots.ask(other, _fanout.VALUE, {0: 0}, {0: 1}).ready()
        assert snapshots.statistics().snapshots == 2
    assert len(log.scanned) == 2


async def test_who_begins_later_has_nothing_that_is_gone(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(12)))
    async with running() as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        log.write(b"new")
        assert await read(ask(snapshots, log, beginning=8), 8) == [8, 9, 10, 11, 12]
        assert await read(lease) == list(range(12))
        held = snapshots.statistics().memory_bytes
        lease.release()
        assert snapshots.statistics().memory_bytes < held / 2


# --- how fast it is built ---


async def test_a_scan_reads_no_faster_than_its_ceiling(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """It naps, so that it hears soon when nobody wants it any more."""
    now, naps = [100.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        naps.append(seconds)

    monkeypatch.setattr(scanning, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(trio.from_thread, "check_cancelled", lambda: None)
    log.write(*[b"key"] * 100, size=98)
    read_bytes = 10 * 100 + 90 * 101  # with the offset and a space before
    async with running(bytes_per_second=1000) as snapshots:
        await ask(snapshots, log).ready()
    assert now[0] - 100.0 == pytest.approx(read_bytes / 1000 - CATCHUP_BURST_SECONDS)
    assert max(naps) <= scanning.NAP_SECONDS


# --- what ends ---


async def test_a_build_ends_when_nobody_waits_for_it(log: Log) -> None:
    log.write(b"a")
    log.gate = trio.Event()
    async with running() as snapshots:
        leases = [ask(snapshots, log) for _ in range(3)]
        await wait_all_tasks_blocked()
        leases[0].release()
        leases[1].release()
        await wait_all_tasks_blocked()
        assert snapshots.statistics().building == 1
        leases[2].release()
        await wait_all_tasks_blocked()
        assert snapshots.statistics().building == 0
        ask(snapshots, log).release()
        again = ask(snapshots, log)  # at once, while the other is being cancelled
        log.gate.set()
        assert await read(again) == [0]
        again.release()
        again.release()
        await wait_all_tasks_blocked()
        assert snapshots.statistics().building == 0


async def test_who_leaves_while_it_is_built_has_waited_enough(log: Log) -> None:
    log.write(b"a")
    log.gate = trio.Event()
    async with running() as snapshots:
        lease = ask(snapshots, log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.ready)
            await wait_all_tasks_blocked()
            lease.release()


async def test_what_is_not_used_is_kept_for_a_while(log: Log, mock_clock: MockClock) -> None:
    log.write(b"a")
    async with running() as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        lease.release()
        for _ in range(4):
            await wait_all_tasks_blocked(0.01)
            assert snapshots.statistics().snapshots == 1
            mock_clock.jump(KEEP_SECONDS / 4 + 0.01)
        await wait_all_tasks_blocked(0.01)
        assert snapshots.statistics().snapshots == 0
        assert snapshots.statistics().memory_bytes == 0


# --- when memory is short ---


async def too_large(lease: Lease) -> str:
    with pytest.raises(CommandError) as caught:
        await lease.ready()
    assert caught.value.code == ErrorCode.SNAPSHOT_UNAVAILABLE
    return caught.value.message


async def test_one_that_is_too_large_is_refused_for_a_while(log: Log, mock_clock: MockClock) -> None:
    log.write(*(b"%d" % number for number in range(100)), size=1000)
    async with running(ROOM) as snapshots:
        assert "catchup.snapshot_bytes" in await too_large(ask(snapshots, log))
        with pytest.raises(CommandError, match="too large"):
            ask(snapshots, log)
        assert len(log.scanned) == 1
        mock_clock.jump(REFUSE_SECONDS + 1)
        await too_large(ask(snapshots, log))
        assert len(log.scanned) == 2
        assert snapshots.statistics().memory_bytes == 0


async def test_room_is_made_of_what_nobody_reads(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(10)), size=1000)
    async with running(ROOM) as snapshots:
        for generation in range(5):
            lease = snapshots.ask(Source("t", generation, Encoder("t")), _fanout.VALUE, {0: 0}, {0: 10})
            assert await read(lease) == list(range(10))
            lease.release()
        assert snapshots.statistics().snapshots <= 2


async def test_but_not_of_what_somebody_reads(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(10)), size=1000)
    async with running(ROOM) as snapshots:
        kept = ask(snapshots, log)
        await kept.ready()
        other = snapshots.ask(Source("t", 2, Encoder("t")), _fanout.VALUE, {0: 0}, {0: 10})
        await too_large(other)
        assert await read(kept) == await read(ask(snapshots, log)) == list(range(10))
    assert len(log.scanned) == 3, "twice for the other"


async def test_readers_of_an_old_version_go_on_in_the_newest(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(10)), size=1000)
    async with running(ROOM) as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        chase = Chase(lease)
        chase.step()
        before = chase.received()
        log.write(*(b"%d" % number for number in range(10)), size=1000)  # each of them superseded: twice the memory
        assert await read(ask(snapshots, log)) == list(range(10, 20))
        assert chase.offsets() == before, "what it misses follows behind its end"
        assert chase.at == 10
        chase.close()
        assert snapshots.statistics().memory_bytes < ROOM


async def test_an_old_version_is_given_up_for_a_new_one(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(10)), size=1000)
    async with running(ROOM) as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        alone = snapshots.statistics().memory_bytes
        log.write(*(b"%d" % number for number in range(4)), size=1000)
        await read(ask(snapshots, log))
        assert snapshots.statistics().memory_bytes > alone + 4000, "both are held"
        log.write(*(b"%d" % number for number in range(10)), size=1000)
        await read(ask(snapshots, log))
        assert snapshots.statistics().memory_bytes < alone + 2000
        assert set(await read(lease)) < set(range(10))


async def test_a_version_that_was_half_led_on_is_nobodys_beginning(
    log: Log, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    monkeypatch.setattr(compacting, "MERGE_BYTES", 1000)
    log.write(*(b"%d" % number for number in range(10)), size=1000)
    async with running(32_000) as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        lease.release()
        log.write(*(b"%d" % number for number in range(10)), size=1000)
        log.late_errors = [KafkaUnavailable("no")]
        again = ask(snapshots, log)
        await wait_all_tasks_blocked()
        mock_clock.jump(AGAIN_SECONDS + 0.01)
        assert await read(again) == list(range(10, 20))
    assert log.scanned == [(0, 10), (10, 20), (10, 20), (0, 20)]


async def test_and_what_retention_took_from_it_is_named(log: Log) -> None:
    log.write(*(b"%d" % number for number in range(10)), size=1000)
    async with running(ROOM) as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        log.write(*(b"%d" % number for number in range(5, 10)), size=1000)
        await ask(snapshots, log, beginning=10).ready()
        log.write(*(b"%d" % number for number in range(5, 10)), size=1000)
        await ask(snapshots, log, beginning=10).ready()
        try:
            found = lease.get(0, 0).start
        except Gone as gone:
            found = gone.beginning
        assert found in (0, 10)


async def test_stretches_are_bounded_and_their_readers_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.gateway.snapshots.STRETCH_SHARE", 10_000)
    log.write(*(b"%d" % number for number in range(12)), size=5000)
    async with running(10**7) as snapshots:
        lease = ask(snapshots, log)
        await lease.ready()
        first = lease.get(0, 0)
        assert lease.get(0, 0) is first
        second = lease.get(0, first.next)
        assert second.start == first.next
        assert lease.get(0, 0) is not first, "it was given up for the second"
        assert await read(lease) == list(range(12))


# --- when Kafka is not as it should be ---


async def test_it_is_tried_again_while_kafka_is_away(log: Log, mock_clock: MockClock) -> None:
    log.write(b"a")
    log.errors = [KafkaUnavailable("no"), KafkaUnavailable("no")]
    async with running() as snapshots:
        lease = ask(snapshots, log)
        for _ in range(2):
            await wait_all_tasks_blocked(0.01)
            assert lease.waits
            mock_clock.jump(AGAIN_SECONDS + 0.01)
        assert await read(lease) == [0]
    assert len(log.scanned) == 3


async def test_a_log_that_lost_records_is_begun_anew(log: Log) -> None:
    log.write(b"a", b"b", b"c")
    async with running() as snapshots:
        kept = ask(snapshots, log)
        await kept.ready()
        log.records = [(b"z", 1)]
        assert await read(ask(snapshots, log)) == [0]
        assert log.scanned == [(0, 3), (0, 1)]
        assert await read(kept) == [0, 1, 2], "who had the other one keeps it"


async def test_a_log_that_ends_too_early_is_left_to_the_watch_for_a_while(log: Log, autojump_clock: MockClock) -> None:
    log.write(b"a", b"b", b"c")
    log.errors = [Truncated("t/0 ends at 0")] * 100
    async with running() as snapshots:
        ended_by_the_watch = ask(snapshots, log)
        await trio.sleep(CUT_SECONDS / 2)
        assert ended_by_the_watch.waits, "the verdict is not ours"
        ended_by_the_watch.release()
        log.errors = []
        assert await read(ask(snapshots, log)) == [0, 1, 2], "whoever comes then finds it right"


async def test_a_log_that_goes_on_ending_too_early_is_told_in_the_end(log: Log, autojump_clock: MockClock) -> None:
    log.write(b"a")
    log.errors = [Truncated("t/0 ends at 0")] * 100
    async with running() as snapshots:
        begun = trio.current_time()
        assert "lost records" in await too_large(ask(snapshots, log))
        assert trio.current_time() - begun == pytest.approx(CUT_SECONDS)
        log.errors = []
        log.write(b"y")
        assert await read(ask(snapshots, log)) == [0, 1]


async def test_a_fault_of_ours_costs_only_those_who_wait(log: Log) -> None:
    log.write(b"a")
    log.errors = [RuntimeError("a bug")]
    async with running() as snapshots:
        with pytest.raises(CommandError) as caught:
            await ask(snapshots, log).ready()
        assert caught.value.code == ErrorCode.INTERNAL
        assert await read(ask(snapshots, log)) == [0]


# --- anything, in any order ---

KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(KEYS, min_size=1, max_size=5), st.sampled_from([None, 10, 2000])),
        st.tuples(st.just("ask"), st.none(), st.none()),
        st.tuples(st.just("step"), st.integers(0, 5), st.none()),
        st.tuples(st.just("leave"), st.integers(0, 5), st.none()),
        st.tuples(st.just("turns"), st.integers(1, 9), st.none()),
    ),
    max_size=40,
)


@given(STEPS, st.sampled_from([LARGE, 30_000, 20_000]))
def test_whoever_reads_on_into_the_log_has_the_true_state(steps: list[Any], limit_bytes: int) -> None:
    trio.run(_walk, steps, limit_bytes)


async def _walk(steps: list[Any], limit_bytes: int) -> None:
    log, chases = Log(), []
    with pytest.MonkeyPatch.context() as patch:
        replace_scan(patch, log, 2)
        async with running(limit_bytes) as snapshots:
            for what, one, size in steps:
                if what == "write":
                    log.write(*one, size=size)
                elif what == "ask":
                    chases += _asked(snapshots, log)
                elif what == "turns":
                    for _ in range(one):
                        await trio.lowlevel.checkpoint()
                elif one < len(chases):
                    _moved(chases, one, what == "leave")
            for chase in chases:
                await _judge(chase, log, strict=limit_bytes == LARGE)
                chase.lease.release()
                chase.close()
            await wait_all_tasks_blocked()
            snapshots._forget(trio.current_time())
            assert snapshots.statistics().memory_bytes == 0


def _asked(snapshots: Snapshots, log: Log) -> list[Chase]:
    try:
        return [Chase(ask(snapshots, log))]
    except CommandError:
        return []


def _moved(chases: list[Chase], one: int, leaves: bool) -> None:
    chase = chases[one]
    if leaves:
        chase.lease.release()
        chases.remove(chase)
        chase.close()
    elif chase.lease.version is not None:
        chase.step()


async def _judge(chase: Chase, log: Log, strict: bool) -> None:
    """At its ends exactly the newest; and in any case, with what follows in the log, the true state."""
    try:
        await chase.lease.ready()
    except CommandError:
        assert not strict
        return
    found, end = chase.offsets(), chase.lease.ends[0]
    assert sorted(found) == found
    assert not strict or found == log.newest(end)
    assert all(log.records[offset][1] is not None for offset in found)
    state = dict(log.records[offset] for offset in found) | dict(log.records[end:])
    assert {key: size for key, size in state.items() if size is not None} == {
        key: size for key, size in dict(log.records).items() if size is not None
    }


async def test_its_client_may_leave_while_a_chunk_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chase gives the loop back once for each chunk; who unsubscribes then takes the snapshot along."""
    reading = SimpleNamespace(snapshot=SimpleNamespace(get=lambda partition, offset: (partition, offset)))

    async def leave() -> None:
        reading.snapshot = None

    monkeypatch.setattr(trio.lowlevel, "checkpoint", leave)
    chase = chasing.Chase(reading, SimpleNamespace(outlet=None, chases=None))  # type: ignore[arg-type]
    assert await chase._block(None, 0, 7) == (0, 7)  # type: ignore[arg-type]
    assert reading.snapshot is None
