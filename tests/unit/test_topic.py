"""One open topic: order, formats, positions, what is bounded, and records that cannot be encoded."""

import socket
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.plain_client import read_frames
from tests.plain_record import PlainRecord

from tailrace._fanout import HOLED, JSON, MSGPACK, VALUE, Line, Subscription
from tailrace.core.encode import Encoder
from tailrace.core.frame import TEXT
from tailrace.gateway import topic as module
from tailrace.gateway.topic import PAUSE_BYTES, RESUME_BYTES, STEP_RECORDS, UNUSED_SECONDS, OpenTopic


class Reader:
    """A socket pair with subscriptions on one end."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.line = Line(self.near.fileno(), owner=self)
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def subscribe(self, topic: OpenTopic, format: int, keys: frozenset[bytes | None] | None = None) -> Subscription:
        tail = topic.tail(format)
        return Subscription(self.line, tail, 0, keys, tail.end, tail.positions, self)

    def payloads(self) -> list[bytes]:
        try:
            data = self.far.recv(1 << 24)
        except BlockingIOError:
            return []
        return [payload for _, payload in read_frames(data)[0]]


def opened(*positions: int) -> OpenTopic:
    return OpenTopic("orders", Encoder("orders", "auto", 1 << 20), dict(enumerate(positions)))


def turn_until_done(topic: OpenTopic) -> int:
    """How many bytes the tails grew by."""
    total = 0
    while True:
        more, grown = topic.turn()
        total += grown
        if not more:
            return total


@pytest.fixture
def reader() -> Any:
    made = Reader()
    yield made
    made.near.close()
    made.far.close()


def test_records_reach_every_format_in_the_order_they_arrived(reader: Reader) -> None:
    topic = opened(0, 0)
    others = [Reader(), Reader()]
    reader.subscribe(topic, VALUE)
    others[0].subscribe(topic, JSON)
    others[1].subscribe(topic, MSGPACK)
    topic.accept([PlainRecord(0, 0, b"a"), PlainRecord(1, 0, b"b"), PlainRecord(0, 1, b"c")])
    turn_until_done(topic)
    assert reader.payloads() == [b"a", b"b", b"c"]
    assert [
        b'"value":"%s"' % value in payload
        for value, payload in zip([b"a", b"b", b"c"], others[0].payloads(), strict=True)
    ] == [True] * 3
    assert len(others[1].payloads()) == 3
    assert topic.positions == {0: 2, 1: 1}
    assert topic.consumed_records == 3


def test_it_is_encoded_once_for_each_format_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Counting(Encoder):
        def append_json(self, tail: Any, records: list[Any], at: int) -> int:
            asked.extend(["json"] * (len(records) - at))
            for record in records[at:]:
                tail.append(TEXT, self.json(record), record.partition(), record.offset(), record.key())
            return len(records)

        def append_values(self, tail: Any, records: list[Any], at: int) -> int:
            asked.extend(["value"] * (len(records) - at))
            return super().append_values(tail, records, at)

    topic = OpenTopic("orders", Counting("orders", "auto", 1 << 20), {0: 0})
    readers = [Reader() for _ in range(5)]
    for each in readers:
        each.subscribe(topic, VALUE)
    topic.accept([PlainRecord(0, 0)])
    turn_until_done(topic)
    assert asked == ["value"]
    topic.tail(JSON)
    topic.accept([PlainRecord(0, 1)])
    turn_until_done(topic)
    assert sorted(asked) == ["json", "value", "value"]


def test_a_topic_that_nobody_wants_moves_on() -> None:
    topic = opened(5, 7)
    topic.accept([PlainRecord(0, 5), PlainRecord(0, 9)], [(1, 12)])
    turn_until_done(topic)
    assert topic.positions == {0: 10, 1: 12}


def test_an_end_never_moves_back() -> None:
    """EOF is told in the batch of the records before it, whichever came first."""
    topic = opened(0)
    topic.accept([PlainRecord(0, 9)], [(0, 3)])
    turn_until_done(topic)
    assert topic.positions == {0: 10}


def test_a_format_that_is_wanted_later_begins_where_the_others_are(reader: Reader) -> None:
    topic = opened(0)
    topic.tail(JSON)
    topic.accept([PlainRecord(0, 0, b"a")])
    turn_until_done(topic)
    topic.accept([PlainRecord(0, 1, b"b")])
    reader.subscribe(topic, VALUE)  # before the second is encoded: that one is not missed
    assert topic.tail(VALUE).positions == {0: 1}
    turn_until_done(topic)
    assert reader.payloads() == [b"b"]


def test_forgotten_formats_keep_the_place(reader: Reader) -> None:
    topic = opened(0)
    topic.tail(JSON)
    topic.accept([PlainRecord(0, 0)])
    grown = turn_until_done(topic)
    assert grown > 0
    assert topic.forget(JSON) >= grown
    assert topic.positions == {0: 1}
    reader.subscribe(topic, JSON)
    topic.accept([PlainRecord(0, 1)])
    turn_until_done(topic)
    assert len(reader.payloads()) == 1


def test_unused_formats_are_named_after_a_while(reader: Reader) -> None:
    """Only beside one that is used: a topic that nobody uses is closed as a whole."""
    topic = opened(0)
    topic.tail(JSON)
    subscription = reader.subscribe(topic, VALUE)
    assert topic.unused(100.0) == []
    assert topic.unused(100.0 + UNUSED_SECONDS) == []
    assert topic.unused(101.0 + UNUSED_SECONDS) == [JSON]
    subscription.close()
    assert topic.unused(102.0 + UNUSED_SECONDS) == []
    reader.subscribe(topic, JSON)
    assert topic.unused(103.0 + UNUSED_SECONDS) == []
    assert topic.unused(104.0 + 2 * UNUSED_SECONDS) == [VALUE]


def test_a_new_partition(reader: Reader) -> None:
    topic = opened(4)
    reader.subscribe(topic, VALUE)
    topic.add_partition(1, 2)
    assert topic.positions == {0: 4, 1: 2}
    topic.accept([PlainRecord(1, 2, b"a")])
    turn_until_done(topic)
    assert reader.payloads() == [b"a"]


def test_large_batches_are_encoded_in_steps() -> None:
    """Between two there is a checkpoint: a step is a millisecond or two."""
    topic = opened(0)
    topic.tail(VALUE)
    topic.accept([PlainRecord(0, offset) for offset in range(3 * STEP_RECORDS + 1)], [(0, 5000)])
    ends = []
    more = True
    while more:
        more, _ = topic.turn()
        ends.append(topic.positions[0])
    assert ends[:3] == [STEP_RECORDS, 2 * STEP_RECORDS, 3 * STEP_RECORDS]
    assert ends[-1] == 5000


def test_only_an_end() -> None:
    topic = opened(0)
    topic.tail(VALUE)
    topic.accept([], [(0, 7)])
    turn_until_done(topic)
    assert topic.positions == {0: 7}


def test_what_waits_is_bounded_by_a_pause() -> None:
    topic = opened(0)
    topic.tail(VALUE)
    megabyte = b"x" * 1_000_000
    offset = 0
    while topic.wants_pause is None:
        topic.accept([PlainRecord(0, offset, megabyte)])
        offset += 1
    assert offset == PAUSE_BYTES // 1_000_000 + 1
    assert topic.wants_pause is True
    topic.paused = True
    assert topic.wants_pause is None
    waiting = offset
    while topic.wants_pause is None:
        topic.turn()
        waiting -= 1
    assert topic.wants_pause is False
    assert waiting == RESUME_BYTES // 1_000_000
    topic.paused = False
    assert topic.wants_pause is None


def test_nothing_is_encoded_while_the_live_ones_are_far_behind(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> None:
    """A slow fan-out holds the encoding back, so that it does not fill the memory with what nobody was offered."""
    monkeypatch.setattr(module, "AHEAD_BYTES", 1000)
    monkeypatch.setattr(module, "PUMP_BYTES", 0)
    topic = opened(0)
    for _ in range(50):
        reader.subscribe(topic, VALUE)
    for offset in range(10):
        topic.accept([PlainRecord(0, offset, b"x" * 600)])
    for _ in range(3):
        topic.turn()
    assert topic.positions[0] <= 3


class Broken(PlainRecord):
    """One that no way of encoding survives."""

    def value(self) -> bytes | None:
        raise RecursionError


@pytest.mark.parametrize("format", [JSON, MSGPACK, VALUE])
def test_one_record_never_ends_the_pipeline(reader: Reader, format: int) -> None:
    """Who wanted it stops there, and is told; who wanted another key goes on; no byte of it is logged."""
    topic = opened(0)
    other = Reader()
    stopped = reader.subscribe(topic, format)
    going = other.subscribe(topic, format, frozenset({b"b"}))
    with capture_logs() as log:
        topic.accept([PlainRecord(0, 0, b"1", b"a"), Broken(0, 1, b"secret", b"a"), PlainRecord(0, 2, b"2", b"b")])
        turn_until_done(topic)
    assert (len(reader.payloads()), len(other.payloads())) == (1, 1)
    assert stopped.state == HOLED
    assert stopped.positions == {0: 1}
    assert going.positions == {0: 3}
    (entry,) = log
    assert (entry["topic"], entry["partition"], entry["offset"]) == ("orders", 0, 1)
    assert "secret" not in str({name: value for name, value in entry.items() if name != "exc_info"})


def test_a_value_too_large_is_no_fault(reader: Reader) -> None:
    topic = OpenTopic("orders", Encoder("orders", "auto", 10), {0: 0})
    stopped = reader.subscribe(topic, VALUE)
    with capture_logs() as log:
        topic.accept([PlainRecord(0, 0, b"x" * 11)])
        turn_until_done(topic)
    assert stopped.state == HOLED
    assert log == []


def test_who_is_behind_is_woken() -> None:
    """The kernel takes no more: a writer has to go on from here."""
    slow = Reader()
    slow.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    topic = opened(0)
    slow.subscribe(topic, VALUE)
    topic.accept([PlainRecord(0, offset, b"x" * 1000) for offset in range(100)])
    turn_until_done(topic)
    assert slow.woken == 1
