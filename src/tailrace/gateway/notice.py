"""Notice to leave: the first SIGTERM or SIGINT. Those after it change nothing.

A drain has its time (`shutdown.timeout`), and whoever cannot wait has SIGKILL. Signals that nobody takes are not lost
but raised again by trio once it listens no more, so that a second one made of every drain a death by signal: here they
are taken until the end. In a terminal they come in pairs: Ctrl-C goes to workers too, whose parent then tells them.
"""

import contextlib
import signal
from collections.abc import AsyncIterator

import trio


class Notice:
    """What `notices` has heard."""

    def __init__(self) -> None:
        self._came = trio.Event()
        self._number = signal.SIGTERM

    async def wait(self) -> str:
        """Until the first signal; its name."""
        await self._came.wait()
        return self._number.name

    async def listen(self, signals: AsyncIterator[int]) -> None:
        """Take every signal, until cancelled."""
        async for number in signals:
            if not self._came.is_set():
                self._number = signal.Signals(number)
                self._came.set()


@contextlib.asynccontextmanager
async def notices() -> AsyncIterator[Notice]:
    """Take these signals within the block. Only in the main thread."""
    notice = Notice()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notice.listen, signals)
            yield notice
            nursery.cancel_scope.cancel()
