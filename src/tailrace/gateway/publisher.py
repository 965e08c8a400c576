"""One connection's part in publishing: how many bytes of it are on their way, and whether it may be read further."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import trio

from tailrace.core.commands import Publish
from tailrace.core.lifecycle import Ticket
from tailrace.errors import ErrorCode

if TYPE_CHECKING:
    from tailrace.gateway.publishing import Publishing


class Settled(msgspec.Struct, frozen=True, gc=False):
    """How a publish ended: `code` None when it was written, and where; else why not."""

    ticket: Ticket
    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    code: ErrorCode | None
    message: str


TellSettled = Callable[[list[Settled]], None]


class PublishStatistics(msgspec.Struct, frozen=True):
    """A moment: publishes that were read and not reported, their bytes (what has room), and those of them that wait for
    room or for their topic. Since the start: published, failed (not in the log), timed_out (may be), too_late
    (written after that was said), dropped (their client left before they were sent)."""

    on_their_way: int
    bytes: int
    waiting: int
    published: int
    failed: int
    timed_out: int
    too_late: int
    dropped: int


class Publisher:
    """`bytes`: of its publishes, until they are reported; `closed`: nobody waits for answers any more."""

    __slots__ = ("_changed", "_in_line", "_max_bytes", "_on_their_way", "_publishing", "_tell", "bytes", "closed")

    def __init__(self, publishing: "Publishing", tell: TellSettled, max_bytes: int) -> None:
        self._publishing = publishing
        self._tell: TellSettled | None = tell
        self._max_bytes = max_bytes
        self._changed: trio.Event | None = None
        self._in_line = 0
        self._on_their_way = 0
        self.bytes = 0
        self.closed = False

    def publish(self, ticket: Ticket, record: Publish) -> None:
        """Its answer is told later, or before this returns. Raises CommandError when no such record can be."""
        self._publishing.submit(self, ticket, record)

    @property
    def full(self) -> bool:
        """The client is to be read no further."""
        return not self.closed and (self._in_line > 0 or self.bytes > self._max_bytes)

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            await self._change()

    async def settled(self) -> None:
        """Wait until nothing is on its way."""
        while self._on_their_way and not self.closed:
            await self._change()

    def close(self) -> None:
        """The client is gone: what was not sent is dropped, of the rest nobody hears."""
        self.closed = True
        self._tell = None
        self._wake()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    # ------------------------------------------------------------------------------------------------ for publishing

    def took(self, size: int) -> None:
        """A publish has entered the line."""
        self.bytes += size
        self._in_line += 1
        self._on_their_way += 1

    def left_line(self) -> None:
        """There was room for it."""
        self._in_line -= 1
        self._wake()

    def gave_back(self, size: int, *, in_line: bool) -> None:
        """It takes no memory any more."""
        self.bytes -= size
        self._in_line -= in_line
        self._on_their_way -= 1
        self._wake()

    def tell(self, settled: list[Settled]) -> None:
        """The answers, to whoever still waits."""
        if self._tell is not None:
            self._tell(settled)
