"""Batches from a thread to a task, over a bounded memory channel of trio's, without a round trip for each.

`trio.from_thread` makes the thread wait until trio has taken the item, and `run_sync_soon` wakes two tasks for it:
trio's own and the receiver. Here the thread puts the item into the channel itself and goes on; only a receiver that
waits is woken, by an eventfd, and only when there is no room does the thread wait.

Rests on two things. Nobody ever waits inside the channel, which is then a deque with a bound: trio's scheduler is not
touched from the thread (a test holds trio to that). And the GIL: each side first writes what the other looks at, then
looks itself, so that one of them sees the other.
"""

import os
import threading
import weakref
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class HandOff(Generic[T]):
    """One thread gives, one task receives. room: of how many items, at least 1."""

    def __init__(self, room: int) -> None:
        self._send, self._receive = trio.open_memory_channel[T](max(1, room))
        self._given = self._received = 0  # how many; each is written by one side
        self._receiver_waits = False  # for the bell
        self._ended = False
        self._thread_waits = False  # for room
        self._taken = threading.Event()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._bell)

    # ------------------------------------------------------------------------------------------------- in the thread

    def give(self, item: T) -> None:
        """Put an item down; waits while there is no room. After `end` it is nobody's."""
        while not self._put(item):
            self._taken.clear()
            self._thread_waits = True
            if self._put(item):
                break
            self._taken.wait()
        self._thread_waits = False
        if self._receiver_waits:
            self._ring()

    def _put(self, item: T) -> bool:
        try:
            self._send.send_nowait(item)
            self._given += 1
        except trio.WouldBlock:
            return self._ended
        except trio.ClosedResourceError:
            pass
        return True

    @property
    def ready(self) -> bool:
        """The receiver has taken everything: it waits, or is at work on the last item."""
        return self._given == self._received

    # ------------------------------------------------------------------------------------------------------ in trio

    async def receive(self) -> T:
        """The next item; EndOfChannel behind the last one."""
        if self._given != self._received:
            await trio.lowlevel.checkpoint()
        while self._given == self._received and not self._ended:
            self._receiver_waits = True
            try:
                if self._given == self._received and not self._ended:
                    await trio.lowlevel.wait_readable(self._bell)
            finally:
                self._receiver_waits = False
            self._silence()
        return self.receive_nowait()

    def receive_nowait(self) -> T:
        """The next item; WouldBlock when there is none, EndOfChannel behind the last one."""
        if self._given == self._received and not self._ended:
            raise trio.WouldBlock  # or the thread is between putting an item down and counting it
        item = self._receive.receive_nowait()
        self._received += 1
        if self._thread_waits:
            self._taken.set()
        return item

    def end(self) -> None:
        """Nothing is given any more: the receiver gets what is there, a thread that waits for room goes on."""
        self._ended = True
        self._send.close()
        self._taken.set()
        self._ring()

    def _ring(self) -> None:
        self._receiver_waits = False
        os.eventfd_write(self._bell, 1)

    def _silence(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass  # rung before it waited, and seen then
