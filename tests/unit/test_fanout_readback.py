"""What the compiled core does for subscriptions outside the tail, at their goal, and in rounds.

By example; the meeting of all of it, at random, is test_catchup_model's.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from tests.plain_client import LOTS, TINY, Client, feed, payload, serve, texts

from tailrace import _fanout
from tailrace._fanout import (
    ARRIVED,
    BEHIND,
    BLOCKED,
    CLOSED,
    DONE,
    FALLEN,
    HOLED,
    JSON,
    LIVE,
    MORE,
    MSGPACK,
    READING,
    RESTING,
    VALUE,
    Line,
    Stretch,
    Subscription,
    Tail,
)


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connect(**options: Any) -> Client:
        clients.append(Client(_fanout, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def stretch_of(offsets: range | list[int], next: int, *, format: int = VALUE, key: bytes | None = b"k") -> Stretch:
    stretch = Stretch(format, 0, 0)
    for offset in offsets:
        stretch.append(1, payload(format, b"%d" % offset), offset, key)
    stretch.seal(next)
    return stretch


def away(client: Client, tail: Tail, positions: dict[int, int], id: int = 7, **options: Any) -> Subscription:
    return Subscription(client.line, tail, id, floor=positions, away=True, **options)


# ------------------------------------------------------------------------------------------------------------ stretches


@pytest.mark.parametrize("format", [JSON, MSGPACK, VALUE])
def test_a_stretch_is_sent_from_the_offset_wanted_with_the_subscribers_id(connect, format):
    client, tail = connect(), Tail(format, [100])
    subscription = away(client, tail, {0: 3})
    assert subscription.feed(stretch_of([1, 3, 4, 8], 10, format=format))
    assert (subscription.state, client.line.flush(LOTS)) == (READING, DONE)
    assert texts(client.read()) == [payload(format, b"%d" % offset, 7) for offset in (3, 4, 8)]
    assert (subscription.state, subscription.positions) == (FALLEN, {0: 10})
    assert (client.line.take_dropped(), client.line.take_dropped()) == ([subscription], [])


def test_a_stretch_is_sent_up_to_an_offset(connect):
    client = connect()
    subscription = away(client, Tail(VALUE, [100]), {0: 0})
    subscription.feed(stretch_of(range(10), 10), 4)
    client.line.flush(LOTS)
    assert (texts(client.read()), subscription.positions) == ([b"0", b"1", b"2", b"3"], {0: 4})


def test_only_the_keys_wanted_are_sent_and_the_rest_is_passed(connect):
    client = connect()
    subscription = away(client, Tail(VALUE, [100]), {0: 0}, keys=frozenset([b"a"]))
    stretch = Stretch(VALUE, 0, 0)
    for offset, key in enumerate([b"a", b"b", None, b"a"]):
        stretch.append(1, b"%d" % offset, offset, key)
    stretch.seal(1000)
    subscription.feed(stretch)
    client.line.flush(LOTS)
    assert (texts(client.read()), subscription.positions) == ([b"0", b"3"], {0: 1000})


def sends(subscriptions: int, records: int) -> list[int]:
    """The size of each send() when so many subscriptions of one connection are fed as many records of 1 KiB each."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        far.setblocking(False)
        line, tail = Line(near.fileno(), True, None), Tail(VALUE, [records])
        kept = [Subscription(line, tail, id, floor={0: 0}, away=True) for id in range(subscriptions)]
        stretch = Stretch(VALUE, 0, 0)
        for offset in range(records):
            stretch.append(1, b"x" * 1020, offset, None)
        stretch.seal(records)
        for subscription in kept:
            subscription.feed(stretch)
        while line.flush(128 * 1024) == MORE:
            pass
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(len(far.recv(1 << 20)))
        return found


def test_one_that_is_alone_is_sent_as_much_at_once_as_a_step_may():
    assert sends(1, 100) == [100 * 1024]


def test_several_take_turns():
    assert sends(2, 100) == [65 * 1024, 65 * 1024, 35 * 1024, 35 * 1024]


def test_an_empty_stretch_only_moves_the_place(connect):
    client = connect()
    subscription = away(client, Tail(VALUE, [100]), {0: 5})
    subscription.feed(stretch_of([], 1024))
    assert (client.line.flush(LOTS), client.read(), subscription.positions) == (DONE, [], {0: 1024})


