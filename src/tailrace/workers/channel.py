"""Messages over a stream, one end of it. Whole messages, in order, until the other end is gone."""

from typing import Any, Generic, TypeVar

import msgspec
import trio

from tailrace.workers.messages import LENGTH, Message, pack

Received = TypeVar("Received")


class Channel(Generic[Received]):
    """Sends any message, receives those of `type_`, a union of message classes."""

    def __init__(self, stream: trio.abc.Stream, type_: Any) -> None:
        self._stream = stream
        self._decode = msgspec.msgpack.Decoder(type_).decode
        self._sending = trio.Lock()

    async def send(self, message: Message) -> None:
        """Whole, whoever else sends; a message to an end that is gone is dropped, its end will be noticed."""
        async with self._sending:
            try:
                await self._stream.send_all(pack(message))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def receive(self) -> Received | None:
        """The next message, None when the other end is gone."""
        try:
            length = await self._exactly(LENGTH.size)
            body = None if length is None else await self._exactly(LENGTH.unpack(length)[0])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None
        if body is None:
            return None
        message: Received = self._decode(body)
        return message

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            chunk = await self._stream.receive_some(size - len(data))
            if not chunk:
                return None
            data += chunk
        return bytes(data)
