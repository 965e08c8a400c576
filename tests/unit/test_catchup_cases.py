"""What the model of catching up has found, one case each, and meetings that deserve a name. Everything as in the model
(tests/model/), but told step by step."""

from collections.abc import Iterator

import pytest
from tests.model.book import Book
from tests.model.gateway import Peer
from tests.model.kafka import STRIDE
from tests.model.world import LOTS, SCANNED_PER_SECOND, World
from tests.plain_client import TINY

from tailrace.gateway.chase import STRAIGHT_ON_BLOCKS


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_live_is_said_though_its_goal_is_in_a_partition_that_is_gone(world: World) -> None:
    """The topic is recreated with fewer partitions while it is caught up with."""
    world.log.grow()
    world.log.append(1, None, 0)
    book = world.subscribe(world.connect(), Book(world.log, "earliest", None, "wait"))
    world.loop.step(20)
    assert world.gateway.blocks.waiting
    world.log.recreate(1)
    world.come_to_rest()
    assert book.live


def test_a_new_partition_that_retention_has_cut_is_named(world: World) -> None:
    """It grew and lost its first records before anybody looked: who is live is told as well as who resumed there."""
    live = world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    for _ in range(9):
        world.go_on()
    world.log.grow()
    world.log.append(1, None, 0)
    world.log.append(1, None, 0)
    world.log.retain(1, 1)
    resumed = world.subscribe(world.connect(), Book(world.log, {"offsets": {"0": 0}}, None, "wait"))
    world.come_to_rest()
    for book in (live, resumed):
        assert sum("'from': 0, 'to': 1, 'next': 1, 'reason': 'retention'" in told for told in book.history) == 1
        assert book.received == 1


def test_a_place_in_a_partition_that_the_gateway_does_not_know_yet_is_kept(world: World) -> None:
    """A client resumes in a partition that grew just now; before anybody looks, it falls off the tail."""
    world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    world.loop.step(20)
    for _ in range(6):
        world.log.append(0, None, 3000)
        world.gateway.live.deliver(0, 1)
        world.loop.step(3)
    world.log.grow()
    for _ in range(3):
        world.log.append(1, None, 0)
    from_ = {"offsets": {"0": 0, "1": 2}}
    book = world.subscribe(world.connect(room=TINY), Book(world.log, from_, None, "wait"))
    world.loop.step(20)
    for _ in range(6):
        world.gateway.evict()
    world.come_to_rest()
    assert book.received == 7


def test_skipping_keeps_what_is_ahead_of_the_tail(world: World) -> None:
    """A block that was read back may reach beyond what the live consumer has brought: who jumps from there to the end
    of the tail does not get that again."""
    world.log.grow()
    world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    world.loop.step(20)
    world.log.append(0, None, 0)
    world.gateway.live.deliver(0, 1)
    world.loop.step(3)
    world.gateway.evict()
    for _ in range(3):
        world.log.append(0, None, 0)
    peer = world.connect(room=TINY)
    book = world.subscribe(peer, Book(world.log, {"offsets": {"0": 0}}, None, "skip"))
    world.loop.step(20)
    world.gateway.blocks.serve(0, 9)
    world.loop.step(20)
    peer.read(LOTS)
    assert book.live
    for _ in range(9):
        world.log.append(1, None, 3000)
    world.gateway.live.deliver(1, 9)
    world.loop.step(3)
    world.loop.pass_seconds(0.3)
    world.come_to_rest()
    assert any("'reason': 'slow'" in told for told in book.history)


def test_a_partition_that_cannot_be_read_holds_up_neither_the_others_nor_the_step(world: World) -> None:
    """Who is behind in all of them is live in the others as soon as it has them, and gets that one when it is back."""
    for _ in range(2):
        world.log.grow()
    world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    world.loop.step(20)
    for number in range(3):
        for _ in range(3):
            world.log.append(number, None, 0)
        world.gateway.live.deliver(number, 9)
        world.loop.step(3)
    for _ in range(9):
        world.gateway.evict()
    stuck = world.log.partitions[1]
    stuck.stuck = True
    book = world.subscribe(world.connect(), Book(world.log, "earliest", None, "wait"))
    for _ in range(9):
        world.go_on()
    assert book.kept == {0: 3, 1: 0, 2: 3}
    for number in (0, 2):
        world.log.append(number, None, 0)
        world.gateway.live.deliver(number, 9)
    for _ in range(3):
        world.loop.step(3)
    world.peers[1].read(LOTS)
    assert book.kept == {0: 4, 1: 0, 2: 4}, "it is not in the tail"
    assert not book.live
    stuck.stuck = False
    world.log.append(1, None, 0)
    world.come_to_rest()
    assert book.live
    assert book.received == 12


def test_who_looks_for_a_rare_key_rests_between_blocks(world: World) -> None:
    """What a connection does not want has a pace; neither others nor what is wanted are held up by that."""
    for _ in range(4 * SCANNED_PER_SECOND):
        world.log.append(0, b"common", 0)
    wanted = {"whole": None, "one": b"rare", "other": b"rare", "alone": b"rare"}
    shared = world.connect()
    books = {
        name: world.subscribe(
            world.connect() if name == "alone" else shared,
            Book(world.log, "earliest", None if key is None else frozenset([key]), "wait"),
        )
        for name, key in wanted.items()
    }
    _read_back(world)
    live_at = {name: 0 for name, book in books.items() if book.live}
    for second in range(1, 10):
        world.loop.pass_seconds(1)
        _read_back(world)
        live_at |= {name: second for name, book in books.items() if book.live and name not in live_at}
    assert (live_at["whole"], live_at["alone"]) == (0, 1)
    assert max(live_at["one"], live_at["other"]) > 1  # how many blocks there are depends on who asked first
    assert books["whole"].received == 4 * SCANNED_PER_SECOND
    world.come_to_rest()


