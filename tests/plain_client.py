"""A client for tests of the outgoing side: a socket pair with a line on one end, and every byte looked at.

`fanout` is the module under test, the compiled core or its plain oracle.
"""

import socket
from types import ModuleType
from typing import Any, NamedTuple

LOTS = 1 << 40  # a budget that is never used up
TINY = 4608  # the smallest SO_SNDBUF: takes 2,240 bytes at a time, two or three times


class Frame(NamedTuple):
    """A server frame: final and unmasked, or `read_frames` complains."""

    opcode: int
    payload: bytes


def read_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning, and what is left of a cut one; fails where RFC 6455, 5.2, is not kept."""
    frames = []
    at = 0
    while (size := _sizes(data[at : at + 10])) and at + sum(size) <= len(data):
        begin = at + size[0]
        frames.append(Frame(data[at] & 0x0F, data[begin : begin + size[1]]))
        at = begin + size[1]
    return frames, data[at:]


def _sizes(head: bytes) -> tuple[int, int] | None:
    """(header, payload) in bytes; None while the header is cut. Only the shortest header that will do is valid."""
    if len(head) < 2:
        return None
    assert head[0] & 0xF0 == 0x80, f"not final, or a reserved bit: {head.hex()}"
    assert head[0] & 0x0F in (0x1, 0x2, 0x8, 0x9, 0xA), f"unknown opcode: {head.hex()}"
    assert head[1] < 0x80, f"masked: {head.hex()}"
    width = {126: 2, 127: 8}.get(head[1], 0)
    if len(head) < 2 + width:
        return None
    size = int.from_bytes(head[2 : 2 + width], "big") if width else head[1]
    assert width == (0 if size < 126 else 2 if size < 65536 else 8), f"a longer header than needed: {head.hex()}"
    return 2 + width, size


class Client:
    """A line, and the other end of its socket."""

    def __init__(self, fanout: ModuleType, *, direct: bool = True, room: int | None = None) -> None:
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        if room is not None:
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self.line = fanout.Line(self.near.fileno(), direct, self)
        self.bytes = b""

    def read(self, most: int = 1 << 24) -> list[Frame]:
        """Every whole frame received until now."""
        try:
            while most and (data := self.far.recv(min(most, 65536))):
                self.bytes += data
                most -= len(data)
        except BlockingIOError:
            pass
        return read_frames(self.bytes)[0]

    def drain(self, fanout: ModuleType) -> list[Frame]:
        """Let the writer and the reader work until nothing is left."""
        while self.line.flush(LOTS) != fanout.DONE:
            self.read()
        return self.read()

    def close(self) -> None:
        self.near.close()
        self.far.close()


def payload(format: int, text: bytes, id: int = 0) -> bytes:
    """What the encoder makes, its id slot blank; or, with an id, what a client sees."""
    return (b'{"id":%5d,' % id, b"\x82\xa2id\xcd" + id.to_bytes(2, "big"), b"")[format] + text


def feed(tail: Any, count: int, key: bytes | None = None, size: int = 10, partition: int = 0) -> list[bytes]:
    """Append so many VALUE records, numbered by their offsets: their payloads."""
    first = tail.positions[partition]
    texts = [b"%d:%d" % (partition, offset) + b"." * size for offset in range(first, first + count)]
    for offset, text in enumerate(texts, first):
        assert tail.append(2, text, partition, offset, key)
    return texts


def serve(tail: Any, budget: int = LOTS) -> None:
    """Everybody, in chunks of this budget."""
    while tail.pump(budget):
        pass


def texts(frames: list[Frame]) -> list[bytes]:
    return [frame.payload for frame in frames]
