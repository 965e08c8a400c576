"""A snapshot in the text format that Prometheus reads; the only user of prometheus_client.

The library's registry and counters are left out: they count in Python and lock for each sample, and here everything
is counted already. Called in a thread for large snapshots: a line takes some microseconds.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from tailrace.metrics.families import FAMILIES, Family, Kind
from tailrace.metrics.snapshot import Distribution, Sample, Snapshot

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def exposition(snapshot: Snapshot) -> bytes:
    """The body of `/metrics`; its Content-Type is CONTENT_TYPE."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(snapshot))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for name, family in FAMILIES.items():
            if family.kind is Kind.HISTOGRAM:
                yield _histogram(family, self._snapshot.distributions.get(name, ()))
            else:
                yield _simple(family, self._snapshot.samples.get(name, ()))


def _simple(family: Family, samples: Iterable[Sample]) -> Metric:
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, distributions: Iterable[Distribution]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, bounds, counts, total in distributions:
        limits = [*map(floatToGoString, bounds), "+Inf"]
        metric.add_metric(labels, list(zip(limits, accumulate(counts), strict=True)), sum_value=total)
    return metric
