"""Catching up, driven at random: whatever Kafka, the gateway and the clients do, and whenever, nothing is lost.

Everything between Kafka's edge and the socket is real (tests/model/gateway.py); the loop goes on only when a rule says
so, hence anything may happen between any two of its rounds, and a run is repeated exactly. The books judge every
message when it is received (tests/model/book.py); the oracle is `Partition.owed`. Rules take numbers and use them
modulo what is there, so that a failing run shrinks well; those of the last section steer into rare meetings.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.model.book import IDLE, Book, Keys
from tests.model.gateway import Gateway, Peer
from tests.model.log import Log, Partition
from tests.model.world import World
from tests.plain_client import TINY

which = st.integers(0, 59)
few = st.integers(1, 4)
seldom = st.sampled_from([False, False, False, False, True])
record_keys = st.sampled_from([None, b"a", b"b", b"c"])
wanted_keys = st.sampled_from([None, None, None, frozenset([b"a"]), frozenset([b"a", None]), frozenset([b"c"])])
sizes = st.sampled_from([0, 0, 0, 0, 0, 90, 300, 2000, 3000])
forms = st.sampled_from(
    ["latest", "earliest", "earliest", {"last": 1}, {"last": 3}, {"last": 9}, {"offsets": {"0": 2}}]
)
policies = st.sampled_from(["wait", "wait", "wait", "skip", "close"])
rounds = st.sampled_from([1, 1, 1, 2, 3, 5, 9])
bites = st.sampled_from([1, 100, 700, 2240, 6000, 1 << 20])
seconds = st.sampled_from([0.3, 1.1, 2.1, 2.1, 10.1])
wishes = st.tuples(forms, wanted_keys, policies, st.booleans())
MAX_BOOKS = 8
MAX_PARTITIONS = 4


def event(**strategies: Any) -> Any:
    """A rule; `then` is how the world goes on after it, since hypothesis leaves out some rules in each run."""

    def decorate(happens: Callable[..., None]) -> Any:
        @functools.wraps(happens)
        def and_then(self: "Catchup", *given: Any, then: int = 0, **drawn: Any) -> None:
            self.well = False
            happens(self, *given, **drawn)
            self.go_on(then)
            self.well = True

        return rule(**strategies, then=st.integers(0, 15))(and_then)

    return decorate


class Catchup(RuleBasedStateMachine):
    """One topic, one gateway at a time, connections of any speed, and books that outlive them."""

    def __init__(self) -> None:
        super().__init__()
        self.made: World | None = None
        self.well = True  # a run that has failed is not carried on

    @initialize(
        partitions=st.integers(1, 3),
        records=st.lists(st.tuples(record_keys, sizes), max_size=24),
        block_bytes=st.sampled_from([1, 400, 4000]),
        budget=st.sampled_from([1, 1, 5000, 1 << 20]),
        wanted=st.lists(wishes, min_size=1, max_size=4),
    )
    def begin(self, partitions: int, records: Any, block_bytes: int, budget: int, wanted: Any) -> None:
        """Two connections, one of them narrow, and the first subscriptions."""
        self.made = World(partitions, block_bytes, budget)
        self.locked: set[Partition] = set()
        for i, (key, size) in enumerate(records):
            self.log.append(i % partitions, key, size)
        peers = [self.world.connect(), self.world.connect(TINY)]
        for form, keys, slow, narrow in wanted:
            self.world.subscribe(peers[narrow], Book(self.log, form, keys, slow))

    @property
    def world(self) -> World:
        assert self.made is not None
        return self.made

    @property
    def log(self) -> Log:
        return self.world.log

    @property
    def gateway(self) -> Gateway:
        return self.world.gateway

    @property
    def peers(self) -> list[Peer]:
        return self.world.peers

    def go_on(self, then: int) -> None:
        """A little of what is waited for: records that are delivered, rounds of the loop, a block, what was sent."""
        if then & 1:
            for number in range(len(self.log.partitions)):
                self.gateway.live.deliver(number, 2)
        if then & 2:
            self.world.loop.step(5)
        if then & 4 and self.gateway.blocks.waiting:
            self.gateway.blocks.serve(0, 3)
        if then & 2:
            self.world.loop.step(3)
        if then & 8:
            for peer in list(self.peers):
                self.read_from(peer, 3000)

    def read_from(self, peer: Peer, most: int) -> None:
        peer.read(most)
        self.world.bury(peer)

    # ---------------------------------------------------------------------------------------------------- Kafka's log

    def number(self, n: int) -> int:
        return n % len(self.log.partitions)

    def grows(self, number: int) -> bool:
        """A partition that was truncated is written to once everybody has heard of it: before that the offsets tell
        nobody, here or at Kafka, that the records are others now."""
        partition = self.log.partitions[number]
        if partition not in self.locked:
            return True
        if self.gateway.live.positions.get(number, 0) > partition.end or not all(peer.quiet for peer in self.peers):
            return False
        for book in self.world.books:  # who was away will not be told any more
            if book.state == IDLE and book.kept.get(number, 0) > partition.end:
                book.kept[number] = partition.end
        self.locked.discard(partition)
        return True

    @event(n=which, count=st.integers(1, 6), key=record_keys, size=sizes, transaction=seldom)
    def produce(self, n: int, count: int, key: bytes | None, size: int, transaction: bool) -> None:
        for i in range(count):
            if self.grows(number := self.number(n + i // 2)):
                self.log.append(number, key, size, transaction)

    @event(n=which, commit=st.booleans())
    def finish(self, n: int, commit: bool) -> None:
        if self.grows(self.number(n)):
            self.log.finish(self.number(n), commit)

    @event(n=which, offset=which, count=few)
    def compact(self, n: int, offset: int, count: int) -> None:
        partition = self.log.partitions[self.number(n)]
        for i in range(count):
            self.log.compact(self.number(n), offset % (partition.end or 1) + i)

    @event(n=which, by=st.integers(1, 9))
    def retain(self, n: int, by: int) -> None:
        partition = self.log.partitions[self.number(n)]
        self.log.retain(self.number(n), partition.beginning + by)

    @event(n=which, by=st.integers(1, 5))
    def truncate(self, n: int, by: int) -> None:
        """Only below where the live consumer is, for else nobody could notice."""
        number = self.number(n)
        partition = self.log.partitions[number]
        end = partition.end - by
        at = self.gateway.live.positions.get(number)
        if partition.beginning <= end < partition.end and (not self.gateway.topics.held if at is None else at > end):
            self.log.truncate(number, end)
            self.locked.add(partition)

    @precondition(lambda self: len(self.log.partitions) < MAX_PARTITIONS)
    @event()
    def grow(self) -> None:
        self.log.grow()

    @event(partitions=st.integers(1, 3), records=st.integers(0, 6), really=seldom)
    def recreate(self, partitions: int, records: int, really: bool) -> None:
        if not really:
            return
        self.log.recreate(partitions)
        for i in range(records):
            self.log.append(i % partitions, b"a", 0)

    @event(n=which, stuck=st.booleans())
    def stick(self, n: int, stuck: bool) -> None:
        self.log.partitions[self.number(n)].stuck = stuck

    @event(down=seldom)
    def lose_the_cluster(self, down: bool) -> None:
        self.gateway.cluster.down = down

    # ---------------------------------------------------------------------------------------------------- the gateway

    @event(n=which, most=st.sampled_from([0, 1, 2, 9]))
    def deliver(self, n: int, most: int) -> None:
        self.gateway.live.deliver(self.number(n), most)

    @precondition(lambda self: self.gateway.blocks.waiting)
    @event(i=which, most=few)
    def serve(self, i: int, most: int) -> None:
        self.gateway.blocks.serve(i, most)

    @precondition(lambda self: self.gateway.blocks.cached)
    @event(i=which)
    def revoke(self, i: int) -> None:
        self.gateway.blocks.revoke(i % len(self.gateway.blocks.cached))

    @event()
    def evict(self) -> None:
        self.gateway.evict()

    @event(count=rounds)
    def step(self, count: int) -> None:
        self.world.loop.step(count)

    @event(time=seconds, count=rounds)
    def wait(self, time: float, count: int) -> None:
        self.world.loop.pass_seconds(time)
        self.world.loop.step(count)

    @event(really=seldom)
    def die(self, really: bool) -> None:
        if really:
            self.world.die()

    # ---------------------------------------------------------------------------------------------------- the clients

    def peer(self, n: int) -> Peer:
        return self.peers[n % len(self.peers)] if self.peers else self.world.connect(TINY)

    @precondition(lambda self: len(self.peers) < 4)
    @event(narrow=st.booleans(), max_chases=st.sampled_from([None, None, 1]))
    def connect(self, narrow: bool, max_chases: int | None) -> None:
        self.world.connect(TINY if narrow else None, max_chases)

    @precondition(lambda self: len(self.world.books) < MAX_BOOKS)
    @event(n=which, form=forms, keys=wanted_keys, slow=policies)
    def subscribe(self, n: int, form: Any, keys: Keys, slow: str) -> None:
        self.world.subscribe(self.peer(n), Book(self.log, form, keys, slow))

    @event(n=which, i=which)
    def resume(self, n: int, i: int) -> None:
        self.world.resume(self.peer(n), i)

    @event(n=which, i=which)
    def unsubscribe(self, n: int, i: int) -> None:
        peer = self.peer(n)
        if peer.books:
            peer.unsubscribe(list(peer.books)[i % len(peer.books)])

    @event(n=which, most=bites)
    def read(self, n: int, most: int) -> None:
        self.read_from(self.peer(n), most)

    @event(n=which, most=bites, count=rounds)
    def disconnect(self, n: int, most: int, count: int) -> None:
        """With what it had not read; a while later the gateway's reader hears of it."""
        peer = self.peer(n)
        peer.read(most)
        if peer.alive:
            peer.leave()
        self.world.loop.step(count)
        self.world.bury(peer)

    # -------------------------------------------------------------------------------------------------- rare meetings

    @event(n=which, count=st.integers(2, 6), key=record_keys, wait=rounds, most=bites, evictions=st.integers(0, 9))
    def evict_in_a_partial_send(
        self, n: int, count: int, key: bytes | None, wait: int, most: int, evictions: int
    ) -> None:
        """More than a narrow connection takes; then the tail forgets what was cut, and what comes behind it."""
        self.produce(n, count, key, 3000, False)
        for number in range(len(self.log.partitions)):
            self.deliver(number, count)
        self.world.loop.step(wait)
        self.read(n, most)
        for _ in range(evictions):
            self.evict()
            self.world.loop.step()

    @event(most=few, wait=rounds, i=which)
    def revoke_while_a_frame_is_cut(self, most: int, wait: int, i: int) -> None:
        """A block is evicted as soon as a connection that reads it is full."""
        while self.gateway.blocks.waiting:
            self.gateway.blocks.serve(0, most)
        for _ in range(wait):
            self.world.loop.step()
            if any(peer.connection.outlet.line.waiting_bytes for peer in self.peers):
                break
        while self.gateway.blocks.cached:
            self.revoke(i)

    @precondition(lambda self: self.gateway.blocks.waiting and len(self.log.partitions) < MAX_PARTITIONS)
    @event(count=few, key=record_keys, wait=rounds)
    def grow_while_catching_up(self, count: int, key: bytes | None, wait: int) -> None:
        self.log.grow()
        self.produce(len(self.log.partitions) - 1, count, key, 0, False)
        self.wait(2.1, wait)

    @precondition(lambda self: self.gateway.blocks.waiting)
    @event(i=which, by=few)
    def retain_what_is_asked_for(self, i: int, by: int) -> None:
        request = self.gateway.blocks.waiting[i % len(self.gateway.blocks.waiting)]
        if request.partition < len(self.log.partitions):
            self.log.retain(request.partition, request.offset + by)
        self.gateway.blocks.serve(i, 1)

    @precondition(lambda self: self.gateway.blocks.waiting)
    @event(i=which)
    def truncate_what_is_asked_for(self, i: int) -> None:
        request = self.gateway.blocks.waiting[i % len(self.gateway.blocks.waiting)]
        if request.partition < len(self.log.partitions):
            self.truncate(request.partition, self.log.partitions[request.partition].end - request.offset + 1)

    @event(n=which, i=which, most=few, wait=rounds)
    def unsubscribe_while_it_is_read_back(self, n: int, i: int, most: int, wait: int) -> None:
        if self.gateway.blocks.waiting:
            self.gateway.blocks.serve(i, most)
        self.world.loop.step(wait)
        self.unsubscribe(n, i)

    @event(n=which, most=bites, narrow=st.booleans())
    def come_back_at_once(self, n: int, most: int, narrow: bool) -> None:
        """Gone in the middle of a frame, and back with all subscriptions."""
        self.disconnect(n, most, 1)
        peer = self.world.connect(TINY if narrow else None)
        while self.world.resume(peer):
            pass

    def teardown(self) -> None:
        """In the end nothing is missing."""
        if self.made is None:
            return
        try:
            if self.well:
                self.world.come_to_rest()
        finally:
            self.world.close()


TestCatchup = Catchup.TestCase
TestCatchup.settings = settings(max_examples=200, stateful_step_count=50)


@pytest.mark.slow
def test_soak() -> None:
    """TAILRACE_SOAK_RUNS: how many runs of 50 steps, at random."""
    runs = int(os.environ.get("TAILRACE_SOAK_RUNS", "2000"))
    run_state_machine_as_test(Catchup, settings=settings(max_examples=runs, stateful_step_count=50, derandomize=False))
