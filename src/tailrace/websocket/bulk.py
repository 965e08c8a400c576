"""The client's side of a WebSocket for load: whatever has come is taken at once; one process can hold thousands.

As websocket/dial.py, with its errors, but without an object for each event: `tailrace bench` must be able to take some
hundred thousand messages a second. One task uses a connection. Left out: a watch over silence (a run has its own end).
"""

import base64
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Final

import trio

from tailrace.client.frames import CLOSE, PING, PONG, TEXT, Frames, masked
from tailrace.units import whole_number
from tailrace.websocket.dial import GONE, Lost, Refused, Unreachable, connected, origin_form, receive, send, words

_READ_BYTES: Final = 262144
_HEAD_BYTES: Final = 16384
_BODY_BYTES: Final = 4096
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_NORMAL: Final = (1000).to_bytes(2, "big")


class Bulk:
    """An open connection."""

    def __init__(self, stream: trio.abc.Stream, came: bytes) -> None:
        self._stream = stream
        self._frames = Frames()
        self._came = came  # with the answer to the handshake
        self.received_bytes = 0

    async def receive(self) -> list[bytes]:
        """All messages that have come, at least one. Raises Lost."""
        while True:
            data, self._came = self._came or await receive(self._stream, _READ_BYTES), b""
            self.received_bytes += len(data)
            try:
                messages, controls = self._frames.take(data)
            except ValueError as fault:
                raise Lost(1002, str(fault)) from None
            for control in controls:
                if control.opcode == PING:
                    await self._send(masked(PONG, control.payload))
                elif control.opcode == CLOSE:
                    with contextlib.suppress(Lost):
                        await self._send(masked(CLOSE, control.payload[:2]))
                    raise Lost(control.code, control.reason)
            if messages:
                return messages

    async def send(self, text: str) -> None:
        """Raises Lost."""
        await self._send(masked(TEXT, text.encode()))

    async def say_close(self) -> None:
        """A close frame; nobody waits for the answer."""
        with contextlib.suppress(Lost):
            await self._send(masked(CLOSE, _NORMAL))

    async def _send(self, frame: bytes) -> None:
        await send(self._stream, frame)


@contextlib.asynccontextmanager
async def dial_bulk(url: str, subprotocol: str) -> AsyncIterator[Bulk]:
    """Connect; a close frame at the end of the block. Raises Unreachable and Refused."""

    async def shake(stream: trio.abc.Stream) -> Bulk:
        return Bulk(stream, await _handshake(stream, url, subprotocol))

    async with connected(url, shake) as connection:
        try:
            yield connection
        finally:
            with trio.move_on_after(0.1, shield=True):
                await connection.say_close()


async def _handshake(stream: trio.abc.Stream, url: str, subprotocol: str) -> bytes:
    """Ask for the upgrade; what came behind the answer."""
    key = base64.b64encode(os.urandom(16))
    host, target = origin_form(url)
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Protocol: {subprotocol}", "", ""]
    try:
        await stream.send_all("\r\n".join(lines).encode())
        head, rest = await _head(stream)
        status, headers = _parsed(head)
        if status != 101:
            raise await _refusal(stream, status, headers, rest)
    except GONE:
        raise Unreachable("the connection broke off") from None
    accepted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    if headers.get("sec-websocket-accept") != accepted:
        raise Unreachable("this is no WebSocket: the answer does not fit the key")
    return rest


async def _head(stream: trio.abc.Stream) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(_READ_BYTES)
        if not more or len(data) > _HEAD_BYTES:
            raise Unreachable("this is no WebSocket" if data else "the connection broke off")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = whole_number(rest.partition(" ")[0])
    if status is None or not version.startswith("HTTP/1."):
        raise Unreachable("this is no WebSocket")
    pairs = (line.partition(":") for line in lines)
    return status, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _refusal(stream: trio.abc.Stream, status: int, headers: dict[str, str], body: bytes) -> Refused:
    wanted = min(_BODY_BYTES, whole_number(headers.get("content-length", "")) or 0)
    while len(body) < wanted and (more := await stream.receive_some(_BODY_BYTES)):
        body += more
    return Refused(status, words(body), whole_number(headers.get("retry-after", "")))