def test_a_stretch_that_does_not_go_on_where_it_is_wanted_is_refused(connect):
    subscription = away(connect(), Tail(VALUE, [100]), {0: 50})
    with pytest.raises(ValueError):
        subscription.feed(stretch_of(range(10), 10))
    with pytest.raises(ValueError):
        subscription.feed(Stretch(VALUE, 0, 51))
    with pytest.raises(ValueError):
        subscription.feed(Stretch(JSON, 0, 50))
    assert subscription.state == FALLEN


def test_offsets_of_a_stretch_only_rise():
    stretch = stretch_of(range(3), 5)
    with pytest.raises(ValueError):
        stretch.append(1, b"x", 4, None)
    with pytest.raises(ValueError):
        stretch.seal(4)
    assert (stretch.records, stretch.next) == (3, 5)


def test_a_slow_reader_gets_a_stretch_whole_and_its_place_is_exact_meanwhile(connect):
    client = connect(room=TINY)
    subscription = away(client, Tail(VALUE, [100]), {0: 0})
    values = [b"%d" % offset + b"x" * 3000 for offset in range(8)]
    stretch = Stretch(VALUE, 0, 0)
    for offset, value in enumerate(values):
        stretch.append(2, value, offset, None)
    subscription.feed(stretch)
    assert client.line.flush(LOTS) == BLOCKED
    committed = subscription.positions[0]
    assert 0 < committed < 8
    got = texts(client.drain(_fanout))
    assert (got, subscription.positions) == (values, {0: 8})


def test_a_revoked_stretch_leaves_its_readers_where_they_are(connect):
    client = connect(room=TINY)
    subscription = away(client, Tail(VALUE, [100]), {0: 0})
    values = [b"%d" % offset + b"x" * 3000 for offset in range(8)]
    stretch = Stretch(VALUE, 0, 0)
    for offset, value in enumerate(values):
        stretch.append(2, value, offset, None)
    subscription.feed(stretch)
    client.line.flush(LOTS)
    stretch.revoke()
    place = subscription.positions[0]
    assert subscription.state == FALLEN
    assert texts(client.drain(_fanout)) == values[:place], "the cut frame is finished, and no more"
    subscription.feed(stretch)
    assert texts(client.drain(_fanout)) == values


def test_a_stretch_that_cannot_be_shown_ends_before_the_hole(connect):
    client = connect()
    subscription = away(client, Tail(VALUE, [100]), {0: 0})
    stretch = Stretch(VALUE, 0, 0)
    stretch.append(1, b"0", 0, None)
    stretch.append_hole(1, None)
    stretch.append(1, b"2", 2, None)
    subscription.feed(stretch)
    client.line.flush(LOTS)
    assert (subscription.state, subscription.positions, texts(client.read())) == (HOLED, {0: 1}, [b"0"])


def test_a_closed_subscription_gets_no_more_of_its_stretch(connect):
    client = connect()
    subscription = away(client, Tail(VALUE, [100]), {0: 0})
    subscription.feed(stretch_of(range(10), 10))
    assert subscription.close() == {0: 0}
    assert (client.line.flush(LOTS), client.read(), subscription.state) == (DONE, [], CLOSED)


# ---------------------------------------------------------------------------------------------------- entering the tail


def test_it_enters_where_it_has_everything_before_and_skips_what_it_had(connect):
    client, tail = connect(), Tail(VALUE, [0, 0])
    zero, one = feed(tail, 4, partition=0), feed(tail, 4, partition=1)
    subscription = away(client, tail, {0: 2, 1: 0})
    subscription.enter(tail.entry(subscription.positions))
    assert (subscription.state, tail.take_woken()) == (BEHIND, [client])
    assert texts(client.drain(_fanout)) == zero[2:] + one
    assert (subscription.state, subscription.positions) == (LIVE, {0: 4, 1: 4})
    more = feed(tail, 2)
    serve(tail)
    assert texts(client.read())[-2:] == more


def test_the_tail_is_no_place_for_who_lacks_something_before_it(connect):
    tail = Tail(VALUE, [10, 10], 64)
    feed(tail, 20)
    assert tail.entry({0: 9, 1: 10}) is None
    assert tail.entry({0: 10, 1: 10}) == 0
    assert tail.entry({0: 30, 1: 10}) == tail.end
    tail.evict()
    assert tail.entry({0: 10, 1: 10}) is None
    assert tail.entry(tail.start_positions) == tail.start


