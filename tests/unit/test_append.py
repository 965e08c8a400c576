"""The compiled way of a record into a tail or a stretch, beside the general one: the same frames, places and counts,
byte for byte.

The general way (`Encoder`, then `append`) is the oracle. What the compiled one leaves to it is named here too, so
that it does not quietly leave everything.
"""

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.plain_client import Client, Frame
from tests.unit.test_encode import NOT_UTF8, Message, NamelessHeaderMessage, pair_without_a_name

from tailrace import _fanout
from tailrace._fanout import JSON, MSGPACK, VALUE, Stretch, Subscription, Tail
from tailrace.core.cutting import Block, Cutter
from tailrace.core.encode import Encoder, TooLarge
from tailrace.core.frame import TEXT
from tailrace.gateway import topic

PARTITIONS = 3
LIMIT = 400
TRICKY = [
    b"",
    b"null",
    b'"',
    b"\\",
    b'{"a":1}',
    b"[1,2",
    b"1e999",
    b"0",
    b" 1 ",
    b"\x00",
    b"\x7f",
    "\u2028é😀".encode(),
]
some_bytes = st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.sampled_from([*TRICKY, *NOT_UTF8])
numbers = st.integers(0, 2**62) | st.sampled_from([0, 9, 10, 99, 100, 10**18])
messages = st.builds(
    Message,
    value_=st.none() | some_bytes | st.integers(LIMIT - 130, LIMIT + 20).map(lambda size: b"1" * size),
    key_=st.none() | some_bytes,
    headers_=st.none() | st.just([]) | st.just([("h", b"\xff")]),
    timestamp_=st.tuples(st.integers(0, 2), numbers | st.integers(-2, -1)),
    partition_=st.integers(0, PARTITIONS - 1),
    offset_=st.integers(0, 30) | numbers,
)


class Outcome:
    """What a tail became, and what one subscriber of everything, and one of a few keys, got of it."""

    def __init__(self, format: int, records: list[Any], value: str, *, compiled: bool) -> None:
        client, keyed = Client(_fanout), Client(_fanout)
        self.tail = Tail(format, [0] * PARTITIONS)
        encoder = Encoder('ord"ers', value, LIMIT)
        Subscription(client.line, self.tail, 0)
        Subscription(keyed.line, self.tail, 0, frozenset({b"A"}))
        (append_compiled if compiled else append_general)[format](encoder, self.tail, records)
        while self.tail.pump(1 << 20):
            pass
        self.frames: list[Frame] = client.drain(_fanout)
        self.keyed: list[Frame] = keyed.drain(_fanout)
        self.counts = self.tail.positions, self.tail.end, self.tail.stale, encoder.not_json, encoder.too_large
        client.close()
        keyed.close()


def general_json(encoder: Encoder, tail: Tail, records: list[Any]) -> None:
    for record in records:
        tail.append(TEXT, encoder.json(record), record.partition(), record.offset(), record.key())


def general_value(encoder: Encoder, tail: Tail, records: list[Any]) -> None:
    for record in records:
        try:
            opcode, payload = encoder.value(record)
        except TooLarge:
            tail.append_hole(record.partition(), record.offset(), record.key())
        else:
            tail.append(opcode, payload, record.partition(), record.offset(), record.key())


append_general = {JSON: general_json, VALUE: general_value}
append_compiled = {JSON: topic._append_json, VALUE: topic._append_value}


@pytest.mark.parametrize("value", ["auto", "json", "text", "base64"])
@pytest.mark.parametrize("format", [JSON, VALUE], ids=["json", "value"])
@settings(max_examples=150, deadline=None)
@example(records=[Message(), Message(offset_=124), Message(offset_=125, key_=None, value_=None)])
@example(records=[Message(offset_=at, key_=key) for at, key in enumerate(TRICKY)])
@example(records=[Message(offset_=at, value_=value) for at, value in enumerate([*TRICKY, *NOT_UTF8])])
@given(records=st.lists(messages, max_size=12))
def test_both_ways_lead_to_the_same(format: int, value: str, records: list[Any]) -> None:
    compiled, general = (Outcome(format, records, value, compiled=which) for which in (True, False))
    assert compiled.frames == general.frames
    assert compiled.keyed == general.keyed
    assert compiled.counts == general.counts


def left_at(format: int, *records: Any, width: int = 1) -> int:
    """Where the compiled way stops; an ordinary record has been there before, so that the partition's head is known."""
    tail, encoder = Tail(format, [0] * width), Encoder("orders", "auto", LIMIT)
    encoder.json(Message())
    listed = [*records, Message(offset_=1000)]
    return encoder.append_json(tail, listed, 0) if format == JSON else encoder.append_values(tail, listed, 0)


@pytest.mark.parametrize("format", [JSON, VALUE], ids=["json", "value"])
@pytest.mark.parametrize(
    "record",
    [
        Message(),
        Message(key_=None),
        Message(value_=None),
        Message(key_="é😀".encode(), value_=b"[]"),
        Message(timestamp_=(0, 0)),
        Message(timestamp_=(1, -1)),
        Message(headers_=None),
    ],
)
def test_the_usual_record_is_not_left_to_the_general_way(format: int, record: Message) -> None:
    assert left_at(format, record, record) == 3


