"""An accepted socket as a stream, read bare or under TLS: trio's own, of which a reader that waits takes less memory.

In trio's `receive_some` there are two more coroutines, a context manager, and the frame that an exception has passed:
1.2 KiB of each idle connection. Everything but reading is trio's.
"""

import os

import trio

RECEIVE_BYTES = 65536  # at a time, when nobody says


class TcpStream(trio.abc.Stream):
    """Over `stream`, whose `socket` it shows. Raises as any trio stream does."""

    __slots__ = ("_stream", "socket")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """b"" at the end. What was taken off the socket is returned, also to who is cancelled meanwhile."""
        await trio.lowlevel.checkpoint_if_cancelled()
        data = self._read(max_bytes or RECEIVE_BYTES)
        if data is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        while data is None:
            await trio.lowlevel.wait_readable(self.socket)
            data = self._read(max_bytes or RECEIVE_BYTES)
        return data

    def _read(self, max_bytes: int) -> bytes | None:
        """None: nothing has come. Not in the coroutine, where the exception would leave a frame behind."""
        descriptor = self.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError
        try:
            return os.read(descriptor, max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
