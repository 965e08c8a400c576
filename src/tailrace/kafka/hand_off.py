"""Items from a thread to a task of trio's, in order and bounded, without a round trip for each.

`trio.from_thread` makes the thread wait until trio has taken the item, and `run_sync_soon` into a memory channel wakes
two tasks for it: trio's own and the receiver. Here the thread puts the item down and goes on; only a receiver that
waits is woken, by an eventfd, and only when there is no room does the thread wait.

Rests on the GIL: each side first writes what the other looks at, then looks itself, so that one of them sees the other.
"""

import contextlib
import os
import threading
import weakref
from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class HandOff(Generic[T]):
    """One thread gives, one task receives, as from a memory channel. room: of how many items, at least 1."""

    def __init__(self, room: int) -> None:
        self._room = max(1, room)
        self._items: deque[T] = deque()
        self._waits = False  # the receiver, for the bell
        self._ended = False
        self._taken = threading.Event()  # not set while the thread waits for room
        self._taken.set()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._bell)

    # ------------------------------------------------------------------------------------------------- in the thread

    def give(self, item: T) -> None:
        """Put an item down; waits while there is no room. After `end` it is nobody's."""
        while len(self._items) >= self._room and not self._ended:
            self._taken.clear()
            if len(self._items) >= self._room and not self._ended:
                self._taken.wait()
        self._items.append(item)
        if self._waits:
            self._ring()

    @property
    def ready(self) -> bool:
        """The receiver has taken everything: it waits, or is at work on the last item."""
        return not self._items

    # ------------------------------------------------------------------------------------------------------ in trio

    async def receive(self) -> T:
        """The next item; EndOfChannel behind the last one."""
        if self._items:
            await trio.lowlevel.checkpoint()
        while not self._items:
            if self._ended:
                raise trio.EndOfChannel
            await self._wait()
        return self._take()

    def receive_nowait(self) -> T:
        """The next item; WouldBlock when there is none."""
        if not self._items:
            raise trio.WouldBlock
        return self._take()

    def end(self) -> None:
        """Nothing is given any more: the receiver gets what is there, a thread that waits for room goes on."""
        self._ended = True
        self._taken.set()
        self._ring()

    def _take(self) -> T:
        item = self._items.popleft()
        if not self._taken.is_set():
            self._taken.set()
        return item

    async def _wait(self) -> None:
        self._waits = True
        try:
            if not self._items and not self._ended:
                await trio.lowlevel.wait_readable(self._bell)
        finally:
            self._waits = False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def _ring(self) -> None:
        self._waits = False
        os.eventfd_write(self._bell, 1)
