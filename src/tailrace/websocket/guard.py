"""Limits on what a client sends, read off its frame headers before wsproto sees them (RFC 6455 5.2). Pure.

Fed with every chunk received behind the handshake, in order; a broken limit raises `Violation` as soon as the header
that breaks it is complete. Knows a message's announced size before its bytes come, counts every frame (a zero-byte
continuation costs wsproto a list entry and trio-websocket counts none), and keeps at most nine bytes itself.

Left to wsproto, which ends the connection at that frame: reserved bits and opcodes, control frames that are too
long or fragmented, lengths not in their shortest form, stray continuations, bad UTF-8, bad close codes. A frame
without a mask is wsproto's too, and checked here as well, since skipping it rightly depends on the mask.
"""

from enum import IntEnum

from tailrace.core.frame import BINARY, TEXT
from tailrace.core.pace import Incoming
from tailrace.disconnect import PROTOCOL_ERROR, TOO_BIG, UNSUPPORTED_DATA, Disconnect

_CLOSE = 0x8
_MASK_BYTES = 4
_UNLIMITED = 2**63


class Violation(Exception):
    """A client broke a limit or the framing. disconnect: the close that fits; the message is for the log."""

    def __init__(self, disconnect: Disconnect, message: str) -> None:
        super().__init__(message)
        self.disconnect = disconnect


class _Kind(IntEnum):
    WHOLE = 0  # a message in one frame
    FIRST = 1
    MIDDLE = 2
    LAST = 3
    CLOSE = 4
    REFUSED = 5  # a data opcode that this connection does not take
    OTHER = 6  # a ping, a pong, or wsproto's to refuse


def _kind(first: int, accepted: frozenset[int]) -> _Kind:
    final, opcode = first & 0x80, first & 0x0F
    if first & 0x70 or opcode not in (0x0, TEXT, BINARY, _CLOSE):
        return _Kind.OTHER
    if opcode == _CLOSE:
        return _Kind.CLOSE
    if opcode == 0:
        return _Kind.LAST if final else _Kind.MIDDLE
    if opcode not in accepted:
        return _Kind.REFUSED
    return _Kind.WHOLE if final else _Kind.FIRST


# By a frame's first byte. Four tables of 256 bytes, one for each set of data opcodes a connection may take.
_TABLES = {
    accepted: bytes(_kind(first, accepted) for first in range(256))
    for accepted in map(frozenset[int], ((), (TEXT,), (BINARY,), (TEXT, BINARY)))
}


class Guard:
    """The limits of one connection.

    accepts: the data opcodes taken, another is 1003 (protocol.md section 2); none: a stream that takes no messages.
    max_message_bytes: announced payload of a message, over all its fragments; max_fragments: frames of a message; None
    is off; incoming: how fast it may send. Counted since the start: `received_bytes` and `frames`.
    """

    __slots__ = (
        "_closed",
        "_fragments",
        "_incoming",
        "_kinds",
        "_max_fragments",
        "_max_message_bytes",
        "_message_bytes",
        "_partial",
        "_skip",
        "frames",
        "received_bytes",
    )

    def __init__(
        self,
        max_message_bytes: int | None,
        max_fragments: int | None,
        accepts: frozenset[int] = frozenset((TEXT, BINARY)),
        incoming: Incoming | None = None,
    ) -> None:
        self._incoming = incoming
        self._max_message_bytes = _UNLIMITED if max_message_bytes is None else max_message_bytes
        self._max_fragments = _UNLIMITED if max_fragments is None else max_fragments
        self._kinds = _TABLES[accepts]
        self._skip = 0  # bytes of mask and payload still to come of the current frame
        self._partial = b""  # a header cut off by the end of a chunk
        self._fragments = 0  # of the current message, 0 between messages
        self._message_bytes = 0
        self._closed = False
        self.received_bytes = 0
        self.frames = 0

    @property
    def pending(self) -> int:
        """Bytes of the current frame still to come, 0 at a frame's boundary or within a header."""
        return self._skip

    @property
    def closed(self) -> bool:
        """Whether the client's close frame has come, all of it."""
        return self._closed and not self._skip

    def wait_seconds(self, now: float) -> float:
        """How long it is not to be read, since it has sent too much too fast. Asked once for what was fed since."""
        return 0.0 if self._incoming is None else self._incoming.take(self.frames, self.received_bytes, now)

    def feed(self, data: bytes | bytearray) -> None:
        """Look at the next bytes received. Raises Violation, once, with 1002, 1003 or 1009.

        Behind a violation or a close frame nothing is looked at, as nothing is read there (RFC 6455 5.5.1, 7.1.7).
        """
        self.received_bytes += len(data)
        if self._partial:
            data = self._partial + data
            self._partial = b""
        at, size = self._skip, len(data)
        while at < size and not self._closed:
            try:
                header = self._header(data, at, size)
            except Violation:
                self._skip = _UNLIMITED  # where the next frame begins is not known
                raise
            if header == 0:
                self._partial = bytes(data[at:])
                self._skip = 0
                return
            at = header
        self._skip = at - size if at > size else 0

    def _header(self, data: bytes | bytearray, at: int, size: int) -> int:
        """Take the header at `at`; return where the next frame begins, 0 when this header is not all there."""
        if size - at < 2:
            return 0
        length = data[at + 1] - 0x80
        if length < 0:
            raise Violation(PROTOCOL_ERROR, "a frame without a mask")
        begin = at + 2
        if length > 125:
            begin += 2 if length == 126 else 8
            if begin > size:
                return 0
            length = int.from_bytes(data[at + 2 : begin], "big")
        self._frame(self._kinds[data[at]], length)
        return begin + _MASK_BYTES + length

    def _frame(self, kind: int, length: int) -> None:
        self.frames += 1
        if kind == _Kind.WHOLE and not self._fragments:
            if length > self._max_message_bytes:
                raise self._too_big(length)
        elif kind <= _Kind.LAST:
            self._fragment(kind, length)
        else:
            self._other(kind)

    def _fragment(self, kind: int, length: int) -> None:
        self._fragments += 1
        self._message_bytes += length
        if self._fragments > self._max_fragments:
            raise Violation(TOO_BIG, f"a message in more than {self._max_fragments} fragments")
        if self._message_bytes > self._max_message_bytes:
            raise self._too_big(self._message_bytes)
        if kind == _Kind.LAST:
            self._fragments = self._message_bytes = 0

    def _other(self, kind: int) -> None:
        if kind == _Kind.REFUSED:
            raise Violation(UNSUPPORTED_DATA, "a message of a type that is not taken here")
        self._closed = kind == _Kind.CLOSE

    def _too_big(self, announced_bytes: int) -> Violation:
        return Violation(TOO_BIG, f"a message of {announced_bytes} bytes, {self._max_message_bytes} are allowed")
