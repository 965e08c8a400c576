"""One connection's socket: trio-websocket talks through it, records leave past it, and both in one order.

Everything that leaves is committed to the `Line` of the compiled core, at a frame boundary: the frames that trio-
websocket makes (pongs, closes), the messages of the session, and, straight from the shared tail, the records. A
writer task exists only while the kernel refuses bytes. What comes in passes the guard first. Neither direction ever
raises for what the other end did but in trio's words.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Awaitable, Callable

import trio

from tailrace._fanout import BLOCKED, BROKEN, DONE, MORE, Line, Subscription
from tailrace.disconnect import Disconnect
from tailrace.websocket.guard import Guard
from tailrace.websocket.turns import turns

ROOM_BYTES = 64 * 1024  # replies and pongs that may wait before the client is read no further
FLUSH_BYTES = 128 * 1024  # a writer's step: about 0.1 ms of copying, and as much as the kernel takes at a time
AT_ONCE_STEPS = 2  # a block that is read back: 1,024 records of 200 bytes
# trio-websocket keeps a string for each piece of a message that wsproto is given: 64 KiB dripped two bytes at a time
# were 1.95 MB in 32,767 of them, and are 76 KB in pieces of this size.
PIECE_BYTES = 1024
CLOSE_OPCODE = 0x88
NO_STATUS = 1005  # RFC 6455 7.1.5: a close frame without a code


class Outlet(trio.abc.Stream):
    """The stream given to trio-websocket.

    stream: what the client sends, behind its handshake. nursery: where the writer runs, the connection's own.
    on_dropped: told of subscriptions that cannot go on from the tail. on_close: ends all of them, since a close frame
    is about to be sent, perhaps as trio-websocket's answer to the client's. on_throttled: told when the client is too
    fast and is read no further for a while.
    """

    __slots__ = (
        "_again",
        "_closed",
        "_nursery",
        "_room",
        "_socket",
        "_stream",
        "_telling",
        "_turns",
        "close_sent",
        "guard",
        "line",
        "on_close",
        "on_dropped",
        "on_throttled",
    )

    direct = True  # the core sends by itself; secure.py: it may not
    fault: Disconnect | None = None  # why nothing more is received, when that is the client's doing below WebSocket

    def __init__(
        self, stream: trio.abc.Stream, sock: trio.socket.SocketType, guard: Guard, nursery: trio.Nursery
    ) -> None:
        self._stream = stream
        self._socket = sock
        self._nursery: trio.Nursery | None = nursery
        self._closed = False
        self._turns = turns()
        self._telling = self._again = False
        self._room: trio.Event | None = None
        self.guard = guard
        self.line = Line(sock.fileno(), self.direct, self)
        self.close_sent: int | None = None
        self.on_dropped: Callable[[list[Subscription]], None] | None = None
        self.on_close: Callable[[], object] | None = None
        self.on_throttled: Callable[[], object] | None = None

    # ----------------------------------------------------------------------------------------------- for trio-websocket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What the client sent, past the guard. Raises its Violation."""
        if self._closed:
            raise trio.ClosedResourceError
        wait = self.guard.wait_seconds(trio.current_time())
        if wait:
            if self.on_throttled is not None:
                self.on_throttled()
            await trio.sleep(wait)
        data = await self._stream.receive_some(max_bytes)
        if data and self._within(data):
            return await self._gather(data)
        return data

    def _within(self, data: bytes | bytearray) -> bool:
        """Whether it is, past the guard, nothing but a piece from the middle of one frame's payload."""
        guard = self.guard
        within, frames = guard.pending > 0, guard.frames
        guard.feed(data)
        return within and guard.pending > 0 and guard.frames == frames

    async def _gather(self, data: bytes | bytearray) -> bytes:
        """Such pieces together: nothing in them could be answered before the frame's end."""
        gathered = bytearray(data)
        while len(gathered) < PIECE_BYTES:
            data = await self._stream.receive_some(PIECE_BYTES)
            gathered += data
            if not data or not self._within(data):
                break
        return bytes(gathered)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Whole frames of trio-websocket's. Waits only when the client leaves too many unread."""
        if self._closed:
            raise trio.ClosedResourceError
        if data:
            self.post(bytes(data))
        await self.room()

    async def wait_send_all_might_not_block(self) -> None:
        await self.room()

    async def aclose(self) -> None:
        """trio-websocket is done with it. The socket is closed by the connection, once everything has left."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    # ----------------------------------------------------------------------------------------------- for the connection

    def post(self, frames: bytes) -> None:
        """Send whole frames in line with the records, the handshake's answer before all; behind a close frame nothing
        is sent (RFC 6455 5.5.1). Never waits: see `room`."""
        if self.close_sent is not None:
            return
        if frames[0] == CLOSE_OPCODE:
            self.close_sent = int.from_bytes(frames[2:4], "big") if frames[1] >= 2 else NO_STATUS
            if self.on_close is not None:
                self.on_close()
        if self.line.post(frames):
            self.wake()

    async def room(self) -> None:
        """Wait until few enough bytes wait, so that a client that asks and never reads is asked to read."""
        while self.waiting_bytes > ROOM_BYTES and not self.line.error:
            await self._written()
        await trio.lowlevel.checkpoint()

    async def clear(self) -> None:
        """Wait until nothing waits, or the connection is gone."""
        while self.waiting_bytes and not self.line.error:
            await self._written()
        await trio.lowlevel.checkpoint()

    async def _written(self) -> None:
        """Until the writer has done its next step; any number may wait for it."""
        if self._room is None:
            self._room = trio.Event()
        await self._room.wait()

    def wake(self) -> None:
        """Start the writer: the line asked for it."""
        if self._telling:  # by the writer itself, which goes on
            self._again = True
        else:
            self._start_writer()

    def write(self) -> None:
        """As `wake`, and its first steps at once, while this round of the loop has turns: what the kernel takes at once
        costs no task. Raises a fault of ours: see `blame`."""
        if self._telling:
            self._again = True
            return
        if self._nursery is None:
            return
        everyone, found = self._turns, MORE
        for _ in range(AT_ONCE_STEPS):
            if found == BLOCKED or not everyone.take_nowait():
                break
            found = self._advance()
            if found in (DONE, BROKEN):
                return
        self.start_soon(self._write, found)

    def _start_writer(self) -> None:
        self.start_soon(self._write)

    def start_soon(self, task: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """A task that ends with the connection; none is started once that has begun, whoever asks for it."""
        if self._nursery is not None:
            self._nursery.start_soon(task, *arguments)

    def blame(self, fault: Exception) -> None:
        """Raise it in the connection's own nursery, with its traceback; one that has closed has an ending already."""

        async def fail() -> None:
            raise fault

        with contextlib.suppress(RuntimeError):
            self.start_soon(fail)

    def dismiss(self) -> None:
        """No more tasks, from anyone's `wake`: their nursery is about to close. What waits is left to `drain`."""
        self._nursery = None

    async def _write(self, found: int | None = None) -> None:
        """Bring the line on until nothing waits and every subscription is live again. found: by the step before."""
        everyone = self._turns
        while found not in (DONE, BROKEN):
            if found == BLOCKED:
                await trio.lowlevel.wait_writable(self._socket)
            elif found == MORE:
                await trio.lowlevel.checkpoint()
            await everyone.take()
            found = self._advance()

    def _advance(self) -> int:
        """A writer's step, and all that is told of it. DONE, BROKEN: the writer ends here; as `Line.flush` else."""
        self._tell_dropped()
        found = self._step()
        if self._room is not None:  # whoever waits looks for himself how much has left
            self._room.set()
            self._room = None
        if found in (DONE, BROKEN):
            self._telling, self._again = True, False
            self._tell_dropped()
            self._telling = False
            if self._again:
                return MORE
        return found

    def _step(self) -> int:
        return self.line.flush(FLUSH_BYTES)

    def _tell_dropped(self) -> None:
        dropped = self.line.take_dropped()
        if dropped and self.on_dropped is not None:
            self.on_dropped(dropped)

    @property
    def waiting_bytes(self) -> int:
        """Committed bytes that the kernel has not taken."""
        return self.line.waiting_bytes

    @property
    def unacknowledged_bytes(self) -> int:
        """Committed bytes that the client's kernel has not acknowledged."""
        return self.line.waiting_bytes + self.line.in_flight_bytes

    async def drain(self) -> None:
        """Wait until everything that was committed has left, or the connection is gone. No subscription may be left."""
        while self._step() not in (DONE, BROKEN):
            await trio.lowlevel.wait_writable(self._socket)

    def finish(self) -> None:
        """No more is sent: the client hears the end of file. OSError or BrokenResourceError when it is gone."""
        self._socket.shutdown(trio.socket.SHUT_WR)

    async def receive_raw(self, max_bytes: int) -> bytes:
        """What comes in, past nobody: for the end of a conversation. Raises as `finish`."""
        return await self._socket.recv(max_bytes)

    def reset(self) -> None:
        """Give the connection up at once: the client's kernel hears RST, nothing that waits is sent."""
        self.line.break_off(errno.ECONNABORTED)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
