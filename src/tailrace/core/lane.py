"""One partition that is read back: who wants what of it, where its reader is, and what it is to read next. Pure.

Like an elevator: upwards, on and on while somebody wants what comes next; over stretches that nobody wants by a seek;
and when nobody is above, or those elsewhere have waited a turn, from the lowest offset wanted again. While a block is
wanted the one behind it is read too, once: whoever reads it will ask for that next.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from tailrace.core.cutting import CAP_BYTES, STRIDE
from tailrace.core.wants import Wants

TURN_BLOCKS = 16
BEYOND = 1 << 63
"""Above every offset."""

T = TypeVar("T")


class Partition(NamedTuple):
    """A partition of a topic; `generation` changes when the topic is deleted and created again."""

    topic: str
    generation: int
    number: int


Covered = Callable[[Partition, int, int], int | None]
"""(partition, format, offset) -> where the cached block that holds the offset ends, or None."""


class Plan(msgspec.Struct, frozen=True):
    """Block after block while `until` is not reached, each up to the next multiple of `stride`, in these formats."""

    until: int
    stride: int = STRIDE
    formats: frozenset[int] = frozenset()


class Lane(Generic[T]):
    """What is known of the log: `beginning`, as last heard, and `end`, where it was seen to end and nothing beyond it
    since. `unknown`: looks in a row that found no such partition. `resting`: not to be read just now.

    While it has a `reader`: `position` is where the next block to arrive begins, `plan` what the reader was told last,
    `left` the blocks of its turn, `ahead` the formats in which a block is read although nobody wants it yet.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.beginning = 0
        self.end: int | None = None
        self.unknown = 0
        self.resting = False
        self.reader: int | None = None
        self.position = 0
        self.plan: Plan | None = None
        self.left = 0
        self.ahead: set[int] = set()
        self._wants: dict[int, Wants[T]] = {}
        self._stride = STRIDE

    # ------------------------------------------------------------------------------------------------ who wants what

    def want(self, format: int, offset: int, ticket: T) -> None:
        if format not in self._wants:
            self._wants[format] = Wants()
        self._wants[format].add(offset, ticket)

    def unwant(self, format: int, offset: int, ticket: T) -> None:
        if format in self._wants:
            self._wants[format].discard(offset, ticket)

    @property
    def wanted(self) -> bool:
        return any(self._wants.values())

    def take(self, start: int, next: int, formats: Iterable[int] | None = None) -> dict[int, list[T]]:
        """Those who wait for start <= offset < next, by format; they are served now."""
        chosen = self._wants if formats is None else [each for each in formats if each in self._wants]
        return {each: self._wants[each].take(start, next) for each in chosen}

    # ---------------------------------------------------------------------------------------------- what came back

    def reached(self, next: int, served: Iterable[int], covered: Covered) -> None:
        """Its reader is at `next` now, and the block before it was wanted in the formats `served`."""
        self.position = next
        self.left -= 1
        self.ahead.clear()
        self.read_ahead(served, covered)

    def read_ahead(self, formats: Iterable[int], covered: Covered) -> None:
        if self.position != self.end:
            self.ahead.update(each for each in formats if covered(self.partition, each, self.position) is None)

    def adapt(self, start: int, next: int, format_bytes: int) -> None:
        """Large records make small blocks: or a resume at offset 1,023 would read a thousand of them for nothing."""
        if format_bytes >= CAP_BYTES:
            self._stride = min(self._stride, 1 << max(0, (next - start).bit_length() - 1))
        elif next - start >= self._stride and format_bytes * 2 <= CAP_BYTES:
            self._stride = min(STRIDE, self._stride * 2)

    # ------------------------------------------------------------------------------------------------- what to do next

    def begin(self, reader: int, window: int, covered: Covered) -> int:
        """It has a reader now: where that is to begin. Somebody must want something."""
        target = self._first(0)
        assert target is not None
        self.reader = reader
        self.left = TURN_BLOCKS
        self.position = self._start(target, covered)
        self._go_on(self._reach(window))
        return self.position

    def proceed(self, window: int, covered: Covered) -> int | None:
        """Makes the next plan; returns where it begins, or None to go on from the present place."""
        turned = self.left <= 0
        target = self._target()
        if target is not None and self._is_near(target):
            self._go_on(self._reach(window))
        elif self.ahead and not (turned and target is not None):
            self._go_on(self.position + 1)
        elif target is not None:
            return self._jump(target, window, covered)
        else:
            self._go_on(self.position)
        return None

    def leave(self) -> None:
        """It has no reader any more."""
        self.reader = self.plan = None
        self.ahead.clear()

    def _first(self, start: int) -> int | None:
        """The lowest offset wanted from `start` on, in any format."""
        found = [offset for each in self._wants.values() if (offset := each.first(start)) is not None]
        return min(found, default=None)

    def _target(self) -> int | None:
        """The next offset to see to: the lowest above, or else the lowest of all."""
        above = self.position
        if self.left <= 0:
            # Others on this partition have waited a turn for the one that goes on and on: they are first now.
            self.left = TURN_BLOCKS
            above += TURN_BLOCKS * self._stride
        target = self._first(above)
        return self._first(0) if target is None else target

    def _is_near(self, target: int) -> bool:
        """In the next block, or in the one behind it: reading on is cheaper than a seek."""
        return self.position <= target < self.position + 2 * self._stride

    def _jump(self, target: int, window: int, covered: Covered) -> int | None:
        start = self._start(target, covered)
        stays, self.position = start == self.position, start
        if not stays:
            self.ahead.clear()
        self._go_on(self._reach(window))
        return None if stays else start

    def _start(self, target: int, covered: Covered) -> int:
        """Where the block that holds `target` begins."""
        if target < self.beginning or (self.end is not None and target >= self.end):
            return target  # the broker shall say what is there
        start = max(target - target % self._stride, self.beginning)
        format = next(each for each, wants in self._wants.items() if wants.first(target) == target)
        while (end := covered(self.partition, format, start)) is not None and end <= target:
            start = end
        return start

    def _reach(self, window: int) -> int:
        """How far it is wanted without a hole of more than a block, within the window."""
        until, furthest = self.position, self.position + min(window, max(1, self.left)) * self._stride
        while until < furthest:
            target = self._first(until)
            if target is None or target >= until + 2 * self._stride:
                break
            until = target - target % self._stride + self._stride
        return max(min(until, furthest), self.position + 1)

    def _go_on(self, until: int) -> None:
        formats = self._formats(until) if until > self.position else frozenset()
        self.plan = Plan(until, self._stride, formats)

    def _formats(self, until: int) -> frozenset[int]:
        """Those wanted between here and `until`, or in the block behind the next one."""
        until = max(until, self.position + 2 * self._stride)
        firsts = ((each, wants.first(self.position)) for each, wants in self._wants.items())
        return frozenset(each for each, first in firsts if first is not None and first < until) | self.ahead