def test_a_move_is_for_what_was_told_of_otherwise(connect):
    subscription = away(connect(), Tail(VALUE, [100, 5]), {0: 3, 1: 5})
    subscription.move(0, 50)
    assert subscription.positions == {0: 50, 1: 5}


# ---------------------------------------------------------------------------------------------------------------- goals


@pytest.mark.parametrize("keys", [None, frozenset([b"nobody"]), frozenset([b"k"])])
def test_it_stops_exactly_at_its_goal_until_it_may_go_on(connect, keys):
    client, tail = connect(), Tail(VALUE, [0, 0])
    values = feed(tail, 6, b"k", partition=0)
    subscription = Subscription(client.line, tail, 7, keys, 0, {0: 0, 1: 0}, goal={0: 4, 1: 0})
    assert client.line.flush(LOTS) == DONE
    wanted = values if keys is None or b"k" in keys else []
    assert (subscription.state, subscription.positions) == (ARRIVED, {0: 4, 1: 0})
    assert texts(client.read()) == wanted[:4]
    assert client.line.take_dropped() == [subscription]
    subscription.go_on()
    tail.take_woken()
    assert texts(client.drain(_fanout)) == wanted
    assert subscription.state == LIVE


def test_a_goal_behind_a_control_marker_is_passed_by_the_record_after_it(connect):
    client, tail = connect(), Tail(VALUE, [0])
    tail.append(1, b"a", 0, 0, None)
    tail.append(1, b"b", 0, 5, None)
    subscription = Subscription(client.line, tail, 7, None, 0, {0: 0}, goal={0: 2})
    client.line.flush(LOTS)
    assert (subscription.state, texts(client.read())) == (ARRIVED, [b"a"])


def test_a_goal_ahead_of_the_tail_is_passed_when_the_log_ends_there(connect):
    client, tail = connect(), Tail(VALUE, [0])
    tail.append(1, b"a", 0, 0, None)
    subscription = Subscription(client.line, tail, 7, None, tail.end, {0: 1}, goal={0: 2})
    assert subscription.state == LIVE
    tail.advance(0, 2)
    assert not tail.pump(LOTS)
    assert (subscription.state, tail.take_woken()) == (ARRIVED, [client])


def test_a_goal_is_passed_by_records_that_are_not_wanted(connect):
    client, tail = connect(), Tail(VALUE, [0])
    subscription = Subscription(client.line, tail, 7, frozenset([b"other"]), 0, {0: 0}, goal={0: 2})
    feed(tail, 3, b"k")
    serve(tail)
    assert subscription.state == ARRIVED


def test_with_several_partitions_the_last_to_pass_counts(connect):
    client, tail = connect(), Tail(VALUE, [0, 0])
    subscription = Subscription(client.line, tail, 7, None, 0, {0: 0, 1: 0}, goal={0: 2, 1: 1})
    feed(tail, 3, partition=0)
    serve(tail)
    assert (subscription.state, len(client.read())) == (LIVE, 3)
    feed(tail, 1, partition=1)
    serve(tail)
    assert (subscription.state, len(client.read())) == (ARRIVED, 4)


def test_goals_are_passed_outside_the_tail_too(connect):
    client = connect()
    subscription = away(client, Tail(VALUE, [100]), {0: 0}, goal={0: 10})
    assert not subscription.pass_goals()
    subscription.feed(stretch_of(range(10), 10))
    client.line.flush(LOTS)
    assert subscription.pass_goals()


def test_who_has_arrived_and_is_evicted_keeps_its_place(connect):
    client, tail = connect(), Tail(VALUE, [0], 16)
    feed(tail, 4)
    subscription = Subscription(client.line, tail, 7, None, 0, {0: 0}, goal={0: 2})
    client.line.flush(LOTS)
    assert subscription.state == ARRIVED
    while tail.evict():
        pass
    assert (subscription.state, subscription.positions) == (FALLEN, {0: 2})


# ---------------------------------------------------------------------------------------------------------------- lanes


