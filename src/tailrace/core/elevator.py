"""Which partitions are read back, by which reader, from where, and how far: decides, never does. Pure.

- A partition is read by one reader at a time, like an elevator: upwards from the lowest offset wanted, on and on while
  somebody wants what comes next, seeking only over stretches that nobody wants, and down again when nobody is above.
- While a block is wanted, the one behind it is read too (once): whoever reads it will ask for that next.
- Partitions take turns at the readers, TURN_BLOCKS each; within one partition, places that are far apart do.
- A reader is told how far it may read (`until`), a few blocks ahead of what is known to have arrived, and in which
  formats. So what is under way is bounded, and reading stops soon after the last who wanted it has gone.

Left out: cached blocks (`covered` asks for them), time (who rests is woken by `rested`), and the blocks themselves.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from tailrace.core.cutting import CAP_BYTES, STRIDE
from tailrace.core.wants import Wants

TURN_BLOCKS = 16
WINDOW_BLOCKS = 4  # of one reader, under way to the loop: 1 MiB
# A topic counts as gone when it was missing for 5 s; a partition that failed rests 0.5 s (docs/protocol.md, section 3).
UNKNOWN_LOOKS = 10

T = TypeVar("T")


class Partition(NamedTuple):
    """A partition of a topic; `generation` changes when the topic is deleted and created again."""

    topic: str
    generation: int
    number: int


class Order(msgspec.Struct, frozen=True):
    """What a reader is to do. `partition` None: nothing. `start` None: go on from where it is.

    It reads block after block while it has not reached `until`, each up to the next multiple of `stride`.
    """

    reader: int
    partition: Partition | None
    start: int | None = None
    until: int = 0
    stride: int = STRIDE
    formats: frozenset[int] = frozenset()


class _Lane(Generic[T]):
    """One partition: who wants what of it, and where its reader is."""

    __slots__ = (
        "ahead", "beginning", "end", "left", "order", "partition", "position", "reader", "resting", "stride",
        "unknown", "wants",
    )  # fmt: skip

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.wants: dict[int, Wants[T]] = {}
        self.stride = STRIDE
        self.beginning = 0  # the log's, as last heard
        self.end: int | None = None  # where the log was seen to end, and nothing beyond it since
        self.unknown = 0  # looks in a row that found no such partition
        self.resting = False
        # While it has a reader:
        self.reader: int | None = None
        self.order: Order | None = None  # the last one
        self.position = 0  # the next block to arrive begins here
        self.left = 0  # blocks of its turn
        self.ahead: set[int] = set()  # formats in which the block at `position` is read although nobody wants it yet

    @property
    def wanted(self) -> bool:
        return any(self.wants.values())

    def first(self, start: int) -> int | None:
        """The lowest offset wanted from `start` on, in any format."""
        found = [offset for each in self.wants.values() if (offset := each.first(start)) is not None]
        return min(found, default=None)

    def formats(self, until: int) -> frozenset[int]:
        """Those wanted between the reader's position and `until`, or in the block behind the next one."""
        until = max(until, self.position + 2 * self.stride)
        firsts = ((each, wants.first(self.position)) for each, wants in self.wants.items())
        return frozenset(each for each, first in firsts if first is not None and first < until) | self.ahead

    def take(self, start: int, next: int) -> list[T]:
        return [ticket for each in self.wants.values() for ticket in each.take(start, next)]


