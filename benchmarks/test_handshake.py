"""What opening a connection costs on a real broker, beside the C gateway: CPU of the process, a thousand of them."""

import itertools
import statistics

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.gateways import Shape
from benchmarks.harness.measuring import Bench, idle_cpu

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("shape", [Shape.IDLE, Shape.VALUE])
def test_handshake(benchmark: BenchmarkFixture, bench: Bench, rounds: int, shape: Shape) -> None:
    ours, limit, order = list[float](), list[float](), itertools.count()

    def once() -> None:
        for name in ("tailrace", "limit") if next(order) % 2 else ("limit", "tailrace"):
            measured = idle_cpu(bench, name, shape, 1000)
            (ours if name == "tailrace" else limit).append(measured.values["handshake_us"])

    benchmark.pedantic(once, rounds=rounds, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["handshake_us"] = statistics.median(ours)
    benchmark.extra_info["limit_us"] = statistics.median(limit)
    benchmark.extra_info["ratio"] = statistics.median(theirs / own for own, theirs in zip(ours, limit, strict=True))
