"""When something is over for many: one task, and a heap with an entry for each.

A deadline may be moved or taken back at any time; what that leaves in the heap is dropped when its time comes, or when
it outgrows what is still wanted, so that the heap stays of the size of those who wait.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

LOOK_SECONDS = 30.0  # a wall clock may be put right, or the machine sleep
SLACK = 64  # entries of no use that are not worth the trouble
TURN = 100  # deadlines that are met before others have their turn in the loop


class Deadlines(Generic[T]):
    """clock: seconds, of whatever clock the deadlines are of. due: is told whose time is up, once."""

    def __init__(self, clock: Callable[[], float], due: Callable[[T], None]) -> None:
        self._clock = clock
        self._due = due
        self._at: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()  # what is due at the same time needs no order of its own
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._at)

    def set(self, owner: T, at: float) -> None:
        """Instead of the deadline it has, if any."""
        self._at[owner] = at
        self._push(at, owner)
        self._clear_out()
        if self._heap[0][0] == at:
            self._changed.set()

    def discard(self, owner: T) -> None:
        """It has none any more."""
        if self._at.pop(owner, None) is not None:
            self._clear_out()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._meet()
            wait = min(self._heap[0][0] - self._clock(), LOOK_SECONDS) if self._heap else LOOK_SECONDS
            with trio.move_on_after(max(0.0, wait)):
                await self._changed.wait()
            self._changed = trio.Event()

    async def _meet(self) -> None:
        met = 0
        while self._heap and self._heap[0][0] <= self._clock():
            at, _, owner = heapq.heappop(self._heap)
            if self._at.get(owner) == at:
                del self._at[owner]
                self._due(owner)
                met += 1
                if met % TURN == 0:
                    await trio.lowlevel.checkpoint()

    def _clear_out(self) -> None:
        """An entry of no use holds its owner, which may have gone hours before its time."""
        if len(self._heap) > 2 * len(self._at) + SLACK:
            self._heap = []
            for owner, at in self._at.items():
                self._push(at, owner)

    def _push(self, at: float, owner: T) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), owner))
