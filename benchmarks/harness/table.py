"""Outcomes as text for a terminal."""

from collections.abc import Iterable, Sequence

from benchmarks.harness.rounds import Outcome

HEAD = ("scenario", "figure", "subject", "reference", "ratio", "rounds", "must", "", "strangers")


def table(outcomes: Iterable[Outcome]) -> str:
    """Columns aligned, one line a metric; the ratio with its spread over the rounds."""
    return columns([HEAD, *map(row, outcomes)])


def columns(lines: Sequence[tuple[str, ...]]) -> str:
    """Cells one below the other."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def row(outcome: Outcome) -> tuple[str, ...]:
    """The cells of one line."""
    sign = ">=" if outcome.metric.higher_is_better else "<="
    return (
        outcome.scenario,
        outcome.metric.name,
        number(outcome.subject),
        "" if outcome.reference is None else number(outcome.reference),
        f"{outcome.counted:.2f}" if outcome.ratios else "",
        f"{min(outcome.ratios):.2f}-{max(outcome.ratios):.2f}" if outcome.ratios else "",
        f"{sign} {outcome.metric.bound:g}",
        verdict(outcome),
        "unknown" if outcome.foreign_share is None else f"{outcome.foreign_share:.0%}",
    )


def verdict(outcome: Outcome) -> str:
    """`ok`, `below`, or what went wrong."""
    if outcome.flaws:
        return " ".join(f"{name}={count}" for name, count in outcome.flaws.items())
    return "ok" if outcome.holds else "MISSED"


def number(value: float) -> str:
    """A figure with three significant digits, thousands separated."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
