"""How much the writers of all connections do between two looks at the sockets.

When a burst has left five thousand connections behind, their sockets become writable together, and the loop runs every
writer that woke before it looks for a ping again: 0.9 s were measured. So only some go on in one round of the loop; the
others wait in line, and the next round is theirs.
"""

import trio

WRITERS = 32  # in one round: 128 KiB each, about 3 ms


class Turns:
    """One for each run of the event loop: see `turns`."""

    __slots__ = ("_counting", "_left", "_line")

    def __init__(self) -> None:
        self._left = WRITERS
        self._counting = False
        self._line = trio.lowlevel.ParkingLot()

    async def take(self) -> None:
        """Wait for a turn; no wait, and no checkpoint, while few want one."""
        if not self._counting:
            self._counting = True
            trio.lowlevel.spawn_system_task(self._count_rounds)
        if self._left:
            self._left -= 1
        else:
            await self._line.park()

    async def _count_rounds(self) -> None:
        """Runs once in every round, until one in which nobody waited."""
        while True:
            woken = self._line.unpark(count=WRITERS)
            self._left = WRITERS - len(woken)
            if not woken:
                self._counting = False
                return
            await trio.lowlevel.checkpoint()


_turns: trio.lowlevel.RunVar[Turns] = trio.lowlevel.RunVar("tailrace turns")


def turns() -> Turns:
    """Those of this run of the event loop."""
    try:
        return _turns.get()
    except LookupError:
        made = Turns()
        _turns.set(made)
        return made
