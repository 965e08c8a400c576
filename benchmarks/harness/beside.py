"""A benchmark in this process beside its reference: both timed in interleaved rounds, the ratio into `extra_info`.

The ratio is of speeds: 2 means twice as fast as the reference, 0.5 half as fast.
"""

import statistics
import time
from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

ROUND_SECONDS = 0.05
Run = Callable[[], object]


def beside(benchmark: BenchmarkFixture, ours: Run, reference: Run, rounds: int, of: str) -> None:
    """Notes the median ratio, and lets pytest-benchmark time ours. of: what the reference is."""
    times = calls(ours)
    reference_times = calls(reference)
    pairs = [(spent(ours, times), spent(reference, reference_times)) for _ in range(rounds)]
    benchmark.extra_info["reference"] = of
    benchmark.extra_info["reference_seconds"] = statistics.median(other for _, other in pairs)
    benchmark.extra_info["ratio"] = statistics.median(other / own for own, other in pairs)
    benchmark(ours)


def calls(run: Run) -> int:
    """How often it runs in about ROUND_SECONDS."""
    run()
    return max(1, int(ROUND_SECONDS / max(1e-9, spent(run, 1))))


def spent(run: Run, times: int) -> float:
    """CPU seconds of one run, of so many."""
    before = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - before) / times
