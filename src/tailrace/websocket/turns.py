"""Turns at the event loop, so that many who want it together leave it to others between: so many in so many rounds.

When a burst has left five thousand connections behind, their sockets become writable together, and the loop runs every
writer that woke before it looks for a ping again: 0.9 s were measured. So only some go on in one round of the loop; the
others wait in line, and the next round is theirs. Handshakes take turns of their own (gateway/admission.py).
"""

import trio

WRITERS = 32  # in one round: 128 KiB each, about 3 ms


class Turns:
    """`count` in every `rounds` rounds of the event loop, first come first served. len: how many wait."""

    __slots__ = ("_count", "_counting", "_left", "_line", "_rounds")

    def __init__(self, count: int, rounds: int = 1) -> None:
        self._count = self._left = count
        self._rounds = rounds
        self._counting = False
        self._line = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._line)

    async def take(self) -> None:
        """Wait for a turn; no wait, and no checkpoint, while few want one."""
        if not self.take_nowait():
            await self._line.park()

    def take_nowait(self) -> bool:
        """Whether this round has a turn left, which is the caller's now."""
        if not self._counting:
            self._counting = True
            trio.lowlevel.spawn_system_task(self._count_rounds)
        if not self._left:
            return False
        self._left -= 1
        return True

    async def _count_rounds(self) -> None:
        """Until nobody waits. It begins in the round after the one that it was spawned in."""
        await _rounds(self._rounds - 1)
        while woken := self._line.unpark(count=self._count):
            self._left = self._count - len(woken)
            await _rounds(self._rounds)
        self._left = self._count
        self._counting = False


async def _rounds(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


_turns: trio.lowlevel.RunVar[Turns] = trio.lowlevel.RunVar("tailrace turns")


def turns() -> Turns:
    """The writers' in this run of the event loop."""
    try:
        return _turns.get()
    except LookupError:
        made = Turns(WRITERS)
        _turns.set(made)
        return made
