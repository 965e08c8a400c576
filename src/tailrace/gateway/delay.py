"""From the record's Kafka timestamp to the socket: how long that took, for each delivery to a live subscriber.

Nothing is done per record: of each step that enters a tail a few timestamps are kept, and whatever a turn delivered is
spread over those of the steps under way. Who is behind or catching up is left out: his delay is his own, and his lag
says it. The clocks are two, the producer's and ours; a record from the future counts as no delay.
"""

from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from tailrace.core.histogram import Histogram

PART_RECORDS = 128  # of a step, for which one timestamp stands: they mostly came within milliseconds
NO_TIMESTAMP = 0  # Message.timestamp()'s type for a record that has none


class _Step(msgspec.Struct, frozen=True, gc=False):
    """Records of a tail up to the sequence number `end`."""

    end: int
    records: int
    seconds: list[float]


@cache
def chosen(records: int) -> tuple[int, ...]:
    """Which of so many are looked at: the middle one of each of equal parts."""
    parts = -(-records // PART_RECORDS)
    return tuple(records * (2 * part + 1) // (2 * parts) for part in range(parts))


class Delays:
    """Of one tail's deliveries, into the histogram."""

    __slots__ = ("_histogram", "_under_way")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._under_way: deque[_Step] = deque()

    def entered(self, end: int, records: Sequence[Any]) -> None:
        """These have entered the tail, whose next sequence number is now `end`."""
        if not records:
            return
        seconds = []
        for at in chosen(len(records)):
            kind, ms = records[at].timestamp()
            if kind != NO_TIMESTAMP:
                seconds.append(ms / 1000)
        self._under_way.append(_Step(end, len(records), seconds))

    def delivered(self, count: int, offered: int, now: float) -> None:
        """So many deliveries were made in a turn, after which everything before `offered` has been offered to all.
        now: epoch seconds."""
        steps, left = self._under_way, count
        if len(steps) == 1:  # nearly always
            self._observe(steps[0], count, now)
            if steps[0].end <= offered:
                steps.clear()
            return
        records = sum(step.records for step in steps)
        for step in steps if count > 0 else ():
            share = left if step is steps[-1] else count * step.records // records
            left -= share
            self._observe(step, share, now)
        while steps and steps[0].end <= offered:
            steps.popleft()

    def _observe(self, step: _Step, count: int, now: float) -> None:
        for number, seconds in enumerate(step.seconds):
            several = count // (len(step.seconds) - number)
            count -= several
            if several:
                self._histogram.observe(max(0.0, now - seconds), several)
