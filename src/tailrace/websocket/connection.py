"""One WebSocket conversation from the handshake to a named ending: the boundary that no failure of a client passes.

trio-websocket does parsing, fragments, pongs, and the answer to a client's close. It begins behind the handshake
(http/upgrade.py), with the part of wsproto that knows frames and no HTTP: a third of the CPU of a newcomer, and 3 KiB
of each connection, were for reading a request that had been read. Closing is ours: its own raises out of its reader
when a client's ping crosses our close frame (its issue 184), which would take the nursery down. Here the reader is
cancelled first, the close frame goes out in line behind everything committed, and the client's own is waited for by the
guard, a bounded time. Whatever else escapes becomes a Disconnect; only faults of ours are logged, with their traceback.
"""

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from typing import cast

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto import WSConnection
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.utilities import ProtocolError

from tailrace.core.frame import frame
from tailrace.disconnect import BAD_UTF8, INTERNAL, PROTOCOL_ERROR, SHUTDOWN, Disconnect
from tailrace.websocket.guard import Guard, Violation
from tailrace.websocket.keepalive import Pulse
from tailrace.websocket.outlet import ROOM_BYTES, Outlet

CLOSE_SECONDS = 5.0  # for what waits to leave, and for the client's close frame; websockets waits 10, ws 30
CLOSE_READ_BYTES = 1024 * 1024  # read away meanwhile, so that our close frame is not lost to an RST
CLOSE = 0x8
LOST = Disconnect(1006, "lost")  # RFC 6455 7.1.5: the connection ended without a close frame

MakeOutlet = Callable[[trio.abc.Stream, trio.socket.SocketType, Guard, trio.Nursery], Outlet]

_log = structlog.get_logger(__name__)
_instance = os.urandom(3).hex()
_numbers = itertools.count(1)


class Ended(Exception):
    """The conversation is over: nothing can be received any more. The ending has its name in `Connection.ending`."""


