"""Rounds: subject and reference take turns, and what counts is the median of the ratios within the rounds.

A machine is not the same from minute to minute, and a burst's ratio moves by half between two runs; two runs that
follow each other directly see the same machine. So a ratio is only ever taken within a round, who goes first changes
from round to round, and a run that a neighbour disturbed is repeated.
"""

import statistics
from collections.abc import Callable, Iterable

import msgspec

from benchmarks.harness.measuring import Measurement
from benchmarks.harness.scenarios import Metric, Scenario

TRIES = 3
Run = Callable[[str], Measurement]


class Round(msgspec.Struct, frozen=True):
    """One measurement of each; `reference` is None when nothing is relative."""

    subject: Measurement
    reference: Measurement | None


class Outcome(msgspec.Struct, frozen=True):
    """A metric over all rounds: medians of both sides, and of the ratios (None when it is absolute)."""

    scenario: str
    metric: Metric
    subject: float
    reference: float | None
    ratios: list[float]
    flaws: dict[str, int]
    foreign_share: float | None

    @property
    def counted(self) -> float:
        """The figure that is held against the bound."""
        return statistics.median(self.ratios) if self.metric.relative else self.subject

    @property
    def holds(self) -> bool:
        """The bound is kept, and nothing was lost."""
        return not self.flaws and self.metric.holds(self.counted)


def play(scenario: Scenario, run: Run, subject: str, reference: str, rounds: int) -> list[Round]:
    """Measures `rounds` rounds; `run(name)` is one measurement of a gateway."""
    return [play_round(scenario, run, subject, reference, number) for number in range(rounds)]


def play_round(scenario: Scenario, run: Run, subject: str, reference: str, number: int) -> Round:
    """One round: the subject goes first in even ones."""
    if not scenario.needs_reference():
        return Round(run(subject), None)
    if number % 2 == 0:
        first = run(subject)
        return Round(first, run(reference))
    first = run(reference)
    return Round(run(subject), first)


def undisturbed(run: Run, name: str, limit: float) -> Measurement:
    """A run beside which strangers used at most `limit` (0 to 1) of the machine; the least disturbed of TRIES else."""
    tried: list[Measurement] = []
    while len(tried) < TRIES:
        tried.append(run(name))
        if disturbance(tried[-1]) <= limit:
            return tried[-1]
    return min(tried, key=disturbance)


def disturbance(measurement: Measurement) -> float:
    """The strangers' share, 0 when it is not known."""
    return measurement.foreign_share or 0.0


def judge(name: str, scenario: Scenario, rounds: Iterable[Round]) -> list[Outcome]:
    """The outcome of every metric of a scenario."""
    played = list(rounds)
    return [outcome(name, metric, played) for metric in scenario.metrics]


def outcome(name: str, metric: Metric, rounds: list[Round]) -> Outcome:
    """The outcome of one metric."""
    measured = [side for one in rounds for side in (one.subject, one.reference) if side is not None]
    pairs = [(one.subject.values[metric.name], one.reference.values[metric.name]) for one in rounds if one.reference]
    return Outcome(
        scenario=name,
        metric=metric,
        subject=statistics.median(one.subject.values[metric.name] for one in rounds),
        reference=statistics.median(reference for _, reference in pairs) if pairs else None,
        ratios=[subject / reference for subject, reference in pairs] if metric.relative else [],
        flaws=sum_flaws(measured),
        foreign_share=max((side.foreign_share for side in measured if side.foreign_share is not None), default=None),
    )


def sum_flaws(measured: list[Measurement]) -> dict[str, int]:
    """The flaws of all runs together."""
    names = dict.fromkeys(name for one in measured for name in one.flaws)
    return {name: sum(one.flaws.get(name, 0) for one in measured) for name in names}
