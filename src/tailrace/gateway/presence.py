"""Waiting for an answer on behalf of clients that may leave meanwhile: what nobody waits for is given up.

Most answers come within milliseconds, so nothing is spent on the watch for one of them: all who wait are looked at
together, every LOOK_SECONDS, by one task that is there while somebody waits.
"""

import select
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

LOOK_SECONDS = 0.5
_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Gone(Exception):
    """The client left before there was an answer."""


class Presence:
    """Of those whose handshakes wait for an answer."""

    def __init__(self) -> None:
        self._waiting: dict[int, trio.CancelScope] = {}  # by their sockets' descriptors
        self._looking = False

    async def meanwhile(self, sock: trio.socket.SocketType, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns or raises; `ask` is cancelled, and Gone raised, when the client ends the connection first.

        What comes from it meanwhile is left to be read.
        """
        descriptor = sock.fileno()
        with trio.CancelScope() as scope:
            self._waiting[descriptor] = scope
            if not self._looking:
                self._looking = True
                trio.lowlevel.spawn_system_task(self._look)
            try:
                return await ask()
            finally:
                del self._waiting[descriptor]
        raise Gone

    async def _look(self) -> None:
        """Until nobody waits."""
        while self._waiting:
            await trio.sleep(LOOK_SECONDS)
            who_left = select.poll()
            for descriptor in self._waiting:
                who_left.register(descriptor, select.POLLRDHUP)
            for descriptor, events in who_left.poll(0):
                if events & _LEFT:
                    self._waiting[descriptor].cancel()
        self._looking = False