def test_ids_that_came_and_went_during_passes_cost_nothing(connect):
    """A pass looks at the lane of every id: one that everybody left in the middle of it is the next id's."""
    clients, tail = [connect() for _ in range(3)], Tail(VALUE, [0])
    stays = [Subscription(client.line, tail, 1) for client in clients]
    for id in range(2, 100):
        feed(tail, 1)
        assert tail.pump(1), "a pass is under way"
        for _ in range(2):
            Subscription(clients[0].line, tail, id).close()
        other = Subscription(clients[1].line, tail, 100 + id)
        serve(tail)
        other.close()
    assert tail.statistics()["lanes"] == 1
    feed(tail, 1)
    newcomer = Subscription(clients[2].line, tail, 500)
    feed(tail, 1)
    serve(tail)
    assert [len(client.read()) for client in clients] == [100, 100, 101]
    assert [subscription.positions for subscription in (*stays, newcomer)] == [{0: 100}] * 4


# -------------------------------------------------------------------------------------------------- slow, and in rounds


def test_how_much_waits_is_counted_in_its_own_frames(connect):
    client, tail = connect(direct=False), Tail(VALUE, [0])
    everything = Subscription(client.line, tail, 1)
    one_key = Subscription(client.line, tail, 2, frozenset([b"rare"]))
    feed(tail, 10, b"often", size=98)
    serve(tail)
    assert [everything.waits(limit) for limit in (10 * 100, 10 * 104)] == [True, False]
    assert not one_key.waits(0)


def test_what_waits_is_counted_on_however_the_place_moves(connect):
    """Against the sum over the frames that are left, of a client that reads now and then."""
    client, tail = connect(room=TINY), Tail(VALUE, [0], 2000)
    subscription = Subscription(client.line, tail, 7, frozenset([b"a", b"b"]), 0, {0: 10})
    for turn in range(60):
        for key in (b"a", b"c", b"b")[: 1 + turn % 3]:
            feed(tail, 3, key, size=40 + turn)
        serve(tail)
        if turn % 4 == 3:
            client.read()
            client.line.flush(LOTS)
        if turn == 40:
            tail.evict()
        left = [size for offset, size in own_frames(turn) if offset >= subscription.positions[0]]
        assert subscription.state == (BEHIND if left else LIVE)
        assert (subscription.waits(sum(left)), subscription.waits(max(0, sum(left) - 1))) == (False, bool(left))


def test_what_waits_is_counted_anew_once_there_is_no_floor_any_more(connect):
    """Which of the frames before are its own is another question then."""
    client, tail = connect(direct=False), Tail(VALUE, [0])
    feed(tail, 10, b"a")
    subscription = Subscription(client.line, tail, 7, frozenset([b"a"]), 0, {0: 5})
    assert subscription.waits(0)
    client.line.flush(LOTS)
    feed(tail, 1, b"a", size=40)
    serve(tail)
    assert subscription.state == BEHIND
    assert (subscription.waits(40), subscription.waits(50)) == (True, False)


def own_frames(turns: int) -> list[tuple[int, int]]:
    """(offset, size) of those that it wants of what was fed, up to this turn."""
    records = [(key, 42 + turn) for turn in range(turns + 1) for key in b"acb"[: 1 + turn % 3] for _ in range(3)]
    return [(offset, size) for offset, (key, size) in enumerate(records) if key != ord("c") and offset >= 10]


def test_a_question_how_much_waits_looks_at_so_many_records_and_no_more(connect):
    """Its own frame is behind all others: it is found by the next questions."""
    client, tail = connect(direct=False), Tail(VALUE, [0])
    feed(tail, 50_000, b"often")
    feed(tail, 1, b"rare")
    subscription = Subscription(client.line, tail, 7, frozenset([b"rare"]), 0)
    assert [subscription.waits(0) for _ in range(4)] == [False, False, False, True]


def test_a_writers_step_passes_so_many_records_and_no_more(connect):
    """However few of them its client wants: the loop has others to serve. Nothing is lost by it."""
    client, tail = connect(), Tail(VALUE, [0], 4096)
    feed(tail, 100_000, b"often")
    feed(tail, 1, b"rare")
    subscription = Subscription(client.line, tail, 7, frozenset([b"rare"]), 0)
    places = [0]
    while client.line.flush(128 * 1024) == MORE:
        places.append(subscription.positions[0])
    steps = [place - before for before, place in pairwise(places)]
    assert max(steps) < 2 * 128 * 1024 // 8
    assert len(steps) >= 5
    assert (len(client.read()), subscription.positions, subscription.state) == (1, {0: 100_001}, LIVE)


