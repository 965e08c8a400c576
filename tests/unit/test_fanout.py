"""The compiled core and the plain oracle, by the same examples: what one does, the other must do too.

Longer than 400 lines because it is one suite: a test that ran on one of the two only would say nothing about the other.
"""

import errno
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from tests import plain_fanout
from tests.plain_client import LOTS, TINY, Client, Frame, feed, payload, read_frames, serve, texts

from tailrace import _fanout

FORMATS = {"json": 0, "msgpack": 1, "value": 2}


NEVER, ALWAYS = 1 << 30, 1  # from how many sends on one system call makes them


@pytest.fixture(
    params=[(plain_fanout, NEVER), (_fanout, NEVER), (_fanout, ALWAYS)], ids=["plain", "compiled", "together"]
)
def fanout(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    module, least = request.param
    _fanout.send_together(least)
    yield module
    _fanout.send_together(_fanout.TOGETHER)


@pytest.fixture
def connect(fanout: ModuleType) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connect(**options: Any) -> Client:
        clients.append(Client(fanout, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


# ------------------------------------------------------------------------------------------------------- frames and ids


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("size", [0, 100, 113, 114, 125, 126, 65522, 65524, 65536, 200_000])
def test_a_frame_is_valid_at_every_size(fanout, connect, format, size):
    client = connect()
    tail = fanout.Tail(format, [0])
    fanout.Subscription(client.line, tail, 7)
    tail.append(1, payload(format, b"x" * size), 0, 0, None)
    serve(tail)
    assert client.drain(fanout) == [Frame(1, payload(format, b"x" * size, 7))]


@pytest.mark.parametrize("format", [0, 1], ids=["json", "msgpack"])
def test_every_subscriber_sees_its_own_id(fanout, connect, format):
    tail = fanout.Tail(format, [0], 64)
    clients = {id: connect() for id in (0, 1, 7, 255, 256, 12345, 65535)}
    for id, client in clients.items():
        fanout.Subscription(client.line, tail, id)
    for offset in range(5):
        tail.append(2, payload(format, b"%d" % offset), 0, offset, None)
        tail.pump(LOTS if offset % 2 else 1)
    serve(tail)
    for id, client in clients.items():
        assert texts(client.read()) == [payload(format, b"%d" % offset, id) for offset in range(5)]


def test_a_cut_frame_keeps_its_id_when_the_block_is_patched_for_another(fanout, connect):
    slow, quick = connect(room=TINY), connect()
    tail = fanout.Tail(fanout.JSON, [0])
    for id, client in ((3, slow), (4, quick)):
        fanout.Subscription(client.line, tail, id)
    for offset in range(9):
        tail.append(1, payload(0, b"%d" % offset + b"x" * 5000), 0, offset, None)
    serve(tail)
    assert slow.line.waiting_bytes > 0
    expected = [payload(0, b"%d" % offset + b"x" * 5000, 3) for offset in range(9)]
    assert texts(slow.drain(fanout)) == expected
    assert len(quick.read()) == 9


def test_a_payload_without_room_for_the_id_is_refused(fanout):
    for format, least in ((0, 11), (1, 7)):
        tail = fanout.Tail(format, [0])
        with pytest.raises(ValueError):
            tail.append(1, b"x" * (least - 1), 0, 0, None)
        assert tail.append(1, b"x" * least, 0, 0, None)


# -------------------------------------------------------------------------------------------------------- who gets what


def test_keys_choose_records(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [0])
    wanted = [None, {b"a"}, {None}, {b""}, {b"a", None}, {b"b", b"zzz"}, {b"none"}]
    clients = [connect() for _ in wanted]
    for client, keys in zip(clients, wanted, strict=True):
        fanout.Subscription(client.line, tail, 0, frozenset(keys) if keys else None)
    keys = [b"a", b"b", None, b"", b"a", b"c", None]
    for offset, key in enumerate(keys):
        tail.append(1, b"%d" % offset, 0, offset, key)
    serve(tail)
    for client, mine in zip(clients, wanted, strict=True):
        assert texts(client.read()) == [b"%d" % o for o, key in enumerate(keys) if mine is None or key in mine]


def test_one_connection_may_subscribe_many_times(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.JSON, [0])
    first = fanout.Subscription(client.line, tail, 1)
    second = fanout.Subscription(client.line, tail, 2, frozenset([b"k"]))
    for offset, key in enumerate([b"k", b"l"]):
        tail.append(1, payload(0, b"%d" % offset), 0, offset, key)
    serve(tail)
    got = sorted(texts(client.read()))
    assert got == [payload(0, b"0", 1), payload(0, b"1", 1), payload(0, b"0", 2)]
    assert (first.delivered, second.delivered) == (2, 1)


def test_a_repeat_is_refused_and_gaps_are_not(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [5])
    fanout.Subscription(client.line, tail, 0)
    taken = [tail.append(1, b"%d" % offset, 0, offset, None) for offset in (4, 5, 9, 9, 8, 10)]
    serve(tail)
    assert taken == [False, True, True, False, False, True]
    assert texts(client.read()) == [b"5", b"9", b"10"]
    assert (tail.stale, tail.end, tail.positions) == (3, 3, {0: 11})


def test_a_floor_holds_back_what_a_client_has(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0, 0])
    feed(tail, 3)
    subscription = fanout.Subscription(client.line, tail, 0, None, 1, {0: 5, 1: 2})
    assert subscription.positions == {0: 5, 1: 2}
    for partition in (0, 1):
        feed(tail, 4, partition=partition)
    client.drain(fanout)
    assert [text.rstrip(b".") for text in texts(client.read())] == [b"0:5", b"0:6", b"1:2", b"1:3"]
    assert subscription.positions == tail.positions == {0: 7, 1: 4}


def test_a_floor_above_the_end_waits_until_the_tail_has_passed_it(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(client.line, tail, 0, floor={0: 3})
    for _ in range(5):
        feed(tail, 1, size=0)
        serve(tail)
    assert texts(client.read()) == [b"0:3", b"0:4"]
    assert (subscription.positions, subscription.delivered) == ({0: 5}, 2)


def test_an_entry_is_a_place_that_leaves_nothing_out(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [10, 0], 64)
    for _ in range(4):
        feed(tail, 3, size=20)
        feed(tail, 1, size=20, partition=1)
    assert tail.entry({0: 22, 1: 4}) == tail.end
    assert tail.entry({0: 9, 1: 0}) is None
    assert tail.entry({0: 10}) == tail.start
    wanted = {0: 14, 1: 2}
    client = connect()
    fanout.Subscription(client.line, tail, 0, None, tail.entry(wanted), wanted)
    got = {text.rstrip(b".") for text in texts(client.drain(fanout))}
    assert got == {b"0:%d" % o for o in range(14, 22)} | {b"1:2", b"1:3"}


# ------------------------------------------------------------------------------------------------------------ positions


def test_positions_are_what_was_committed_not_what_was_appended(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [7, 0])
    clients = [connect() for _ in range(3)]
    subscriptions = [fanout.Subscription(client.line, tail, 0) for client in clients]
    feed(tail, 2)
    tail.pump(1)
    seen = [subscription.positions for subscription in subscriptions]
    assert sorted(position[0] for position in seen) == [7, 7, 9]
    serve(tail, 1)
    assert [subscription.positions for subscription in subscriptions] == [{0: 9, 1: 0}] * 3


def test_positions_pass_offsets_without_records(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(connect().line, tail, 0, frozenset([b"rare"]))
    feed(tail, 3, b"other")
    assert subscription.positions == {0: 3}
    tail.advance(0, 8)
    tail.advance(0, 5)
    assert subscription.positions == tail.positions == {0: 8}


def test_a_partition_that_is_added_is_followed_from_its_beginning(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(client.line, tail, 0)
    feed(tail, 1)
    tail.add_partition(1, 40)
    assert subscription.positions == {0: 0, 1: 40}
    feed(tail, 2, partition=1)
    serve(tail)
    assert subscription.positions == {0: 1, 1: 42}
    assert len(client.read()) == 3


def test_closing_keeps_the_last_positions(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(client.line, tail, 0)
    feed(tail, 1)
    serve(tail)
    feed(tail, 1)
    assert subscription.close() == {0: 1}
    feed(tail, 5)
    serve(tail)
    assert (subscription.close(), subscription.positions, subscription.state) == ({0: 1}, {0: 1}, fanout.CLOSED)
    assert len(client.read()) == 1


# ----------------------------------------------------------------------------------------------------- slow connections


def test_a_slow_connection_falls_behind_alone_and_comes_back(fanout, connect):
    slow, quick = connect(room=TINY), connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    subscriptions = [fanout.Subscription(client.line, tail, 0) for client in (slow, quick)]
    expected = feed(tail, 100, size=200)
    serve(tail)
    assert tail.take_woken() == [slow]
    assert [subscription.state for subscription in subscriptions] == [fanout.BEHIND, fanout.LIVE]
    assert 0 < subscriptions[0].delivered < 100
    assert slow.line.flush(LOTS) == fanout.BLOCKED
    expected += feed(tail, 10, size=200)
    serve(tail)
    assert tail.take_woken() == []
    assert texts(slow.drain(fanout)) == expected == texts(quick.read())
    assert subscriptions[0].state == fanout.LIVE
    assert slow.line.idle


def test_a_subscription_at_an_older_place_asks_for_its_writer(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    expected = feed(tail, 10)
    subscription = fanout.Subscription(client.line, tail, 0, None, 4)
    assert (subscription.state, subscription.positions, tail.take_woken()) == (fanout.BEHIND, {0: 4}, [client])
    assert not client.line.idle
    assert client.line.flush(LOTS) == fanout.DONE
    assert texts(client.read()) == expected[4:]
    assert subscription.state == fanout.LIVE


def test_flush_keeps_to_its_budget(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0], 4096)
    expected = feed(tail, 200, size=1000)
    fanout.Subscription(client.line, tail, 0, None, 0)
    assert client.line.flush(0) == fanout.MORE
    assert client.line.flush(1) == fanout.MORE
    assert 0 < len(client.read()) < 100
    assert texts(client.drain(fanout)) == expected


def test_a_message_is_posted_at_a_frame_boundary(fanout, connect):
    client = connect(room=TINY)
    tail = fanout.Tail(fanout.VALUE, [0])
    fanout.Subscription(client.line, tail, 0)
    expected = feed(tail, 9, size=5000)
    serve(tail)
    committed = len(client.read()) + 1
    assert not client.line.post(b"\x8a\x01!")
    frames = client.drain(fanout)
    assert frames.index(Frame(10, b"!")) == committed
    assert texts(frames[:committed] + frames[committed + 1 :]) == expected


def test_posting_asks_for_a_writer_once_and_only_when_bytes_are_left(fanout, connect):
    client = connect(room=TINY)
    message = b"\x82\x7e\x03\xe8" + b"m" * 1000
    asked = [client.line.post(message) for _ in range(12)]
    assert asked.count(True) == 1
    assert not asked[0]
    assert client.drain(fanout) == [Frame(2, b"m" * 1000)] * 12
    assert client.line.idle
    assert not client.line.post(message)


def test_records_wait_for_a_writer_that_is_there(fanout, connect):
    client = connect(room=TINY)
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(client.line, tail, 0)
    while not client.line.post(b"\x82\x7e\x03\xe8" + b"m" * 1000):
        pass
    expected = feed(tail, 1)
    serve(tail)
    assert (subscription.state, subscription.delivered, tail.take_woken()) == (fanout.BEHIND, 0, [])
    assert texts(client.drain(fanout)[-1:]) == expected


def test_a_line_that_is_not_direct_gives_its_bytes_away(fanout, connect):
    client = connect(direct=False)
    tail = fanout.Tail(fanout.VALUE, [0])
    fanout.Subscription(client.line, tail, 0)
    assert client.line.post(b"\x89\x00")
    expected = feed(tail, 3)
    serve(tail)
    assert client.line.flush(LOTS) == fanout.BLOCKED
    frames, rest = read_frames(client.line.take())
    assert (texts(frames), rest) == ([b"", *expected], b"")
    assert client.line.flush(LOTS) == fanout.DONE
    assert (client.read(), client.line.sent_bytes) == ([], sum(2 + len(text) for text in texts(frames)))


def test_a_line_that_is_not_direct_takes_only_so_much(fanout, connect):
    client = connect(direct=False)
    tail = fanout.Tail(fanout.VALUE, [0])
    expected = feed(tail, 500, size=300)
    fanout.Subscription(client.line, tail, 0, None, 0)
    got = b""
    while client.line.flush(LOTS) == fanout.BLOCKED:
        assert client.line.waiting_bytes < 3 * 65536
        got += client.line.take()
    assert texts(read_frames(got)[0]) == expected


def test_a_connection_that_is_gone_takes_nothing_more(fanout, connect):
    client, other = connect(), connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    gone = fanout.Subscription(client.line, tail, 0)
    fanout.Subscription(other.line, tail, 0)
    client.far.close()
    expected = feed(tail, 1)
    serve(tail)
    assert tail.take_woken() == [client]
    assert client.line.error == errno.EPIPE
    assert client.line.flush(LOTS) == fanout.BROKEN
    assert not client.line.post(b"\x89\x00")
    feed(tail, 2)
    serve(tail)
    assert (gone.positions, gone.delivered, client.line.sent_bytes) == ({0: 0}, 0, 0)
    assert texts(other.read())[:1] == expected


def test_a_line_that_is_broken_off_asks_for_nothing_more(fanout, connect):
    client = connect()
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(client.line, tail, 0)
    client.line.break_off(errno.ECONNABORTED)
    feed(tail, 2)
    serve(tail)
    tail.evict()
    assert (tail.take_woken(), client.line.flush(LOTS), client.read()) == ([], fanout.BROKEN, [])
    assert subscription.close() == {0: 0}


# ------------------------------------------------------------------------------------------------ dropped subscriptions


def test_who_has_not_read_what_is_evicted_falls(fanout, connect):
    slow, quick = connect(room=TINY), connect()
    tail = fanout.Tail(fanout.VALUE, [0], 8192)
    fallen, live = (fanout.Subscription(client.line, tail, 0) for client in (slow, quick))
    expected = feed(tail, 100, size=200)
    serve(tail)
    tail.take_woken()
    delivered = fallen.delivered
    while fallen.state != fanout.FALLEN:
        assert tail.evict() > 0
    assert (live.state, fallen.positions, fallen.delivered) == (fanout.LIVE, {0: delivered}, delivered)
    assert (slow.line.take_dropped(), slow.line.take_dropped()) == ([fallen], [])
    assert fallen.close() == {0: delivered}
    assert texts(slow.drain(fanout)) == expected[:delivered]


def test_eviction_in_the_middle_of_a_pass_spares_those_that_were_served(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [0])
    clients = [connect() for _ in range(4)]
    subscriptions = [fanout.Subscription(client.line, tail, 0) for client in clients]
    feed(tail, 2)
    assert tail.pump(1)
    served = [subscription.delivered for subscription in subscriptions]
    assert 0 < served.count(2) < 4
    tail.evict()
    states = {2: fanout.LIVE, 0: fanout.FALLEN}
    assert [subscription.state for subscription in subscriptions] == [states[count] for count in served]
    assert sorted(map(id, tail.take_woken())) == sorted(
        id(client) for client, count in zip(clients, served, strict=True) if count == 0
    )
    assert [subscription.positions for subscription in subscriptions] == [{0: count} for count in served]
    feed(tail, 1)
    serve(tail)
    assert [subscription.delivered for subscription in subscriptions] == [3 if count else 0 for count in served]


@pytest.mark.parametrize("keys", [None, {b"k"}, {b"k", b"l"}], ids=["whole", "key", "several"])
@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_hole_ends_only_those_that_would_have_had_it(fanout, connect, format, keys):
    tail = fanout.Tail(format, [0], 64)
    clients = [connect(), connect()]
    wanted = [keys and frozenset(keys), frozenset([b"other"])]
    holed, other = (
        fanout.Subscription(client.line, tail, 5, mine) for client, mine in zip(clients, wanted, strict=True)
    )
    for offset, key in enumerate([b"k", b"other", b"k"]):
        tail.append(1, payload(format, b"%d" % offset), 0, offset, key)
    tail.append_hole(0, 3, b"k")
    tail.append(1, payload(format, b"4"), 0, 4, b"other")
    late = connect()
    fanout.Subscription(late.line, tail, 6, wanted[0])
    tail.append(1, payload(format, b"5"), 0, 5, b"k")
    serve(tail)
    assert (holed.state, other.state) == (fanout.HOLED, fanout.LIVE)
    assert tail.take_woken() == [clients[0]]
    assert clients[0].line.take_dropped() == [holed]
    assert texts(clients[1].read()) == [payload(format, b"1", 5), payload(format, b"4", 5)]
    assert holed.delivered == len(clients[0].read()) == (3 if keys is None else 2)
    assert texts(late.read()) == [payload(format, b"5", 6)]
    while tail.evict():
        pass
    assert holed.positions == {0: 3}


def test_a_hole_may_be_the_first_thing_of_all():
    """In a process in which no frame was gathered yet: there was a write through a null pointer."""
    script = """
from tailrace._fanout import HOLED, JSON, Line, Subscription, Tail
tail = Tail(JSON, [0])
subscription = Subscription(Line(-1), tail, 1, frozenset([b"k"]))
tail.append_hole(0, 0, b"k")
tail.pump(1)
assert (subscription.state, subscription.positions) == (HOLED, {0: 0})
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# -------------------------------------------------------------------------------------------------- joining and leaving


@pytest.mark.parametrize("keys", [None, {b"k"}, {b"k", b"l"}], ids=["whole", "key", "several"])
def test_coming_and_going_in_the_middle_of_a_pass(fanout, connect, keys):
    tail = fanout.Tail(fanout.JSON, [0])
    mine = keys and frozenset(keys)
    clients = [connect() for _ in range(6)]
    subscriptions = [fanout.Subscription(client.line, tail, 1, mine) for client in clients]
    tail.append(1, payload(0, b"0"), 0, 0, b"k")
    assert tail.pump(1)
    places = [subscription.close()[0] for subscription in subscriptions[::2]]
    newcomers = [connect() for _ in range(2)]
    joined = [fanout.Subscription(client.line, tail, id, mine) for id, client in enumerate(newcomers, 1)]
    tail.append(1, payload(0, b"1"), 0, 1, b"k")
    serve(tail, 1)
    assert [len(client.read()) for client in clients] == [places[0], 2, places[1], 2, places[2], 2]
    assert [texts(client.read()) for client in newcomers] == [[payload(0, b"1", 1)], [payload(0, b"1", 2)]]
    assert {subscription.positions[0] for subscription in joined} == {2}


def test_a_tail_that_nobody_reads_owes_nothing(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [0])
    subscriptions = [fanout.Subscription(connect().line, tail, 0, keys) for keys in (None, frozenset([b"k"]))]
    feed(tail, 3, b"k")
    assert tail.unserved_bytes > 0
    for subscription in subscriptions:
        subscription.close()
    assert not tail.pump(0)
    assert tail.unserved_bytes == 0


def test_unserved_bytes_are_those_not_offered_to_all(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [0])
    for _ in range(2):
        fanout.Subscription(connect().line, tail, 0)
    first = sum(2 + len(text) for text in feed(tail, 3))
    assert tail.unserved_bytes == first
    tail.pump(1)
    second = sum(2 + len(text) for text in feed(tail, 5))
    assert tail.unserved_bytes == first + second
    while tail.pump(1):
        assert tail.unserved_bytes >= second
    assert tail.unserved_bytes == 0


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"id": -1}, ValueError),
        ({"id": 65536}, ValueError),
        ({"keys": frozenset()}, ValueError),
        ({"keys": frozenset(["text"])}, TypeError),
        ({"keys": frozenset([b"a", "text"])}, TypeError),
        ({"seq": 2}, ValueError),
        ({"seq": 4}, ValueError),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused(fanout, connect, options, fault):
    tail = fanout.Tail(fanout.VALUE, [0], 1)
    feed(tail, 3)
    for _ in range(3):
        tail.evict()
    feed(tail, 0)
    with pytest.raises(fault):
        fanout.Subscription(connect().line, tail, **({"id": 1} | options))
    assert tail.statistics()["live"] == 0


def test_a_tail_refuses_what_makes_no_sense(fanout):
    with pytest.raises(ValueError):
        fanout.Tail(3, [0])
    tail = fanout.Tail(fanout.VALUE, [0])
    for refused in (
        lambda: tail.append(1, b"", 1, 0, None),
        lambda: tail.append(1, b"", -1, 0, None),
        lambda: tail.advance(1, 0),
        lambda: tail.add_partition(2, 0),
        lambda: tail.add_partition(0, 0),
    ):
        with pytest.raises(ValueError):
            refused()
    with pytest.raises(TypeError):
        tail.append(1, b"", 0, 0, "text")
    assert (tail.end, tail.positions) == (0, {0: 0})


# -------------------------------------------------------------------------------------------------- memory and counters


def test_statistics_count(fanout, connect):
    tail = fanout.Tail(fanout.VALUE, [0], 64)
    client = connect()
    live = fanout.Subscription(client.line, tail, 0)
    feed(tail, 10)
    tail.append(1, b"", 0, 3, None)
    serve(tail)
    fanout.Subscription(connect().line, tail, 0, None, 0)
    tail.evict()
    seen = tail.statistics()
    assert {name: seen[name] for name in ("records", "delivered", "stale", "live", "behind", "dropped")} == {
        "records": 10, "delivered": 10, "stale": 1, "live": 1, "behind": 0, "dropped": 1,
    }  # fmt: skip
    assert seen["held"] == tail.end - tail.start < 10
    assert seen["memory_bytes"] == tail.memory_bytes > 0
    assert seen["sent_bytes"] == client.line.sent_bytes == sum(2 + len(text) for text in texts(client.read()))
    assert live.delivered == 10


def test_eviction_frees_all_that_was_taken(fanout):
    tail = fanout.Tail(fanout.VALUE, [0], 4096)
    feed(tail, 200)
    before = tail.memory_bytes
    freed = 0
    while size := tail.evict():
        freed += size
    assert (freed, tail.memory_bytes, tail.start) == (before, 0, 200)
    feed(tail, 1)
    assert tail.start == 200


def test_a_tail_and_its_subscriptions_may_be_forgotten_in_any_order():
    """Nothing was closed, a pass is under way, the line lives on: no ring may keep what is gone."""
    near, far = socket.socketpair()
    with near, far:
        owner = Client(_fanout)
        line = _fanout.Line(near.fileno(), True, owner)
        for keys in (None, frozenset([b"k"]), frozenset([b"k", b"l"])):
            for seq in (0, None):
                tail = _fanout.Tail(_fanout.VALUE, [0])
                feed(tail, 1, b"k")
                subscription = _fanout.Subscription(line, tail, 0, keys, seq if seq is None else tail.start)
                feed(tail, 1, b"k")
                del tail, subscription
                gc.collect()
        assert line.flush(LOTS) == _fanout.DONE
        assert line.take_dropped() == []
        owner.close()


def test_a_closed_subscription_is_freed(fanout, connect):
    class Owner:
        pass

    owner = Owner()
    gone = weakref.ref(owner)
    tail = fanout.Tail(fanout.VALUE, [0])
    subscription = fanout.Subscription(connect().line, tail, 0, owner=owner)
    subscription.close()
    del subscription, owner
    gc.collect()
    assert gone() is None


def test_the_descriptor_is_the_callers(fanout, connect):
    client = connect()
    descriptor = client.near.fileno()
    client.line = None
    gc.collect()
    assert os.fstat(descriptor)


@pytest.mark.parametrize("kind", ["Line", "Tail", "Subscription"])
def test_what_was_never_made_is_freed_too(fanout, kind):
    with pytest.raises(TypeError):
        getattr(fanout, kind)()


# ---------------------------------------------------------------------------------------------- many in one system call


def test_a_pass_over_hundreds_some_of_whom_are_slow_or_gone(fanout, connect):
    """More than one system call takes; each kind is between others, so that what one is told is not another's."""
    tail = fanout.Tail(1, [0])
    clients = [connect(room=TINY if n % 7 == 3 else None) for n in range(300)]
    ids = [2 if n % 11 == 0 else 1 for n in range(300)]
    for client, its_id in zip(clients, ids, strict=True):
        fanout.Subscription(client.line, tail, its_id)
    gone = clients[5::30]
    for client in gone:
        client.far.close()
    told = [payload(1, b"%d" % n * 1000) for n in range(5)]
    for offset, text in enumerate(told):
        tail.append(1, text, 0, offset, None)
        serve(tail)
    slow = [client for client in clients[3::7] if client not in gone]
    assert {id(client) for client in tail.take_woken()} == {id(client) for client in (*slow, *gone)}
    for client, its_id in zip(clients, ids, strict=True):
        if client in gone:
            assert client.line.flush(LOTS) == fanout.BROKEN
            assert client.line.error == errno.EPIPE
        else:
            assert texts(client.drain(fanout)) == [payload(1, b"%d" % at * 1000, its_id) for at in range(5)]


@pytest.mark.skipif(not _fanout.send_together(), reason="the kernel has no io_uring for us")
def test_who_may_not_use_the_ring_sends_all_the_same():
    """It is its first user's: in another thread the kernel refuses, and each is sent to by itself."""
    assert _fanout.send_together(ALWAYS)
    clients = [Client(_fanout) for _ in range(20)]
    tail = _fanout.Tail(2, [0])
    for client in clients:
        _fanout.Subscription(client.line, tail, 1)
    told = feed(tail, 3)
    thread = threading.Thread(target=serve, args=(tail,))
    thread.start()
    thread.join()
    assert not _fanout.send_together()
    told += feed(tail, 3)
    serve(tail)
    for client in clients:
        assert texts(client.read()) == told
        client.close()
    assert _fanout.send_together(_fanout.TOGETHER)