class Elevator(Generic[T]):
    """`covered(partition, format, offset)`: where the cached block that holds the offset ends, or None."""

    def __init__(self, readers: int, window: int, covered: Callable[[Partition, int, int], int | None]) -> None:
        self._lanes: dict[Partition, _Lane[T]] = {}
        self._queue: dict[Partition, _Lane[T]] = {}  # wanted, without a reader, in the order of their turns
        self._running: dict[int, _Lane[T]] = {}
        self._free = list(range(readers))
        self._stopped: set[int] = set()  # readers whose partition was taken from them, and that were not told yet
        self._tired: list[Partition] = []
        self._window = window
        self._covered = covered

    # ------------------------------------------------------------------------------------------------ who wants what

    def want(self, partition: Partition, format: int, offset: int, ticket: T) -> None:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane(partition)
        if format not in lane.wants:
            lane.wants[format] = Wants()
        lane.wants[format].add(offset, ticket)
        self._enqueue(lane)

    def unwant(self, partition: Partition, format: int, offset: int, ticket: T) -> None:
        lane = self._lanes.get(partition)
        if lane is None or format not in lane.wants:
            return
        lane.wants[format].discard(offset, ticket)
        if not lane.wanted:
            self._queue.pop(partition, None)

    def used(self, partition: Partition, format: int, next: int) -> bool:
        """A cached block that ends at `next` is wanted: whether that gives the readers something new to do."""
        lane = self._lanes.get(partition)
        if lane is None or lane.reader is None or lane.position != next or format in lane.ahead:
            return False
        self._read_ahead(lane, [format])
        return format in lane.ahead

    def forget(self, topic: str) -> list[T]:
        """Everything about the topic; those who waited."""
        gone = [lane for lane in self._lanes.values() if lane.partition.topic == topic]
        for lane in gone:
            self._release(lane)
            self._queue.pop(lane.partition, None)
            del self._lanes[lane.partition]
        return [ticket for lane in gone for each in lane.wants.values() for ticket in each.take(0, _BEYOND)]

    # -------------------------------------------------------------------------------------------- what the readers say

    def arrived(
        self, partition: Partition, reader: int | None, start: int, next: int, format_bytes: int, formats: list[int]
    ) -> dict[int, list[T]]:
        """A block of start <= offset < next: those it serves, by format. `reader` None: one that is elsewhere now."""
        lane = self._lanes.get(partition)
        if lane is None:
            return {}
        served = {each: lane.wants[each].take(start, next) for each in formats if each in lane.wants}
        lane.unknown = 0
        if lane.end is not None and next > lane.end:
            lane.end = None
        _adapt(lane, start, next, format_bytes)
        if reader is not None:
            lane.position = next
            lane.left -= 1
            lane.ahead.clear()
            self._read_ahead(lane, [each for each, tickets in served.items() if tickets])
        return served

    def ended(self, partition: Partition, reader: int, end: int) -> dict[int, list[T]]:
        """The log has nothing from `end` on: those who wait for exactly that, by format."""
        lane = self._lanes.get(partition)
        if lane is None:
            return {}
        lane.end = end
        lane.unknown = 0
        self._leave(lane, reader)
        return {each: wants.take(end, end + 1) for each, wants in lane.wants.items()}

    def outside(
        self, partition: Partition, reader: int, offset: int, beginning: int, end: int
    ) -> tuple[list[T], list[T]]:
        """The broker has no `offset`, and its log is beginning..end: those below it, and those beyond it."""
        lane = self._lanes.get(partition)
        if lane is None:
            return [], []
        below, beyond = lane.take(0, beginning), lane.take(offset, _BEYOND) if offset > end else []
        if beginning <= lane.beginning and not below and not beyond:
            self.failed(partition, reader)  # the log has moved meanwhile; not to be asked again at once
        lane.beginning = beginning
        self._leave(lane, reader)
        return below, beyond

    def failed(self, partition: Partition, reader: int, unknown: bool = False) -> list[T]:
        """It could not be read; it rests until `rested`. With `unknown`, those who need not hope any longer."""
        lane = self._lanes.get(partition)
        if lane is None:
            return []
        lane.resting = True
        self._tired.append(partition)
        self._leave(lane, reader)
        self._queue.pop(partition, None)
        lane.unknown = lane.unknown + 1 if unknown else 0
        return lane.take(0, _BEYOND) if lane.unknown >= UNKNOWN_LOOKS else []

    def take_tired(self) -> list[Partition]:
        """Those that rest since this was called last: `rested` is to be called for each after a while."""
        tired, self._tired = self._tired, []
        return tired

    def rested(self, partition: Partition) -> None:
        lane = self._lanes.get(partition)
        if lane is not None:
            lane.resting = False
            self._enqueue(lane)

    def idle(self, partition: Partition, reader: int) -> None:
        """The reader waits there for a while already; it is freed if nobody wants anything."""
        lane = self._lanes.get(partition)
        if lane is not None and not lane.wanted and not lane.ahead:
            self._leave(lane, reader)

    # ------------------------------------------------------------------------------------------------------- decisions

    def decide(self) -> list[Order]:
        """What the readers are to do now that is new to them."""
        orders = []
        for lane in list(self._running.values()):
            if len(self._queue) > len(self._free) and (lane.left <= 0 or self._is_done(lane)):
                self._release(lane)
            elif (order := self._proceed(lane)) != lane.order:
                lane.order = order
                orders.append(order)
        while self._free and self._queue:
            lane = self._queue.pop(next(iter(self._queue)))
            orders.append(self._begin(lane, self._free.pop()))
        orders += [Order(reader, None) for reader in self._stopped]
        self._stopped.clear()
        return orders

    def _begin(self, lane: _Lane[T], reader: int) -> Order:
        self._stopped.discard(reader)
        self._running[reader] = lane
        lane.reader = reader
        lane.left = TURN_BLOCKS
        lane.ahead.clear()
        target = lane.first(0)
        assert target is not None
        lane.order = self._jump(lane, target)
        return lane.order

    def _proceed(self, lane: _Lane[T]) -> Order:
        """The next order of a lane that keeps its reader."""
        turned = lane.left <= 0
        target = self._target(lane)
        if target is not None and lane.position <= target < lane.position + 2 * lane.stride:
            return self._go_on(lane, self._reach(lane))
        if lane.ahead and not (turned and target is not None):
            return self._go_on(lane, lane.position + 1)
        return self._go_on(lane, lane.position) if target is None else self._jump(lane, target)

    def _target(self, lane: _Lane[T]) -> int | None:
        """The next offset to see to: the lowest above, or else the lowest of all."""
        above = lane.position
        if lane.left <= 0:
            # Others on this partition have waited a turn for the one that goes on and on: they are first now.
            lane.left = TURN_BLOCKS
            above += TURN_BLOCKS * lane.stride
        target = lane.first(above)
        return lane.first(0) if target is None else target

    def _jump(self, lane: _Lane[T], target: int) -> Order:
        start = self._start(lane, target)
        if lane.order is not None and lane.position == start:
            return self._go_on(lane, self._reach(lane))
        lane.position = start
        lane.ahead.clear()
        until = self._reach(lane)
        assert lane.reader is not None
        return Order(lane.reader, lane.partition, start, until, lane.stride, lane.formats(until))

    def _go_on(self, lane: _Lane[T], until: int) -> Order:
        assert lane.reader is not None
        formats = lane.formats(until) if until > lane.position else frozenset()
        return Order(lane.reader, lane.partition, None, until, lane.stride, formats)

    def _reach(self, lane: _Lane[T]) -> int:
        """How far it is wanted without a hole of more than a block, within the window."""
        until = lane.position
        furthest = lane.position + min(self._window, max(1, lane.left)) * lane.stride
        while until < furthest:
            target = lane.first(until)
            if target is None or target >= until + 2 * lane.stride:
                break
            until = target - target % lane.stride + lane.stride
        return max(min(until, furthest), lane.position + 1)

    def _start(self, lane: _Lane[T], target: int) -> int:
        """Where the block that holds `target` begins."""
        if target < lane.beginning or (lane.end is not None and target >= lane.end):
            return target  # the broker shall say what is there
        start = max(target - target % lane.stride, lane.beginning)
        format = next(each for each, wants in lane.wants.items() if wants.first(target) == target)
        while (end := self._covered(lane.partition, format, start)) is not None and end <= target:
            start = end
        return start

    def _is_done(self, lane: _Lane[T]) -> bool:
        return not lane.ahead and not lane.wanted

    def _read_ahead(self, lane: _Lane[T], formats: list[int]) -> None:
        if lane.position != lane.end:
            lane.ahead.update(f for f in formats if self._covered(lane.partition, f, lane.position) is None)

    def _enqueue(self, lane: _Lane[T]) -> None:
        if lane.reader is None and not lane.resting and lane.wanted:
            self._queue.setdefault(lane.partition, lane)

    def _leave(self, lane: _Lane[T], reader: int) -> None:
        if lane.reader == reader:
            self._release(lane)

    def _release(self, lane: _Lane[T]) -> None:
        if lane.reader is None:
            return
        self._stopped.add(lane.reader)
        self._free.append(lane.reader)
        del self._running[lane.reader]
        lane.reader = lane.order = None
        self._enqueue(lane)


_BEYOND = 1 << 63


def _adapt(lane: _Lane[T], start: int, next: int, format_bytes: int) -> None:
    """Large records make small blocks: or a resume at offset 1,023 would read a thousand of them for nothing."""
    if format_bytes >= CAP_BYTES:
        lane.stride = min(lane.stride, 1 << max(0, (next - start).bit_length() - 1))
    elif next - start >= lane.stride and format_bytes * 2 <= CAP_BYTES:
        lane.stride = min(STRIDE, lane.stride * 2)
