"""The compiled core, driven at random: anything may happen between any two chunks, and every record is accounted for.

The books (tests/plain_books.py) hold the oracle and every check; here is what may happen. Rules take numbers and use
them modulo what is there, so that a failing run shrinks well. The rules of the last section steer into rare meetings.
"""

import errno
import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.plain_books import OPEN, Keys, Log, Peer, Reader, new_peer
from tests.plain_client import LOTS

from tailrace import _fanout as core

which = st.integers(0, 59)
budgets = st.sampled_from([1, 1, 1, 5000, 20_000, LOTS])
record_keys = st.sampled_from([None, b"a", b"b", b"c"])
wanted_keys = st.sampled_from([None, None, *map(frozenset, ([b"a"], [b"a"], [None], [b"a", b"b"], [None, b"c"]))])
sizes = st.sampled_from([0, 0, 0, 0, 90, 105, 118, 300, 2000, 5000, 70_000])
ids = st.sampled_from([0, 1, 1, 1, 7, 65535])


class Fanout(RuleBasedStateMachine):
    """Three tails, one of each format; four connections and more; subscriptions that come and go."""

    @initialize(blocks=st.sampled_from([64, 64, 700, 524288]), partitions=st.integers(1, 3))
    def begin(self, blocks: int, partitions: int) -> None:
        self.logs = [Log(n, format, [5 * p for p in range(partitions)], blocks) for n, format in enumerate((0, 1, 2))]
        self.peers = [new_peer(kind) for kind in range(4)]
        self.vectors: list[dict[int, int]] = [{}]

    def log(self, n: int) -> Log:
        return self.logs[n % len(self.logs)]

    def peer(self, n: int) -> Peer:
        return self.peers[n % len(self.peers)]

    def readers(self, log: Log) -> list[Reader]:
        return [reader for reader in log.readers if reader.subscription.state != core.CLOSED]

    # ------------------------------------------------------------------------------------------------- the log's side

    @rule(n=which, count=st.integers(1, 6), partition=which, gap=st.integers(0, 3), key=record_keys, size=sizes)
    def append(self, n: int, count: int, partition: int, gap: int, key: bytes | None, size: int | None) -> None:
        for i in range(count):
            self.log(n).append((partition + i) % len(self.log(n).base), gap, key, size)

    @rule(n=which, partition=which, key=record_keys)
    def append_hole(self, n: int, partition: int, key: bytes | None) -> None:
        self.append(n, 1, partition, 0, key, None)

    @rule(n=which, partition=which, back=st.integers(1, 3))
    def append_stale(self, n: int, partition: int, back: int) -> None:
        log = self.log(n)
        partition %= len(log.base)
        before = log.tail.stale
        assert not log.tail.append(1, b"x" * 20, partition, log.vector[partition] - back, b"a")
        assert log.tail.stale == before + 1

    @rule(n=which, partition=which, by=st.integers(-2, 4))
    def advance(self, n: int, partition: int, by: int) -> None:
        log = self.log(n)
        partition %= len(log.base)
        log.tail.advance(partition, log.vector[partition] + by)
        log.vector[partition] += max(by, 0)
        log.advanced.add(partition)

    @rule(n=which, offset=st.integers(0, 9))
    def add_partition(self, n: int, offset: int) -> None:
        log = self.log(n)
        partition = len(log.base)
        if partition < 5:
            log.tail.add_partition(partition, offset)
            log.base[partition] = log.vector[partition] = offset

    @rule(n=which, budget=budgets)
    def pump(self, n: int, budget: int) -> None:
        log = self.log(n)
        more = log.tail.pump(budget)
        self.start_writers(log)
        if not more:
            log.check_served()

    @rule(n=which)
    def evict(self, n: int) -> None:
        log = self.log(n)
        before = log.tail.memory_bytes, log.tail.start
        freed = log.tail.evict()
        assert log.tail.memory_bytes == before[0] - freed
        assert (log.tail.start > before[1]) == (freed > 0)
        self.start_writers(log)

    def start_writers(self, log: Log) -> None:
        for woken in log.tail.take_woken():
            assert not woken.writer, "a writer is there"
            woken.writer = True

    # -------------------------------------------------------------------------------------------- the subscribers' side

    def subscribe(self, n: int, who: int, id: int, keys: Keys, seq: int | None, floor: dict[int, int]) -> None:
        log, peer = self.log(n), self.peer(who)
        stream = log.number, 0 if log.format == core.VALUE else id
        if peer.free(stream) and len(self.readers(log)) < 12:
            Reader(peer, log, id, keys, seq, floor)
            self.start_writers(log)

    @rule(n=which, who=which, id=ids, keys=wanted_keys)
    def subscribe_at_the_end(self, n: int, who: int, id: int, keys: Keys) -> None:
        self.subscribe(n, who, id, keys, None, {})

    @rule(
        n=which,
        who=which,
        id=ids,
        keys=wanted_keys,
        back=which,
        floor=st.dictionaries(st.integers(0, 4), which, max_size=3),
    )
    def subscribe_at_an_older_place(
        self, n: int, who: int, id: int, keys: Keys, back: int, floor: dict[int, int]
    ) -> None:
        tail = self.log(n).tail
        floor = {p: offset for p, offset in floor.items() if p < len(tail.positions)}
        self.subscribe(n, who, id, keys, max(tail.start, tail.end - back), floor)

    @rule(n=which, who=which, id=ids, keys=wanted_keys, vector=which)
    def resume(self, n: int, who: int, id: int, keys: Keys, vector: int) -> None:
        log = self.log(n)
        positions = self.vectors[-1 - vector % len(self.vectors)]
        positions = {p: offset for p, offset in positions.items() if p in log.base}
        seq = log.check_entry(positions)
        if seq is not None:
            self.subscribe(n, who, id, keys, seq, positions)

    @rule(n=which, i=which)
    def close(self, n: int, i: int) -> None:
        readers = self.readers(self.log(n))
        if readers:
            reader = readers[i % len(readers)]
            last = reader.subscription.close()
            assert last == reader.subscription.close() == reader.subscription.positions
            self.vectors.append(last)

    # -------------------------------------------------------------------------------------------------- the connections

    @precondition(lambda self: len(self.peers) < 7)
    @rule(kind=which)
    def connect(self, kind: int) -> None:
        self.peers.append(new_peer(kind))

    @rule(who=which, budget=budgets)
    def write(self, who: int, budget: int) -> None:
        self.peer(who).write(budget)

    @rule(who=which, most=st.sampled_from([1, 100, 2240, 6000, 1 << 20]))
    def read(self, who: int, most: int) -> None:
        self.peer(who).read(most)

    @rule(who=which, size=st.integers(1, 125))
    def post(self, who: int, size: int) -> None:
        peer = self.peer(who)
        peer.post(b"%d" % len(peer.posted) + b"!" * (size - 3))

    @precondition(lambda self: len(self.peers) > 4)
    @rule(who=which, politely=st.booleans())
    def break_connection(self, who: int, politely: bool) -> None:
        peer = self.peers[4 + who % (len(self.peers) - 4)]
        if politely:
            peer.line.break_off(errno.ECONNABORTED)
        else:
            peer.far.close()

    # ---------------------------------------------------------------------------------------------------- rare meetings

    @rule(n=which, count=st.integers(2, 5), key=record_keys, evict=st.booleans())
    def cut_a_frame(self, n: int, count: int, key: bytes | None, evict: bool) -> None:
        """More than a narrow connection takes; and then what was cut is evicted."""
        self.append(n, count, 0, 0, key, 3000)
        self.pump(n, LOTS)
        if evict:
            for _ in range(count):
                self.evict(n)

    @rule(n=which, key=record_keys, again=st.booleans(), chunks=st.integers(1, 4))
    def begin_a_pass(self, n: int, key: bytes | None, again: bool, chunks: int) -> None:
        """Stop in the middle of it; and then there is more."""
        self.append(n, 1, 0, 0, key, 0)
        for _ in range(chunks):
            self.pump(n, 1)
        if again:
            self.append(n, 1, 0, 0, key, 0)

    @rule(n=which, id=ids, keys=wanted_keys)
    def subscribe_together(self, n: int, id: int, keys: Keys) -> None:
        """Several in one lane: a pass over one subscriber cannot be interrupted."""
        for who in range(3):
            self.subscribe(n, who, id, keys, None, {})

    @rule(n=which, who=which, id=ids, keys=wanted_keys, key=record_keys, evict=st.booleans(), i=which)
    def change_places_in_a_pass(
        self, n: int, who: int, id: int, keys: Keys, key: bytes | None, evict: bool, i: int
    ) -> None:
        """One leaves and another joins its lane while a pass is under way."""
        self.begin_a_pass(n, key, False, 1)
        self.close(n, i)
        if evict:
            self.evict(n)
        self.subscribe(n, who, id, keys, None, {})
        self.append(n, 1, 0, 0, key, 0)
        self.pump(n, 1)

    @rule(n=which, who=which, key=record_keys, drain=st.booleans())
    def wake_while_live(self, n: int, who: int, key: bytes | None, drain: bool) -> None:
        """A post asks for the writer, its subscriptions being live; the kernel has room again; then records come."""
        peer = self.peer(who)
        for _ in range(60):
            if peer.writer or peer.line.error:
                break
            peer.post(b"%d" % len(peer.posted) + b"!" * 100)
        if drain:
            peer.read(1 << 20)
            peer.post(b"behind what waits")
        self.append(n, 2, 0, 0, key, 90)
        self.pump(n, LOTS)

    @rule(n=which, i=which, id=ids, keys=wanted_keys, chunks=st.integers(1, 2))
    def replace_one_that_was_served(self, n: int, i: int, id: int, keys: Keys, chunks: int) -> None:
        """Whoever comes behind it in the lane must not be passed over."""
        self.subscribe_together(n, id, keys)
        self.begin_a_pass(n, b"a", False, chunks)
        readers = self.readers(self.log(n))
        served = [
            k for k, reader in enumerate(readers) if reader.id == id and reader.delivered == len(reader.wanted) > 0
        ]
        if served:
            who = self.peers.index(readers[served[i % len(served)]].peer)
            self.close(n, served[i % len(served)])
            self.subscribe(n, who, id, keys, None, {})
        self.pump(n, LOTS)

    @rule(n=which, partition=which, budget=budgets)
    def meet_a_hole_in_a_pass(self, n: int, partition: int, budget: int) -> None:
        self.append(n, 1, partition, 0, b"a", 0)
        self.pump(n, 1)
        self.append_hole(n, partition, b"a")
        self.append(n, 1, partition, 0, b"a", 0)
        self.pump(n, budget)

    # ------------------------------------------------------------------------------------------------------- the checks

    @invariant()
    def the_books_are_right(self) -> None:
        for log in getattr(self, "logs", ()):
            log.check()
            for reader in log.readers:
                reader.check()
        for peer in getattr(self, "peers", ()):
            peer.check()

    def teardown(self) -> None:
        """Everybody reads, and in the end nothing is missing."""
        if not hasattr(self, "peers"):
            return
        try:
            while self.bring_on():
                pass
            self.the_books_are_right()
            for log in self.logs:
                log.check_served()
                self.check_complete(log)
        finally:
            for peer in self.peers:
                peer.close()

    def bring_on(self) -> bool:
        """Serve, write and read once: whether anything moved or waits."""
        busy = False
        for n, log in enumerate(self.logs):
            self.pump(n, LOTS)
            busy |= log.tail.unserved_bytes > 0
        for peer in self.peers:
            busy |= peer.writer and peer.write(LOTS) in (core.MORE, core.BLOCKED)
            peer.read(1 << 22)
        return busy

    def check_complete(self, log: Log) -> None:
        for reader in log.readers:
            if not reader.peer.line.error and reader.peer.far.fileno() >= 0:
                assert reader.received == reader.delivered
                assert reader.subscription.state not in OPEN or reader.delivered == len(reader.wanted)


class TestFanout(Fanout.TestCase):  # type: ignore[name-defined, misc]
    """Each send for itself."""

    settings = settings(max_examples=200, stateful_step_count=50)


class TestFanoutTogether(TestFanout):
    """All sends of a lane in one system call, be it one only."""

    def setUp(self) -> None:
        core.send_together(1)

    def tearDown(self) -> None:
        core.send_together(core.TOGETHER)


@pytest.mark.slow
@pytest.mark.parametrize("least", [core.TOGETHER, 1])
def test_soak(least: int, request: pytest.FixtureRequest) -> None:
    """TAILRACE_SOAK_RUNS: how many runs of 100 steps, at random. least: sends that one system call makes."""
    runs = int(os.environ.get("TAILRACE_SOAK_RUNS", "2000"))
    core.send_together(least)
    request.addfinalizer(lambda: core.send_together(core.TOGETHER))
    run_state_machine_as_test(Fanout, settings=settings(max_examples=runs, stateful_step_count=100, derandomize=False))
