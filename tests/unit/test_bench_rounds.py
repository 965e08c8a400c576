"""Interleaving, ratios and verdicts, without any gateway."""

import pytest
from benchmarks.harness.measuring import Bench, Measurement
from benchmarks.harness.rounds import Round, judge, play, undisturbed
from benchmarks.harness.scenarios import SCENARIOS, Metric, Scenario
from benchmarks.harness.table import table

SPEED = Metric("speed", 0.5, higher_is_better=True, relative=True)
DELAY = Metric("delay", 2.0, relative=True)
MEMORY = Metric("memory", 28)


def measured(gateway: str, value: float, foreign: float | None = 0.0, **flaws: int) -> Measurement:
    return Measurement(gateway, {"speed": value, "delay": value, "memory": value}, flaws, foreign)


def scenario(*metrics: Metric) -> Scenario:
    def never(bench: Bench, gateway: str) -> Measurement:
        raise AssertionError("the tests measure nothing")

    return Scenario("a test", never, metrics)


def pairs(*values: tuple[float, float]) -> list[Round]:
    return [Round(measured("a", subject), measured("b", reference)) for subject, reference in values]


def test_who_goes_first_changes() -> None:
    order: list[str] = []

    def run(name: str) -> Measurement:
        order.append(name)
        return measured(name, len(order))

    rounds = play(scenario(SPEED), run, "a", "b", 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [one.subject.gateway for one in rounds] == ["a", "a", "a"]


def test_absolute_scenario_needs_no_reference() -> None:
    rounds = play(scenario(MEMORY), lambda name: measured(name, 20), "a", "b", 2)
    assert [one.reference for one in rounds] == [None, None]


def test_ratio_is_the_median_of_the_pairs_not_the_ratio_of_medians() -> None:
    (found,) = judge("s", scenario(SPEED), pairs((1, 10), (4, 5), (9, 9)))
    assert found.counted == pytest.approx(0.8)
    assert (found.subject, found.reference) == (4, 9)


@pytest.mark.parametrize(
    ("metric", "value", "holds"),
    [(SPEED, 0.5, True), (SPEED, 0.49, False), (DELAY, 2.0, True), (DELAY, 2.01, False)],
)
def test_bound_is_least_or_most(metric: Metric, value: float, holds: bool) -> None:
    (found,) = judge("s", scenario(metric), pairs((value, 1.0)))
    assert found.holds is holds


def test_absolute_bound_is_held_against_the_figure() -> None:
    rounds = [Round(measured("a", value), None) for value in (20, 30, 27)]
    (found,) = judge("s", scenario(MEMORY), rounds)
    assert (found.counted, found.holds, found.ratios) == (27, True, [])


def test_lost_records_void_a_good_ratio() -> None:
    rounds = [
        Round(measured("a", 9, missing=2), measured("b", 1)),
        Round(measured("a", 9, missing=1), measured("b", 1)),
    ]
    (found,) = judge("s", scenario(SPEED), rounds)
    assert found.flaws == {"missing": 3}
    assert not found.holds


def test_disturbed_run_is_repeated() -> None:
    shares = iter([0.4, 0.05, 0.0])
    found = undisturbed(lambda name: measured(name, 1, foreign=next(shares)), "a", limit=0.1)
    assert found.foreign_share == 0.05


def test_least_disturbed_run_counts_when_all_are() -> None:
    shares = iter([0.4, 0.3, 0.5])
    found = undisturbed(lambda name: measured(name, 1, foreign=next(shares)), "a", limit=0.1)
    assert found.foreign_share == 0.3


def test_table_tells_bounds_and_flaws() -> None:
    outcomes = judge("burst", scenario(SPEED), pairs((3_000_000, 4_000_000)))
    outcomes += judge("idle", scenario(MEMORY), [Round(measured("a", 30), None)])
    outcomes += judge("lossy", scenario(MEMORY), [Round(measured("a", 20, foreign=None, skipped=3), None)])
    lines = table(outcomes).splitlines()
    assert "3,000,000  4,000,000  0.75   0.75-0.75  >= 0.5  ok" in lines[1]
    assert lines[2].endswith("MISSED     0%")
    assert lines[3].endswith("skipped=3  unknown")


def test_every_scenario_says_what_it_asks() -> None:
    assert all(one.about and one.metrics for one in SCENARIOS.values())
