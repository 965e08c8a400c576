"""An accepted socket, and where it is accepted: as trio's own SocketStream and serve_listeners, with less.

In trio's `receive_some` there are two more coroutines, a context manager, and the frame that an exception has passed:
1.2 KiB of each idle connection. Accepting by `serve_listeners` takes a round of the loop, two options set and a hundred
calls for each; here what waits is taken a few at a time, and options are the listener's, from which Linux copies them.
"""

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

RECEIVE_BYTES = 65536  # at a time, when nobody says
# Accepted in one round of the loop. With four, newcomers come in faster than handshakes have their turns: of 10,000 who
# come at once 5,600 to 6,200 were let in and the others told to come back, with two 7,500 to 9,400 (three storms each).
AT_ONCE = 2
# trio sets 16 KiB, which cuts large sends into many; without any, one unread connection holds 4 MB in the kernel.
UNSENT_BYTES = 128 * 1024
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; not in Python's socket module
# Of accept(2): of the listener, and of the connection that was to be accepted, which are gone with it. Any other may
# stay as it is, as when descriptors have run out.
OURS = frozenset((errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK))
GONE = frozenset(
    (errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
     errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH)
)  # fmt: skip
AGAIN_SECONDS = 0.1  # until it is tried again, as in trio

_log = structlog.get_logger(__name__)


class TcpStream(trio.abc.HalfCloseableStream):
    """Over `socket`, connected to `peer`'s address. Raises as any trio stream does."""

    __slots__ = ("peer", "socket")

    def __init__(self, socket: trio.socket.SocketType, peer: str = "") -> None:
        self.socket = socket
        self.peer = peer

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """b"" at the end. What was taken off the socket is returned, also to who is cancelled meanwhile."""
        await trio.lowlevel.checkpoint_if_cancelled()
        data = self.receive_nowait(max_bytes or RECEIVE_BYTES)
        if data is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        while data is None:
            await trio.lowlevel.wait_readable(self.socket)
            data = self.receive_nowait(max_bytes or RECEIVE_BYTES)
        return data

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """None: nothing has come. Not in the coroutine, where the exception would leave a frame behind."""
        try:
            return os.read(self._descriptor(), max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        left = memoryview(data)
        while left:
            took = self._send_nowait(left)
            if took is None:
                await trio.lowlevel.wait_writable(self.socket)
            else:
                left = left[took:]

    def _send_nowait(self, data: memoryview) -> int | None:
        try:
            return os.write(self._descriptor(), data)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.wait_writable(self.socket)

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._descriptor()
        try:
            self.socket.shutdown(trio.socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def aclose(self) -> None:
        self.socket.close()
        await trio.lowlevel.checkpoint()

    def _descriptor(self) -> int:
        descriptor = self.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError
        return descriptor


async def accept_all(
    listeners: Sequence[trio.SocketListener], handle: Callable[[TcpStream], Awaitable[object]], clients: trio.Nursery
) -> None:
    """Until cancelled; the listeners are closed then. A task of `clients` for each, which closes its stream itself."""
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(_accept, socket.socket(fileno=listener.socket.detach()), handle, clients)


async def _accept(
    listening: socket.socket, handle: Callable[[TcpStream], Awaitable[object]], clients: trio.Nursery
) -> None:
    listening.setblocking(False)
    _set_options(listening)
    queued_before = True
    with listening:
        while True:
            await trio.lowlevel.wait_readable(listening)
            try:
                for _ in range(AT_ONCE):
                    accepted, address = listening.accept()
                    if queued_before:  # and copied before the options were set
                        _set_options(accepted)
                    stream = TcpStream(trio.socket.from_stdlib_socket(accepted), str(address[0]))
                    clients.start_soon(handle, stream)
            except BlockingIOError:
                queued_before = False  # all are in
            except OSError as error:
                if error.errno in OURS:
                    raise
                if error.errno not in GONE:
                    _log.error("cannot accept", error=str(error), again_in_seconds=AGAIN_SECONDS)
                    await trio.sleep(AGAIN_SECONDS)


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
