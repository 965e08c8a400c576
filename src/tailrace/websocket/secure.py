"""The outlet of a connection under TLS: the same line and order, its bytes sealed before they leave.

A patched block is valid only within the call that patched it, so records are copied into the line first
(`Line(direct=False)`), then sealed: two copies where bare TCP has none. What it must not cost is a task for each
connection and batch, so the writers' first step is taken by one task for all of them; a connection gets a writer of
its own only when its kernel refuses bytes.
"""

import errno
from collections import deque
from typing import Protocol

import trio

from tailrace._fanout import BLOCKED, BROKEN, DONE, MORE
from tailrace.disconnect import RATE_LIMITED, Disconnect
from tailrace.websocket.guard import Guard
from tailrace.websocket.outlet import FLUSH_BYTES, Outlet

# Of all connections in one round of the loop, about 3 ms: bytes that are sealed at 1 GB/s, and steps of 20 us.
ROUND_BYTES = 2 * 2**20
STEP_BYTES = 16 * 1024


class Seal(Protocol):
    """TLS over a socket: sockets/tls.py."""

    @property
    def unsent_bytes(self) -> int: ...
    @property
    def added_bytes(self) -> int: ...
    @property
    def flooded(self) -> bool: ...
    def write(self, data: bytes, /) -> bool: ...
    def flush(self) -> bool: ...
    def finish(self) -> None: ...
    async def receive_some(self, max_bytes: int | None = None, /) -> bytes: ...


class SecureOutlet(Outlet):
    """An outlet whose bytes go through `seal`."""

    __slots__ = ("_seal", "_sweep")

    direct = False

    def __init__(
        self,
        stream: trio.abc.Stream,
        sock: trio.socket.SocketType,
        guard: Guard,
        nursery: trio.Nursery,
        *,
        seal: Seal,
    ) -> None:
        super().__init__(stream, sock, guard, nursery)
        self._seal = seal
        self._sweep = sweep()

    def _start_writer(self) -> None:
        """In line for a first step without a task."""
        self._sweep.add(self)

    def first_step(self) -> None:
        """What a writer's task would begin with; it is started when there is more to do. Dismissed, it is `drain`'s."""
        if self._nursery is not None and self._advance() not in (DONE, BROKEN):
            self.start_soon(self._write)

    def _step(self) -> int:
        """As Line.flush; what was committed is taken, sealed, and offered to the kernel."""
        line, seal, sealed = self.line, self._seal, 0
        try:
            if not seal.flush():
                return BLOCKED
            while sealed < FLUSH_BYTES:
                found = line.flush(FLUSH_BYTES)
                if found in (DONE, BROKEN):
                    return found
                data = line.take()
                sealed += len(data)
                if not seal.write(data):
                    return BLOCKED
        except trio.BrokenResourceError:
            line.break_off(errno.EPIPE)
            return BROKEN
        return MORE

    @property
    def waiting_bytes(self) -> int:
        return self.line.waiting_bytes + self._seal.unsent_bytes

    @property
    def unacknowledged_bytes(self) -> int:
        """What TLS added to the last piece is left out, so that a ping alone counts as its own two bytes."""
        in_flight = super().unacknowledged_bytes - self.line.waiting_bytes
        return self.waiting_bytes + max(0, in_flight - self._seal.added_bytes)

    @property
    def fault(self) -> Disconnect | None:  # type: ignore[override]  # there it never changes
        """Its records bring nothing."""
        return RATE_LIMITED if self._seal.flooded else None

    def finish(self) -> None:
        self._seal.finish()

    async def receive_raw(self, max_bytes: int) -> bytes:
        """Unopened when its records bring nothing: it is read away so that it hears why."""
        if self._seal.flooded:
            return await super().receive_raw(max_bytes)
        return await self._seal.receive_some(max_bytes)


class Sweep:
    """The first steps of all connections, in the order they were asked for. One for each run of the event loop."""

    __slots__ = ("_line", "_running")

    def __init__(self) -> None:
        self._line: deque[SecureOutlet] = deque()
        self._running = False

    def add(self, outlet: SecureOutlet) -> None:
        """It is asked for once until it has been served: the line sees to that."""
        self._line.append(outlet)
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        while self._line:
            budget = ROUND_BYTES
            while self._line and budget > 0:
                outlet = self._line.popleft()
                before = outlet.line.sent_bytes
                try:
                    outlet.first_step()
                except Exception as fault:  # noqa: BLE001  ours: it is that connection's
                    outlet.blame(fault)
                budget -= STEP_BYTES + outlet.line.sent_bytes - before
            await trio.lowlevel.checkpoint()
        self._running = False


_sweep: trio.lowlevel.RunVar[Sweep] = trio.lowlevel.RunVar("tailrace sweep")


def sweep() -> Sweep:
    """That of this run of the event loop."""
    try:
        return _sweep.get()
    except LookupError:
        made = Sweep()
        _sweep.set(made)
        return made