def test_a_jump_leaves_out_what_lies_between_and_tells_from_where(connect):
    client, tail = connect(room=TINY), Tail(VALUE, [0])
    subscription = Subscription(client.line, tail, 7)
    feed(tail, 9, size=3000)
    serve(tail)
    before = subscription.positions[0]
    assert subscription.state == BEHIND
    assert (subscription.jump(), subscription.state) == ({0: before}, LIVE)
    assert len(client.drain(_fanout)) == before, "the cut frame is finished"
    more = feed(tail, 1)
    serve(tail)
    assert texts(client.read())[before:] == more


def rested(client) -> list[Subscription]:
    return [one for one in client.line.take_dropped() if one.state == RESTING]


def test_a_round_sends_the_newest_of_each_key_and_all_without_one_in_order(connect):
    client, tail = connect(), Tail(VALUE, [0])
    subscription = Subscription(client.line, tail, 7)
    subscription.conflate(True)
    tail.append(1, b"first", 0, 0, b"a")
    serve(tail)
    assert (texts(client.read()), subscription.state) == ([b"first"], RESTING), "it comes at once"
    assert (rested(client), rested(client)) == ([subscription], []), "the owner is told once"
    for offset, key in enumerate([b"a", b"b", None, b"a", None, b"c", b"b"], 1):
        tail.append(1, b"%d" % offset, 0, offset, key)
    serve(tail)
    assert (subscription.state, len(client.read())) == (RESTING, 1)
    subscription.round()
    assert client in tail.take_woken()
    assert texts(client.drain(_fanout))[1:] == [b"3", b"4", b"5", b"6", b"7"]
    assert (subscription.state, subscription.positions) == (RESTING, {0: 8})
    assert rested(client) == [subscription]


@pytest.mark.parametrize("keys", [None, frozenset([b"a"]), frozenset([b"a", b"b"])])
def test_who_has_rested_gets_what_comes_next_at_once(connect, keys):
    client, tail = connect(), Tail(VALUE, [0])
    subscription = Subscription(client.line, tail, 7, keys)
    subscription.conflate(True)
    for offset in range(3):
        tail.append(1, b"%d" % offset, 0, offset, b"a")
        serve(tail)
        assert texts(client.drain(_fanout))[offset:] == [b"%d" % offset]
        assert rested(client) == [subscription]
        subscription.round()
        assert (len(client.drain(_fanout)), subscription.state) == (offset + 1, LIVE), "nothing has come since"


@pytest.mark.parametrize("keys", [None, frozenset([b"a"]), frozenset([b"a", b"b"])])
def test_without_a_rest_a_round_is_whatever_the_client_can_take(connect, keys):
    client, tail = connect(), Tail(VALUE, [0])
    subscription = Subscription(client.line, tail, 7, keys)
    subscription.conflate(False)
    for offset, key in enumerate([b"a", b"a", b"a"]):
        tail.append(1, b"%d" % offset, 0, offset, key)
    serve(tail)
    assert (texts(client.read()), subscription.state) == ([b"2"], LIVE)


def test_a_round_that_is_cut_goes_on_with_the_newest_since(connect):
    client, tail = connect(room=TINY), Tail(VALUE, [0])
    subscription = Subscription(client.line, tail, 7)
    subscription.conflate(False)
    for offset in range(12):
        tail.append(1, b"%02d" % offset + b"x" * 2000, 0, offset, b"key %d" % (offset % 6))
    serve(tail)
    assert subscription.state == BEHIND
    for offset in range(12, 24):
        tail.append(1, b"%02d" % offset + b"x" * 2000, 0, offset, b"key %d" % (offset % 6))
    got = [int(text[:2]) for text in texts(client.drain(_fanout))]
    assert got == sorted(got)
    assert got[-6:] == list(range(18, 24))
    assert len(got) < 12, "what was superseded before it could be sent is left out"


def test_a_resting_subscription_that_is_evicted_is_read_back(connect):
    client, tail = connect(), Tail(VALUE, [0], 16)
    subscription = Subscription(client.line, tail, 7)
    subscription.conflate(True)
    feed(tail, 1)
    serve(tail)
    feed(tail, 3)
    while tail.evict():
        pass
    assert (subscription.state, subscription.positions) == (FALLEN, {0: 1})