def _read_back(world: World) -> None:
    """In blocks of one record, as far as that goes without time passing."""
    for _ in range(200):
        if world.gateway.blocks.waiting:
            world.gateway.blocks.serve(0, 1)
        world.loop.step()
    for peer in world.peers:
        peer.read(LOTS)


def following(world: World, count: int) -> tuple[Peer, Book]:
    """A client that catches up with so many blocks, of which it has had the first."""
    world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    world.loop.step(20)
    for _ in range(count * STRIDE):
        world.log.append(0, None, 0)
    world.gateway.live.deliver(0, count * STRIDE)
    world.loop.step(3)
    for _ in range(count * STRIDE):
        world.gateway.evict()
    peer = world.connect()
    book = world.subscribe(peer, Book(world.log, "earliest", None, "wait"))
    world.loop.step(20)
    world.gateway.blocks.serve(0, STRIDE)
    world.loop.step(3)
    peer.read(LOTS)
    assert book.received == STRIDE
    return peer, book


def test_blocks_that_follow_are_sent_as_they_come(world: World) -> None:
    """Without a task, hence without a round of the loop, until the others have to be looked at."""
    peer, book = following(world, 3 * STRAIGHT_ON_BLOCKS)
    for number in range(STRAIGHT_ON_BLOCKS):
        [request] = world.gateway.blocks.waiting
        assert request.offset == book.received == (number + 1) * STRIDE
        world.gateway.blocks.serve(0, STRIDE)
        peer.read(LOTS)
    assert (book.received, world.gateway.blocks.waiting) == ((STRAIGHT_ON_BLOCKS + 1) * STRIDE, [])
    world.loop.step(3)
    assert world.gateway.blocks.waiting
    world.come_to_rest()


@pytest.mark.parametrize("gone", [False, True])
def test_who_has_gone_wants_the_block_that_follows_no_more(world: World, gone: bool) -> None:
    peer, _ = following(world, 4)
    if gone:
        peer.leave()
        peer.hang_up()
    else:
        peer.unsubscribe(1)
    world.loop.step(5)
    assert not world.gateway.blocks.waiting


def test_what_follows_cannot_be_read_and_then_it_can(world: World) -> None:
    peer, book = following(world, 4)
    world.log.partitions[0].stuck = True
    world.gateway.blocks.serve(0, STRIDE)
    world.loop.step(5)
    peer.read(LOTS)
    assert book.received == STRIDE
    world.come_to_rest()
    assert book.received == 4 * STRIDE


def test_what_followed_is_gone(world: World) -> None:
    peer, book = following(world, 4)
    world.log.retain(0, STRIDE + 2)
    world.gateway.blocks.serve(0, STRIDE)
    world.come_to_rest()
    assert any("'reason': 'retention'" in told for told in book.history)
    assert peer.alive


def test_who_jumps_wants_the_block_that_follows_no_more(world: World) -> None:
    """One that skips has passed its goal, and is still read back to; what it has asked for is not for the next time."""
    world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    world.loop.step(20)
    _grow_beyond_the_tail(world, 3 * STRIDE)
    peer = world.connect(room=TINY)
    world.subscribe(peer, Book(world.log, "earliest", None, "skip"))
    world.loop.step(20)
    _grow_beyond_the_tail(world, 6 * STRIDE)
    for _ in range(4):
        world.gateway.blocks.serve(0, STRIDE)
        for _ in range(10):
            world.loop.step(2)
            peer.read(LOTS)
    assert [request.offset for request in world.gateway.blocks.waiting] == [4 * STRIDE]
    world.loop.pass_seconds(0.3)
    world.loop.step(5)
    assert not world.gateway.blocks.waiting
    _stall(world, 9)
    for _ in range(12):
        world.loop.step(3)
        peer.read(LOTS)
    while world.gateway.blocks.waiting:
        world.gateway.blocks.serve(0, STRIDE)
        world.loop.step(3)
        peer.read(LOTS)
    world.come_to_rest()


def _grow_beyond_the_tail(world: World, records: int) -> None:
    """They are in the log, and have left the tail."""
    for _ in range(records):
        world.log.append(0, None, 0)
    world.gateway.live.deliver(0, records)
    world.loop.step(3)
    for _ in range(records):
        world.gateway.evict()


def _stall(world: World, records: int) -> None:
    """So many large ones are offered to a client that does not read, and evicted."""
    for _ in range(records):
        world.log.append(0, None, 3000)
        world.gateway.live.deliver(0, 1)
        world.loop.step(3)
    for _ in range(records):
        world.gateway.evict()


def test_a_fault_of_ours_in_what_follows_is_that_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever brings a block to all that wait for it goes on, and with the others."""
    peer, _ = following(world, 4)
    outlet = peer.connection.outlet
    monkeypatch.setattr(outlet.line, "owner", None)
    blamed: list[Exception] = []
    monkeypatch.setattr(type(outlet), "blame", lambda _, fault: blamed.append(fault))
    monkeypatch.setattr(type(outlet), "write", lambda _: 1 // 0)
    world.gateway.blocks.serve(0, STRIDE)
    assert [type(each) for each in blamed] == [ZeroDivisionError]
