"""client.frames: however the bytes are cut, the same messages; what a server may not send is refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.client.frames import BINARY, CLOSE, LARGEST_BYTES, PING, TEXT, Control, Frames, masked


def frame(payload: bytes, first: int = 0x80 | TEXT) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(places)]


@given(
    st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([b"x" * 65535, b"y" * 65536]))),
    st.lists(st.integers(0, 1 << 20)),
)
def test_the_same_messages_however_they_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    frames = Frames()
    stream = b"".join(frame(payload) for payload in payloads)
    assert [message for piece in pieces(stream, cuts) for message in frames.take(piece)[0]] == payloads


def test_controls_come_between_the_fragments_of_a_message() -> None:
    stream = frame(b"ab", TEXT) + frame(b"?", 0x80 | PING) + frame(b"", 0) + frame(b"c", 0x80) + frame(b"d")
    messages, controls = Frames().take(stream)
    assert messages == [b"abc", b"d"]
    assert controls == [Control(PING, b"?")]


def test_a_close_has_code_and_reason() -> None:
    _, [close] = Frames().take(frame((4001).to_bytes(2, "big") + b"slow", 0x80 | CLOSE))
    assert (close.opcode, close.code, close.reason) == (CLOSE, 4001, "slow")
    assert Control(CLOSE, b"").code == 1005


@pytest.mark.parametrize(
    "stream",
    [
        b"\x81\x80\0\0\0\0",  # masked
        b"\x81\xff" + bytes(8),
        frame(b"", 0xC1),  # a reserved bit
        frame(b"", 0x83),  # a reserved opcode
        frame(b"a", 0x80),  # goes on with nothing
        frame(b"a", TEXT) + frame(b"b"),  # begins before the end
        frame(
            b"a",
            0x80 | BINARY,
        )[:1]
        + b"\x7f"
        + (LARGEST_BYTES + 1).to_bytes(8, "big"),
        frame(b"", PING),  # a control frame in pieces
    ],
)
def test_what_a_server_may_not_send(stream: bytes) -> None:
    with pytest.raises(ValueError):
        Frames().take(stream)


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 65535, 65536])
def test_a_masked_frame(size: int) -> None:
    payload, mask = bytes(range(256)) * (size // 256) + bytes(range(size % 256)), b"\x01\x80\xff\x10"
    sent = masked(TEXT, payload, mask)
    body = sent[-size:] if size else b""
    head = sent[: len(sent) - size]
    assert head[0] == 0x81
    assert head[1] & 0x80
    assert head[-4:] == mask
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)) == payload
