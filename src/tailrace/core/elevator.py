"""Which partitions are read back, and by which reader: decides, never does. Pure.

- A partition is read by one reader at a time; from where and how far, its `Lane` knows.
- Partitions take turns at the readers, of `lane.TURN_BLOCKS` blocks each.
- A reader is told how far it may read, a few blocks ahead of what is known to have arrived. So what is under way is
  bounded, and reading stops soon after the last who wanted it has gone.

Left out: blocks (`covered` asks what the cache has), and time (who rests is woken by `rested`).
"""

from typing import Generic, TypeVar

import msgspec

from tailrace.core.lane import BEYOND, Covered, Lane, Partition, Plan

WINDOW_BLOCKS = 4  # of one reader, under way to the loop: 1 MiB
# A partition that failed rests 0.5 s, and a topic counts as gone when it was missing for 5 s (docs/protocol.md,
# section 3).
UNKNOWN_LOOKS = 10

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True):
    """What a reader is to do. `partition` None: nothing. `start` None: go on from where it is, by another plan."""

    reader: int
    partition: Partition | None
    start: int | None
    plan: Plan


class Elevator(Generic[T]):
    """`window`: blocks of one reader that may be under way. A ticket T is whatever the caller knows a request by."""

    def __init__(self, readers: int, window: int, covered: Covered) -> None:
        self._lanes: dict[Partition, Lane[T]] = {}
        self._queue: dict[Partition, Lane[T]] = {}  # wanted, without a reader, in the order of their turns
        self._running: dict[int, Lane[T]] = {}
        self._free = list(range(readers))
        self._stopped: set[int] = set()  # readers whose partition was taken from them, and that were not told yet
        self._tired: list[Partition] = []
        self._window = window
        self._covered = covered

    # ------------------------------------------------------------------------------------------------ who wants what

    def want(self, partition: Partition, format: int, offset: int, ticket: T) -> None:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = Lane(partition)
        lane.want(format, offset, ticket)
        self._enqueue(lane)

    def unwant(self, partition: Partition, format: int, offset: int, ticket: T) -> None:
        """Nothing when it was served meanwhile."""
        lane = self._lanes.get(partition)
        if lane is not None:
            lane.unwant(format, offset, ticket)

    def used(self, partition: Partition, format: int, next: int) -> bool:
        """A cached block that ends at `next` is wanted: whether that gives the readers something to do."""
        lane = self._lanes.get(partition)
        if lane is None or lane.reader is None or lane.position != next or format in lane.ahead:
            return False
        lane.read_ahead([format], self._covered)
        return format in lane.ahead

    def forget(self, topic: str) -> list[T]:
        """Everything about the topic; those who waited."""
        gone = [lane for lane in self._lanes.values() if lane.partition.topic == topic]
        for lane in gone:
            self._release(lane)
            self._queue.pop(lane.partition, None)
            del self._lanes[lane.partition]
        return [ticket for lane in gone for ticket in _all(lane.take(0, BEYOND))]

    # -------------------------------------------------------------------------------------------- what the readers say

    def arrived(
        self, partition: Partition, reader: int | None, start: int, next: int, format_bytes: int, formats: list[int]
    ) -> dict[int, list[T]]:
        """A block of start <= offset < next: those it serves, by format. `reader` None: it is elsewhere by now."""
        lane = self._lanes.get(partition)
        if lane is None:
            return {}
        served = lane.take(start, next, formats)
        lane.unknown = 0
        if lane.end is not None and next > lane.end:
            lane.end = None
        lane.adapt(start, next, format_bytes)
        if reader is not None:
            lane.reached(next, [format for format, tickets in served.items() if tickets], self._covered)
        return served

    def ended(self, partition: Partition, reader: int, end: int) -> dict[int, list[T]]:
        """The log has nothing from `end` on: those who wait for exactly that, by format."""
        lane = self._lanes.get(partition)
        if lane is None:
            return {}
        lane.end = end
        lane.unknown = 0
        self._leave(lane, reader)
        return lane.take(end, end + 1)

    def outside(
        self, partition: Partition, reader: int, offset: int, beginning: int, end: int
    ) -> tuple[list[T], list[T]]:
        """The broker has no `offset`, and its log is beginning..end: those below it, and those beyond it."""
        lane = self._lanes.get(partition)
        if lane is None:
            return [], []
        below = _all(lane.take(0, beginning))
        beyond = _all(lane.take(offset, BEYOND)) if offset > end else []
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
        lane.unknown = lane.unknown + 1 if unknown else 0
        return _all(lane.take(0, BEYOND)) if lane.unknown >= UNKNOWN_LOOKS else []

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
        """What the readers are to do that they were not told before."""
        self._queue = {partition: lane for partition, lane in self._queue.items() if lane.wanted}
        orders = [order for lane in list(self._running.values()) if (order := self._proceed(lane)) is not None]
        while self._free and self._queue:
            lane = self._queue.pop(next(iter(self._queue)))
            orders.append(self._begin(lane, self._free.pop()))
        orders += [Order(reader, None, None, Plan(0)) for reader in self._stopped]
        self._stopped.clear()
        return orders

    def _proceed(self, lane: Lane[T]) -> Order | None:
        others_wait = len(self._queue) > len(self._free)
        if others_wait and (lane.left <= 0 or not (lane.wanted or lane.ahead)):
            self._release(lane)
            return None
        before = lane.plan
        start = lane.proceed(self._window, self._covered)
        assert lane.reader is not None
        assert lane.plan is not None
        return None if lane.plan == before and start is None else Order(lane.reader, lane.partition, start, lane.plan)

    def _begin(self, lane: Lane[T], reader: int) -> Order:
        self._stopped.discard(reader)
        self._running[reader] = lane
        start = lane.begin(reader, self._window, self._covered)
        assert lane.plan is not None
        return Order(reader, lane.partition, start, lane.plan)

    def _enqueue(self, lane: Lane[T]) -> None:
        if lane.reader is None and not lane.resting and lane.wanted:
            self._queue.setdefault(lane.partition, lane)

    def _leave(self, lane: Lane[T], reader: int) -> None:
        if lane.reader == reader:
            self._release(lane)

    def _release(self, lane: Lane[T]) -> None:
        if lane.reader is None:
            return
        self._stopped.add(lane.reader)
        self._free.append(lane.reader)
        del self._running[lane.reader]
        lane.leave()
        self._enqueue(lane)


def _all(tickets: dict[int, list[T]]) -> list[T]:
    return [ticket for each in tickets.values() for ticket in each]
