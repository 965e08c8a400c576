"""Server-side WebSocket frames (RFC 6455, 5.2): whole messages, final, unmasked.

A server must not mask (5.1), so one framed record serves every subscriber byte for byte. Control frames, fragments
and everything that is received belong to trio-websocket.
"""

from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2

_FIN: Final = 0x80


def frame(opcode: int, payload: bytes) -> bytes:
    """`payload` as one frame. The length takes the shortest of its three forms, as RFC 6455, 5.2 demands."""
    length = len(payload)
    if length < 126:
        return bytes((_FIN | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((_FIN | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((_FIN | opcode, 127)) + length.to_bytes(8, "big") + payload