@pytest.mark.parametrize(
    "record",
    [
        Message(value_=b"text"),
        Message(key_=b'"'),
        Message(key_=b"\n"),
        Message(key_=b"\xff"),
        Message(headers_=[("h", b"1")]),
        Message(value_=b"1" * LIMIT),
        Message(timestamp_=(1, -2)),
        Message(partition_=1),
        Message(offset_=-5),
        Message(offset_=None),  # type: ignore[arg-type]
        Message(key_="A"),  # type: ignore[arg-type]
        Message(value_="1"),  # type: ignore[arg-type]
    ],
)
def test_an_unusual_envelope_is_left_to_the_general_way(record: Message) -> None:
    assert left_at(JSON, Message(offset_=1), record) == 1


@pytest.mark.parametrize(
    "record",
    [Message(value_=b"1" * (LIMIT + 1)), Message(partition_=1), Message(key_="A"), Message(value_="1")],  # type: ignore[arg-type]
)
def test_an_unusual_value_is_left_to_the_general_way(record: Message) -> None:
    assert left_at(VALUE, Message(offset_=1), record) == 1


def test_the_first_record_of_a_partition_is_left_to_the_general_way() -> None:
    assert Encoder("orders").append_json(Tail(JSON, [0]), [Message()], 0) == 0


def test_headers_that_the_client_library_spoils_are_mended_by_whoever_asks_first() -> None:
    record = NamelessHeaderMessage(headers_=[pair_without_a_name(b"1")])
    tail, encoder = Tail(JSON, [0]), Encoder("orders")
    encoder.json(Message())
    assert encoder.append_json(tail, [record], 0) == 0
    assert '"headers":[["\ufffd","1"]]' in encoder.json(record).decode()


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="another format"):
        Tail(VALUE, [0]).append_json([], 0, {}, 1, print)
    with pytest.raises(ValueError, match="another format"):
        Tail(JSON, [0]).append_values([], 0, 1)
    with pytest.raises(ValueError, match="another format"):
        Stretch(VALUE, 0, 0).append_json([], 0, {}, 1, print)
    with pytest.raises(ValueError, match="another format"):
        Stretch(MSGPACK, 0, 0).append_values([], 0, 1)


# ----------------------------------------------------------------------------------------- a stretch that is read back


class General(Encoder):
    """Leaves every record to the general way."""

    def append_json(self, into: Any, records: list[Any], at: int) -> int:
        return at

    def append_values(self, into: Any, records: list[Any], at: int) -> int:
        return at


def cut(encoder: Encoder, format: int, records: list[Any]) -> tuple[Block, list[int]]:
    """The block of the offsets below 20, and the offsets that were not taken."""
    cutter, waiting = Cutter(0, 0, encoder), deque(records)
    cutter.open([format], 20)
    block = cutter.take(waiting, len(waiting)) or cutter.close(cutter.expected)
    return block, [record.offset() for record in waiting]


def sent(block: Block, format: int) -> list[Frame]:
    """What a subscriber of everything gets of it, to the first hole."""
    client, tail = Client(_fanout), Tail(format, [block.next + 1])
    Subscription(client.line, tail, 0, floor={0: 0}, away=True).feed(block.stretches[format])
    frames: list[Frame] = client.drain(_fanout)
    client.close()
    return frames


in_one_partition = messages.map(lambda message: replace(message, partition_=0))


@pytest.mark.parametrize("value", ["auto", "json", "text", "base64"])
@pytest.mark.parametrize("format", [JSON, VALUE], ids=["json", "value"])
@settings(max_examples=150, deadline=None)
@example(records=[Message(offset_=0), Message(offset_=1), Message(offset_=1), Message(offset_=19), Message(offset_=20)])
@example(records=[Message(offset_=at, value_=value) for at, value in enumerate([*TRICKY, *NOT_UTF8])])
@given(records=st.lists(in_one_partition, max_size=12))
def test_both_ways_lead_to_the_same_block(format: int, value: str, records: list[Any]) -> None:
    compiled, general = (make('ord"ers', value, LIMIT) for make in (Encoder, General))
    (block, left), (expected, expected_left) = (cut(encoder, format, records) for encoder in (compiled, general))
    assert sent(block, format) == sent(expected, format)
    assert left == expected_left
    assert (block.next, block.full_bytes) == (expected.next, expected.full_bytes)
    assert (block.not_json, block.too_large) == (expected.not_json, expected.too_large)
    assert block.stretches[format].records == expected.stretches[format].records
    assert block.stretches[format].memory_bytes == expected.stretches[format].memory_bytes


@pytest.mark.parametrize("format", [JSON, VALUE], ids=["json", "value"])
def test_a_stretch_takes_usual_records_to_its_end_or_until_it_is_full(format: int) -> None:
    def taken(at: int, *limits: int) -> int:
        stretch = Stretch(format, 0, 0, *limits)
        append = encoder.append_json if format == JSON else encoder.append_values
        return append(stretch, records, at)

    encoder, records = Encoder("orders"), [Message(offset_=offset) for offset in (0, 1, 1, 2, 5, 9)]
    encoder.json(records[0])
    size = len(encoder.json(records[0])) if format == JSON else len(records[0].value_ or b"")
    assert taken(0) == 6
    assert taken(4) == 6
    assert taken(0, 5) == 4
    assert taken(0, 100, size + 1) == 2
    assert taken(0, 100, 1) == 1


def test_the_first_record_of_a_stretch_is_left_to_the_general_way() -> None:
    assert Encoder("orders").append_json(Stretch(JSON, 0, 0), [Message()], 0) == 0
