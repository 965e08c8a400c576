"""The numbers of all workers as one, over deaths. Pure.

A counter must not fall while the gateway lives, or whoever takes its rate sees a restart. So what a worker had counted
when it was last asked stays in the sum after it has died, its gauges do not; and one that does not answer now counts
with what it said last.
"""

from collections.abc import Mapping

import msgspec

from tailrace.metrics.families import FAMILIES, Kind
from tailrace.metrics.snapshot import Snapshot, merged


class Ledger:
    """What each process, known by its pid, said last."""

    def __init__(self) -> None:
        self._last: dict[int, Snapshot] = {}
        self._dead = Snapshot()

    def total(self, told: Mapping[int, Snapshot | None]) -> Snapshot:
        """Of those who live now, by pid, with what they just said (None: nothing), and of those before them."""
        for pid in self._last.keys() - told.keys():
            self._dead = merged([self._dead, counters(self._last.pop(pid))])
        self._last |= {pid: snapshot for pid, snapshot in told.items() if snapshot is not None}
        return merged([self._dead, *self._last.values()])


def counters(snapshot: Snapshot) -> Snapshot:
    """What only rises: counters and histograms."""
    samples = {name: told for name, told in snapshot.samples.items() if FAMILIES[name].kind is Kind.COUNTER}
    return msgspec.structs.replace(snapshot, samples=samples)
