"""Who waits for which offsets of one partition, in one format. Pure.

Offsets are kept sorted, so that a block serves everyone whose offset it holds by one slice, and the lowest offset
from any place on is one bisection away. Those who wait for the same offset share one entry.
"""

from bisect import bisect_left, insort
from typing import Generic, TypeVar

T = TypeVar("T")


class Wants(Generic[T]):
    """Waiting tickets by offset; a ticket is whatever the caller recognises its request by."""

    __slots__ = ("_offsets", "_tickets")

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._tickets: dict[int, set[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._offsets)

    def add(self, offset: int, ticket: T) -> None:
        waiting = self._tickets.get(offset)
        if waiting is None:
            waiting = self._tickets[offset] = set()
            insort(self._offsets, offset)
        waiting.add(ticket)

    def discard(self, offset: int, ticket: T) -> None:
        """Nothing when it does not wait (any more)."""
        waiting = self._tickets.get(offset)
        if waiting is None:
            return
        waiting.discard(ticket)
        if not waiting:
            del self._tickets[offset]
            del self._offsets[bisect_left(self._offsets, offset)]

    def first(self, start: int) -> int | None:
        """The lowest offset wanted that is not below `start`."""
        at = bisect_left(self._offsets, start)
        return self._offsets[at] if at < len(self._offsets) else None

    def take(self, start: int, next: int) -> list[T]:
        """Remove everyone whose offset is in start <= offset < next, lowest first."""
        low, high = bisect_left(self._offsets, start), bisect_left(self._offsets, next)
        taken = [ticket for offset in self._offsets[low:high] for ticket in self._tickets.pop(offset)]
        del self._offsets[low:high]
        return taken
