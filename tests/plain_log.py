"""A Kafka log as a dict, and a reader of it without threads: what `kafka.reader` does, a block at a step."""

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping

from tests.plain_record import PlainRecord

from tailrace.core.cutting import Block, Cutter
from tailrace.core.encode import Encoder
from tailrace.core.lane import Partition
from tailrace.kafka.run import Arrived, Ended, Event, Failed, Outside, Run

ENCODER = Encoder("orders", max_record_bytes=1_000_000)


def records(*offsets: int, value: bytes = b"1") -> deque[PlainRecord]:
    return deque(PlainRecord(0, each, value) for each in offsets)


class PlainLog:
    """Records at `offsets`, of which `value` tells; `beginning` <= offset < `end`; up to `uncommitted` they are taken.
    `failing`: what a look at it says instead."""

    def __init__(self, count: int = 0, value: bytes = b"1") -> None:
        self.offsets = list(range(count))
        self._values = [(0, value)]
        self.beginning = 0
        self.end = self.uncommitted = count
        self.failing: Failed | None = None

    def append(self, count: int, value: bytes = b"1") -> None:
        """Commits everything."""
        self._values.append((self.uncommitted, value))
        self.offsets += range(self.uncommitted, self.uncommitted + count)
        self.end = self.uncommitted = self.uncommitted + count

    def hold(self, count: int) -> None:
        """An open transaction at the end."""
        self.uncommitted += count

    def compact(self, start: int, next: int) -> None:
        del self.offsets[bisect_left(self.offsets, start) : bisect_left(self.offsets, next)]

    def retain(self, beginning: int) -> None:
        self.beginning = max(self.beginning, min(beginning, self.end))
        self.compact(0, self.beginning)

    def count(self, start: int, next: int) -> int:
        return bisect_left(self.offsets, next) - bisect_left(self.offsets, start)

    def since(self, offset: int, at_most: int) -> deque[PlainRecord]:
        at = bisect_left(self.offsets, offset)
        return deque(PlainRecord(0, each, self._value(each)) for each in self.offsets[at : at + at_most])

    def _value(self, offset: int) -> bytes:
        return next(value for start, value in reversed(self._values) if start <= offset)


class PlainReader:
    """`wanted`: what it shall read; `step` reads one block of it."""

    def __init__(self, logs: Mapping[Partition, PlainLog]) -> None:
        self._logs = logs
        self._run: Run | None = None
        self._cutter: Cutter | None = None
        self.wanted: Run | None = None
        self.blocks: list[tuple[Partition, Block]] = []
        self.seeks = 0

    def step(self) -> Event | None:
        """What came of it; None: nothing to do."""
        if self.wanted is not self._run:
            self._run = self.wanted
            self._cutter = self._run and Cutter(0, self._run.start, self._run.encoder)
            self.seeks += self._run is not None
        if self._run is None or self._cutter is None or self._cutter.position >= self._run.plan.until:
            return None
        event = self._read(self._run, self._cutter, self._logs[self._run.place])
        if isinstance(event, Arrived | Ended) and event.block is not None:
            self.blocks.append((self._run.place, event.block))
        if not isinstance(event, Arrived):
            self._cutter = None
        return event

    def _read(self, run: Run, cutter: Cutter, log: PlainLog) -> Event:
        if log.failing is not None:
            return Failed(run, log.failing.reason, log.failing.unknown)
        if not log.beginning <= cutter.position <= log.uncommitted:
            return Outside(run, cutter.position, log.beginning, log.end)
        cutter.open(run.plan.formats, run.plan.stride)
        waiting = log.since(cutter.position, run.plan.stride + 1)
        if (block := cutter.take(waiting, len(waiting))) is not None:
            return Arrived(run, block)
        end = max(log.end, cutter.position)
        return Ended(run, end, cutter.close(end) if end > cutter.position else None)