class Connection:
    """What a conversation has of its WebSocket.

    id: unique among all gateways, for logs and the welcome. nursery: for tasks that end with it. remote: the peer's
    address. since_ms: epoch. on_end: called once with the ending, before the close frame: the last moment to say
    something. retry_after_ms goes with an `end`. paused: the client is not read, so it cannot be heard.
    """

    __slots__ = (
        "_goodbye", "_goodbye_seconds", "_pause", "_socket", "_websocket", "by_gateway", "ending", "id", "nursery",
        "on_end", "outlet", "paused", "pulse", "remote", "retry_after_ms", "since_ms", )  # fmt: skip

    def __init__(self, outlet: Outlet, sock: trio.socket.SocketType, remote: str, nursery: trio.Nursery) -> None:
        self.id = f"{_instance}-{next(_numbers)}"
        self.outlet = outlet
        self.nursery = nursery
        self.remote = remote
        self.since_ms = time.time_ns() // 1_000_000
        self.pulse = Pulse(trio.current_time())
        self.ending: Disconnect | None = None
        self.by_gateway = False
        self.paused = False
        self.retry_after_ms: int | None = None
        self.on_end: Callable[[Disconnect], None] | None = None
        self._socket = sock
        self._pause: trio.CancelScope | None = None
        self._goodbye: trio.CancelScope | None = None
        self._goodbye_seconds = CLOSE_SECONDS
        self._websocket: WebSocketConnection | None = None

    def handshake(self, answer: bytes) -> None:
        """Send the answer, with what there is to say at once behind it, and let trio-websocket begin; raises Ended when
        the client is gone."""
        self.outlet.post(answer)
        if self.outlet.line.error:
            self._name(LOST)
            raise Ended
        frames = cast("WSConnection", Frames(ConnectionType.SERVER))  # as far as a reader asks
        self._websocket = websocket = WebSocketConnection(
            self.outlet, frames, message_queue_size=1, max_message_size=2**62
        )
        self.nursery.start_soon(websocket._reader_task)

    async def receive(self) -> str | bytes:
        """The client's next message; Ended when there will be none, by the client's doing or by `end`."""
        if self.ending is None:
            assert self._websocket is not None
            try:
                message = await self._websocket.get_message()
                if self.ending is None:  # else it came together with the end, and is not answered
                    return message
            except ConnectionClosed as closed:
                if self.ending is None and closed.reason is None:
                    # Its reader fell; what it raises cancels us, and is named in `fail`.
                    await trio.sleep(CLOSE_SECONDS)
                self._closed(closed)
        raise Ended

    async def pause(self, until: Callable[[], Awaitable[None]]) -> None:
        """Leave the client unread until that returns, or the conversation is over."""
        if self.ending is None:
            with trio.CancelScope() as self._pause:
                self.paused = True
                await until()
            self.paused, self._pause = False, None

    async def room(self) -> None:
        """Leave it unread until it has taken so much that little waits for it, or the conversation is over."""
        if self.outlet.waiting_bytes > ROOM_BYTES:
            await self.pause(self.outlet.room)

    def end(self, disconnect: Disconnect, retry_after_ms: int | None = None) -> None:
        """End it so, from any task; the first ending counts. `receive` raises Ended at once; what the client still
        says is read, as fast as the guard lets it, and is nobody's."""
        if self.ending is None:
            self._name(disconnect, by_gateway=True)
            self.retry_after_ms = retry_after_ms
        if self._websocket is not None:  # as its own closing does: whoever waits there for a message is told
            self._websocket._recv_channel.close()
        if self._pause is not None:
            self._pause.cancel()

    def cut(self) -> None:
        """There is no time for a goodbye any more, neither one that has begun nor a later one."""
        self._goodbye_seconds = 0.0
        if self._goodbye is not None:
            self._goodbye.cancel()

    def _name(self, disconnect: Disconnect, by_gateway: bool = False) -> None:
        if self.ending is None:
            self.ending, self.by_gateway = disconnect, by_gateway

    def _closed(self, closed: ConnectionClosed) -> None:
        """Name what trio-websocket tells of: a close that it has answered, or a frame that it refuses and leaves to
        us."""
        code = LOST.code if closed.reason is None or self.outlet.line.error else closed.reason.code
        if code == LOST.code:
            fault = self.outlet.fault
            self._name(fault or LOST, by_gateway=fault is not None)
        elif self.outlet.close_sent is None:
            self._name(BAD_UTF8 if code == BAD_UTF8.code else PROTOCOL_ERROR, by_gateway=True)
        else:
            self._name(Disconnect(code, "closed by the client"))

    def fail(self, error: BaseException) -> None:
        """Name what escaped from the conversation or from trio-websocket."""
        if isinstance(error, Violation):
            self._name(error.disconnect, by_gateway=True)
        elif isinstance(error, (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ConnectionClosed)):
            self._name(LOST)
        elif isinstance(error, ProtocolError):
            self._name(PROTOCOL_ERROR)
        elif not isinstance(error, Ended):
            self._name(INTERNAL, by_gateway=True)
            _log.error("a connection failed, by a fault of ours", connection=self.id, exc_info=error)

    async def close(self) -> None:
        """Say goodbye as far as the client listens, and give the descriptor back. Bounded by CLOSE_SECONDS."""
        self._name(SHUTDOWN, by_gateway=True)  # nobody has named it: cancelled from above
        ending = self.ending
        assert ending is not None
        self._tell_end(ending)
        try:
            if self.outlet.line.error or ending is LOST:
                return
            if self._websocket is not None and self.outlet.close_sent is None and ending.code != LOST.code:
                self.outlet.post(close_frame(ending))
            with trio.move_on_after(self._goodbye_seconds, shield=True) as self._goodbye:
                await self.outlet.drain()
                self.outlet.finish()
                await self._read_away()
            if self._goodbye.cancelled_caught:
                self.outlet.reset()
        except (OSError, trio.BrokenResourceError):
            pass  # gone already: there is nobody to say goodbye to
        finally:
            if not self.outlet.line.error:
                self.outlet.line.break_off(errno.EBADF)  # whoever should still hold it: the number is soon another's
            self._socket.close()

    def _tell_end(self, ending: Disconnect) -> None:
        """A fault of ours in that costs the last word, and neither the goodbye nor the descriptor."""
        try:
            if self.on_end is not None:
                self.on_end(ending)
        except Exception as error:  # noqa: BLE001  nothing passes this boundary
            _log.error("a connection failed, by a fault of ours", connection=self.id, exc_info=error)

    async def _read_away(self) -> None:
        """Until the client's close frame or its end of file. What it still said is nobody's."""
        left = CLOSE_READ_BYTES
        while left > 0 and not self.outlet.guard.closed:
            data = await self.outlet.receive_raw(16384)
            if not data:
                return
            left -= len(data)
            with contextlib.suppress(Violation):
                self.outlet.guard.feed(data)


def close_frame(disconnect: Disconnect) -> bytes:
    """RFC 6455 5.5.1: the code, then the reason."""
    return frame(CLOSE, disconnect.code.to_bytes(2, "big") + disconnect.reason.encode())


async def converse(
    stream: trio.abc.Stream,
    sock: trio.socket.SocketType,
    remote: str,
    guard: Guard,
    answer: bytes,
    begun: Callable[[Connection], bytes],
    talk: Callable[[Connection], Awaitable[None]],
    outlet: MakeOutlet = Outlet,
) -> Connection:
    """Send the handshake's `answer`, and in the same send what `begun` gives; let `talk` have the connection, and close
    it, whatever happens: the connection, with its ending named.

    stream: what the client sends behind its handshake; outlet: what frames leave through. Raises
    nothing but Cancelled.
    """
    connection: Connection | None = None
    try:
        async with trio.open_nursery() as nursery:
            connection = Connection(outlet(stream, sock, guard, nursery), sock, remote, nursery)
            try:
                connection.handshake(answer + begun(connection))
                await talk(connection)
            finally:
                connection.outlet.dismiss()
            nursery.cancel_scope.cancel()
    except* Exception as failed:  # noqa: BLE001  every failure gets a name in Connection.fail
        assert connection is not None
        for error in leaves(failed):
            connection.fail(error)
    finally:
        if connection is not None:
            await connection.close()
    return connection


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions of a group, those of groups in it included."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
