"""A server's WebSocket frames out of a byte stream, many at a time; pure, for clients that take thousands a second.

A library that makes an object of each event needs some 20 us a message; this loop needs 1. What a server may not send
(a mask, a reserved bit, a fragment of nothing, an endless message) is a ValueError, and the connection is over then.

Left out: compression (never offered), UTF-8 checks (whoever decodes the JSON makes them).
"""

import os
from typing import Final

from msgspec import Struct

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
LARGEST_BYTES: Final = 32 << 20  # of a frame: four times the largest record a gateway lets through by default

_NO_STATUS: Final = 1005  # RFC 6455, 7.1.5


class Control(Struct, frozen=True):
    """A ping, pong or close."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close; 1005 when it names none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else _NO_STATUS

    @property
    def reason(self) -> str:
        """Of a close."""
        return self.payload[2:].decode(errors="replace")


class Frames:
    """What has come and is not a whole frame yet."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: list[bytes] = []

    def take(self, data: bytes) -> tuple[list[bytes], list[Control]]:
        """The messages that are whole now, and the control frames; each in its order. Raises ValueError."""
        if self._rest:
            data = self._rest + data
        messages: list[bytes] = []
        controls: list[Control] = []
        at, size = 0, len(data)
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            begin = at + 2
            if length > 125:
                wide = {126: 2, 127: 8}.get(length)
                if wide is None:
                    raise ValueError("a server's frame is not masked")
                begin += wide
                length = int.from_bytes(data[at + 2 : begin], "big") if size >= begin else 0
            if length > LARGEST_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            if size < begin + length or size < begin:
                break
            at = begin + length
            if (first == 0x81 or first == 0x82) and not self._parts:
                messages.append(data[begin:at])
            else:
                self._other(first, data[begin:at], messages, controls)
        self._rest = data[at:]
        return messages, controls

    def _other(self, first: int, payload: bytes, messages: list[bytes], controls: list[Control]) -> None:
        final, opcode = first & 0x80, first & 0x7F
        if opcode in (CLOSE, PING, PONG) and final:
            controls.append(Control(opcode, payload))
            return
        if opcode not in (CONTINUATION, TEXT, BINARY) or (opcode == CONTINUATION) != bool(self._parts):
            raise ValueError(f"a frame that begins with {first:#04x} at this place")
        self._parts.append(payload)
        if sum(map(len, self._parts)) > LARGEST_BYTES:
            raise ValueError("a message without end")
        if final:
            messages.append(b"".join(self._parts))
            self._parts = []


def masked(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """A client's frame (RFC 6455, 5.2 and 5.3); `mask`: four bytes, at random unless a test says otherwise."""
    mask = os.urandom(4) if mask is None else mask
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    covered = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(covered, "big")
    return head + mask + mixed.to_bytes(size, "big")
