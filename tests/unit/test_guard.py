"""The guard against a slow parser that sees the whole input at once, and against wsproto, on input cut anywhere."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import CLIENT, SERVER, Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from tailrace import disconnect
from tailrace.core.frame import BINARY, TEXT
from tailrace.websocket.guard import Guard, Violation

MAX_BYTES = 300
MAX_FRAGMENTS = 4
CONTROL = (0x8, 0x9, 0xA)


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """A frame as a client sends it, with a mask of zeros."""
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        length = bytes([mask_bit | len(payload)])
    elif len(payload) < 65536:
        length = bytes([mask_bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        length = bytes([mask_bit | 127]) + len(payload).to_bytes(8, "big")
    return bytes([0x80 * fin | opcode]) + length + bytes(4 * masked) + payload


class Seen(NamedTuple):
    """What the oracle says: a count, and the close code with the place of the byte that decided it (None: no fault)."""

    frames: int
    code: int | None
    decided_at: int


def headers(data: bytes) -> Iterator[tuple[int, bool, int, int]]:
    """(first byte, masked, announced length, place behind the header) of every frame whose header is complete."""
    at = 0
    while at + 2 <= len(data):
        first, masked, length = data[at], data[at + 1] >= 0x80, data[at + 1] & 0x7F
        if not masked:
            yield first, masked, length, at + 2
            return
        extra = {126: 2, 127: 8}.get(length, 0)
        behind = at + 2 + extra
        if behind > len(data):
            return
        if extra:
            length = int.from_bytes(data[at + 2 : behind], "big")
        yield first, masked, length, behind
        at = behind + 4 + length


def oracle(data: bytes, accepts: frozenset[int]) -> Seen:
    """RFC 6455 5.2 to 5.5 over the whole input, one rule a line."""
    frames = fragments = message_bytes = 0
    for first, masked, length, behind in headers(data):
        opcode, fin = first & 0x0F, first >= 0x80
        if not masked:
            return Seen(frames, 1002, behind)
        frames += 1
        if first & 0x70 or opcode not in (0x0, 0x1, 0x2, *CONTROL):
            continue
        if opcode in CONTROL:
            if opcode == 0x8:
                break
            continue
        if opcode and opcode not in accepts:
            return Seen(frames, 1003, behind)
        fragments, message_bytes = fragments + 1, message_bytes + length
        alone = opcode != 0 and fin and fragments == 1
        if message_bytes > MAX_BYTES or (fragments > MAX_FRAGMENTS and not alone):
            return Seen(frames, 1009, behind)
        if alone or (opcode == 0 and fin):
            fragments = message_bytes = 0
    return Seen(frames, None, len(data))


FRAMES = st.builds(
    client_frame,
    st.sampled_from((0x0, 0x0, 0x1, 0x1, 0x2, 0x8, 0x9, 0xA, 0x3, 0x41)),
    st.integers(0, 340).map(bytes),
    fin=st.booleans(),
    masked=st.integers(0, 15).map(bool),
)
INPUT = st.one_of(st.lists(FRAMES, max_size=12).map(b"".join), st.binary(max_size=64))
ACCEPTS = st.sampled_from([frozenset(one) for one in ((), (TEXT,), (BINARY,), (TEXT, BINARY))])


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


@given(INPUT, st.lists(st.integers(0, 5000)), ACCEPTS)
@settings(max_examples=500, deadline=None)
def test_it_says_what_a_slow_parser_says_at_the_deciding_byte(
    data: bytes, cuts: list[int], accepts: frozenset[int]
) -> None:
    want = oracle(data, accepts)
    guard = Guard(MAX_BYTES, MAX_FRAGMENTS, accepts)
    code, fed = None, 0
    for chunk in chopped(data, cuts):
        fed += len(chunk)
        try:
            guard.feed(chunk)
        except Violation as violation:
            code = violation.disconnect.code
            assert fed - len(chunk) < want.decided_at <= fed
            break
    assert (guard.frames, code) == (want.frames, want.code)
    assert guard.received_bytes == fed


@given(INPUT, st.lists(st.integers(0, 5000)))
@settings(deadline=None)
def test_it_keeps_nine_bytes_at_most(data: bytes, cuts: list[int]) -> None:
    guard = Guard(None, None)
    for chunk in chopped(data, cuts):
        try:
            guard.feed(chunk)
        except Violation:
            return
        assert len(guard._partial) <= 9


MESSAGES = st.lists(
    st.one_of(
        st.builds(TextMessage, data=st.text(max_size=60), message_finished=st.booleans()),
        st.builds(Ping, payload=st.binary(max_size=125).map(bytearray)),
    ),
    max_size=20,
)


@given(MESSAGES, st.lists(st.integers(0, 5000)))
@settings(deadline=None)
def test_it_counts_the_frames_wsproto_writes_and_reads(messages: list[TextMessage | Ping], cuts: list[int]) -> None:
    client, server = Connection(CLIENT), Connection(SERVER)
    data = b"".join(client.send(message) for message in messages)
    guard, read = Guard(None, None), 0
    for chunk in chopped(data, cuts):
        guard.feed(chunk)
        server.receive_data(chunk)
        events = list(server.events())
        assert not any(isinstance(event, CloseConnection) for event in events)
        read += sum(isinstance(event, Ping) or getattr(event, "frame_finished", False) for event in events)
    assert guard.frames == read == len(messages)
    assert guard.pending == 0


def test_a_message_of_zero_byte_fragments_is_limited() -> None:
    guard = Guard(MAX_BYTES, 64)
    guard.feed(client_frame(TEXT, fin=False) + 63 * client_frame(0, fin=False))
    with pytest.raises(Violation) as raised:
        guard.feed(client_frame(0, fin=True))
    assert raised.value.disconnect == disconnect.TOO_BIG


def test_control_frames_between_fragments_are_no_fragments() -> None:
    guard = Guard(MAX_BYTES, 2)
    ping = client_frame(0x9, b"?")
    guard.feed(client_frame(TEXT, b"a", fin=False) + 10 * ping + client_frame(0, b"b") + 2 * client_frame(TEXT, b"c"))
    assert guard.frames == 14


@pytest.mark.parametrize("announced", [65537, 2**62, 2**64 - 1])
def test_a_size_is_judged_when_it_is_announced(announced: int) -> None:
    guard = Guard(65536, None)
    header = bytes([0x81, 0xFF]) + announced.to_bytes(8, "big")
    guard.feed(header[:-1])
    with pytest.raises(Violation) as raised:
        guard.feed(header[-1:])
    assert raised.value.disconnect == disconnect.TOO_BIG


def test_the_size_is_of_all_fragments_and_exact() -> None:
    first, last = client_frame(TEXT, bytes(200), fin=False), client_frame(0, bytes(100))
    Guard(300, None).feed(first + last)
    with pytest.raises(Violation) as raised:
        Guard(299, None).feed(first + last)
    assert raised.value.disconnect == disconnect.TOO_BIG


def test_limits_that_are_off_limit_nothing() -> None:
    guard = Guard(None, None)
    guard.feed(client_frame(BINARY, bytes(1 << 20), fin=False) + 1000 * client_frame(0, fin=False))
    assert guard.frames == 1001


@pytest.mark.parametrize(("accepts", "opcode"), [((TEXT,), BINARY), ((BINARY,), TEXT), ((), TEXT)])
def test_the_other_type_of_message_is_refused_at_its_first_frame(accepts: tuple[int, ...], opcode: int) -> None:
    with pytest.raises(Violation) as raised:
        Guard(None, None, frozenset(accepts)).feed(client_frame(opcode, b"{}", fin=False))
    assert raised.value.disconnect == disconnect.UNSUPPORTED_DATA


def test_a_frame_without_a_mask_is_refused() -> None:
    with pytest.raises(Violation) as raised:
        Guard(None, None).feed(client_frame(0x9, masked=False))
    assert raised.value.disconnect == disconnect.PROTOCOL_ERROR


def test_nothing_is_looked_at_behind_a_close_frame() -> None:
    guard = Guard(MAX_BYTES, MAX_FRAGMENTS)
    guard.feed(client_frame(0x8) + b"GET / HTTP/1.1")
    guard.feed(client_frame(TEXT, bytes(2 * MAX_BYTES)))
    assert guard.frames == 1


def test_it_tells_when_the_close_frame_is_all_there() -> None:
    guard, frame = Guard(None, None), client_frame(0x8, b"\x03\xe8bye")
    for byte in frame:
        assert not guard.closed
        guard.feed(bytes([byte]))
    assert guard.closed
    guard.feed(b"and more")
    assert guard.closed


def test_pending_tells_what_is_still_to_come_of_a_frame() -> None:
    guard, frame = Guard(None, None), client_frame(BINARY, bytes(1000))
    guard.feed(frame[:3])
    assert guard.pending == 0
    guard.feed(frame[3:500])
    assert guard.pending == len(frame) - 500
    guard.feed(frame[500:])
    assert guard.pending == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(0x41, b"x"), 1002),
        (client_frame(0x3), 1002),
        (client_frame(0x9, bytes(126)), 1002),
        (client_frame(0x9, fin=False), 1002),
        (client_frame(0x0, b"x"), 1002),
        (client_frame(TEXT, b"a", fin=False) + client_frame(TEXT, b"b"), 1002),
        (bytes([0x81, 0xFE, 0, 1]) + bytes(4) + b"x", 1002),
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(0x8, b"\x03\xed"), 1002),
    ],
)
def test_what_is_left_to_wsproto_is_caught_by_wsproto(data: bytes, code: int) -> None:
    Guard(MAX_BYTES, MAX_FRAGMENTS).feed(data)
    server = Connection(SERVER)
    server.receive_data(data)
    last = list(server.events())[-1]
    assert isinstance(last, CloseConnection)
    assert last.code == code


def test_wsproto_reads_a_message_while_its_parts_come() -> None:
    """Why a size must be judged when announced: what has come of a frame is kept by trio-websocket, part by part."""
    server = Connection(SERVER)
    server.receive_data(client_frame(BINARY, bytes(1000))[:100])
    assert [type(event) for event in server.events()] == [BytesMessage]
