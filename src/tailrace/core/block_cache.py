"""Blocks that were read back, bounded in bytes; the one not used for the longest goes first. Pure.

A block covers start <= offset < next of one partition in one format. Blocks of a partition may overlap (each was read
when another one was not there) and may leave holes (nobody wanted those, or they were evicted).
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

# What an entry costs here, beside the block itself: the key, the link, its place in the list.
ENTRY_BYTES = 256


class Block(Protocol):
    """What is asked of a block: tailrace._fanout.Stretch, sealed."""

    @property
    def start(self) -> int: ...
    @property
    def next(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def revoke(self) -> list[Any]: ...


S = TypeVar("S", bound=Hashable)  # the series a block belongs to: a partition of a topic, in a format
B = TypeVar("B", bound=Block)


class BlockCache(Generic[S, B]):
    """`memory_bytes` stays within `max_bytes`, except that the newest block is always kept: somebody waits for it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: dict[tuple[S, int], B] = {}  # in the order of their last use
        self._starts: dict[S, list[int]] = {}
        self.memory_bytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, series: S, offset: int) -> B | None:
        """The block that covers `offset`, which counts as a use of it."""
        block = self._covering(series, offset)
        if block is not None:
            self._blocks[series, block.start] = self._blocks.pop((series, block.start))
        return block

    def covered(self, series: S, offset: int) -> int | None:
        """Where the block that covers `offset` ends; not a use."""
        block = self._covering(series, offset)
        return None if block is None else block.next

    def add(self, series: S, block: B) -> list[Any]:
        """Keeps it unless what is there from the same start covers as much; revokes what has to go for it.

        What `revoke` returned: who is to be told.
        """
        woken: list[Any] = []
        present = self._blocks.get((series, block.start))
        if block.next <= block.start or (present is not None and present.next >= block.next):
            return woken
        if present is not None:
            woken += self._remove(series, block.start)
        self._blocks[series, block.start] = block
        insort(self._starts.setdefault(series, []), block.start)
        self.memory_bytes += block.memory_bytes + ENTRY_BYTES
        while self.memory_bytes > self._max_bytes and len(self._blocks) > 1:
            woken += self._remove(*next(iter(self._blocks)))
        return woken

    def drop(self, chosen: Callable[[S], bool]) -> list[Any]:
        """Revokes every block of these series; as `add`."""
        gone = [(series, start) for series, starts in self._starts.items() if chosen(series) for start in starts]
        return [who for key in gone for who in self._remove(*key)]

    def _covering(self, series: S, offset: int) -> B | None:
        starts = self._starts.get(series)
        at = bisect_right(starts, offset) if starts else 0
        if not starts or not at:
            return None
        block = self._blocks[series, starts[at - 1]]
        return block if offset < block.next else None

    def _remove(self, series: S, start: int) -> list[Any]:
        block = self._blocks.pop((series, start))
        starts = self._starts[series]
        del starts[bisect_left(starts, start)]
        if not starts:
            del self._starts[series]
        self.memory_bytes -= block.memory_bytes + ENTRY_BYTES
        return block.revoke()
