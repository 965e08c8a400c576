"""The numbers of one process at one moment, and those of several processes as one. Pure data: msgspec encodes it.

A worker hands its snapshot to the parent, who merges and shows them: counters and most gauges add up; what all
processes see of the same thing (lag, readiness) is the most of them (families.py).
"""

from collections.abc import Iterable
from operator import add
from typing import NamedTuple

import msgspec

from tailrace.core.histogram import Histogram
from tailrace.metrics.families import FAMILIES, Merge

Labels = tuple[str, ...]


class Sample(NamedTuple):
    """Of a counter or gauge; labels in the family's order."""

    labels: Labels
    value: float


class Distribution(NamedTuple):
    """Of a histogram: counts per bucket, not cumulative; one more than there are bounds."""

    labels: Labels
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Snapshot(msgspec.Struct):
    """By family name. A family without samples is left out."""

    samples: dict[str, list[Sample]] = {}
    distributions: dict[str, list[Distribution]] = {}

    def put(self, name: str, value: float, *labels: str) -> None:
        """Add one value. KeyError for a name that FAMILIES has not, ValueError for the wrong number of labels."""
        _check(name, labels)
        self.samples.setdefault(name, []).append(Sample(labels, float(value)))

    def put_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Add one distribution, as it is now; raises as `put`."""
        _check(name, labels)
        told = Distribution(labels, histogram.bounds, tuple(histogram.counts), histogram.total)
        self.distributions.setdefault(name, []).append(told)

    def value(self, name: str, *labels: str) -> float:
        """The sum of the samples with these labels; 0 when there is none. For tests and the like."""
        return sum(sample.value for sample in self.samples.get(name, ()) if sample.labels == labels)


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several processes'."""
    values: dict[str, dict[Labels, float]] = {}
    spread: dict[str, dict[Labels, Distribution]] = {}
    for snapshot in snapshots:
        for name, samples in snapshot.samples.items():
            _take(values.setdefault(name, {}), samples, most=FAMILIES[name].merge is Merge.MOST)
        for name, distributions in snapshot.distributions.items():
            known = spread.setdefault(name, {})
            for told in distributions:
                known[told.labels] = _added(known[told.labels], told) if told.labels in known else told
    return Snapshot(
        {name: [Sample(labels, value) for labels, value in known.items()] for name, known in values.items()},
        {name: list(known.values()) for name, known in spread.items()},
    )


def _check(name: str, labels: Labels) -> None:
    if len(labels) != len(FAMILIES[name].labels):
        raise ValueError(f"{name} has the labels {FAMILIES[name].labels}, not {labels}")


def _take(known: dict[Labels, float], samples: Iterable[Sample], most: bool) -> None:
    for labels, value in samples:
        if labels not in known:
            known[labels] = value
        else:
            known[labels] = max(known[labels], value) if most else known[labels] + value


def _added(one: Distribution, other: Distribution) -> Distribution:
    return one._replace(counts=tuple(map(add, one.counts, other.counts)), total=one.total + other.total)
