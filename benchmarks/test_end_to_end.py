"""Every scenario of ratios.py on a real broker, for the report of pytest-benchmark.

The time shown is one round's, which says little; what counts is in `extra_info`: both sides, the ratio and its bound. A
lost record fails, a missed bound does not: that is `make check-bench`.
"""

import itertools
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.measuring import Bench
from benchmarks.harness.rounds import Round, judge, play_round
from benchmarks.harness.scenarios import SCENARIOS

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(benchmark: BenchmarkFixture, bench: Bench, rounds: int, name: str) -> None:
    scenario, played, numbers = SCENARIOS[name], list[Round](), itertools.count()
    run = partial(scenario.measure, bench)

    def once() -> None:
        played.append(play_round(scenario, run, "tailrace", "limit", next(numbers)))

    benchmark.pedantic(once, rounds=rounds, iterations=1)  # type: ignore[no-untyped-call]
    outcomes = judge(name, scenario, played)
    for outcome in outcomes:
        benchmark.extra_info[outcome.metric.name] = {
            "tailrace": outcome.subject,
            "limit": outcome.reference,
            "ratio": outcome.counted if outcome.ratios else None,
            "ratios": outcome.ratios,
            "must": outcome.metric.bound,
            "holds": outcome.holds,
            "strangers": outcome.foreign_share,
        }
    assert not any(outcome.flaws for outcome in outcomes), outcomes[0].flaws
