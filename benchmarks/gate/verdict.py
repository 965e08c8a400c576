"""What counts say against the baseline. Pure: counts in, lines out.

With the baseline's toolchain 3 % more instructions, or one more system call in 200 units, is a regression. With another
one (a new gcc, Cython or Python) the same source takes other counts, and nobody is to be stopped by that: instructions
are then held to 30 % only, system calls as ever, and the report says which parts differ and how to accept a baseline
of this toolchain. What is left to find a slower core meanwhile are the ratios to the C loop.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from benchmarks.gate.counting import Count, Counts

ALLOWED: Final = 0.03
ALLOWED_ELSEWHERE: Final = 0.30
ALLOWED_CALLS: Final = 0.005  # system calls a unit: a send more in 200; a block that moves once more is less
HOW_TO_ACCEPT: Final = (
    "If this is meant to be so, accept it as the new baseline: make accept-bench, commit benchmarks/gate/baseline.json,"
    " and say why in the commit."
)


class Finding(Struct, frozen=True):
    """A path's line in the report. fails: the gate does not open."""

    text: str
    fails: bool = False


class Verdict(Struct, frozen=True):
    """Of a whole comparison."""

    findings: list[Finding]

    @property
    def holds(self) -> bool:
        """Nothing got worse."""
        return not any(finding.fails for finding in self.findings)


def compare(baseline: Counts, found: Counts) -> Verdict:
    """The verdict; every path has a line, in the baseline's order, new ones last."""
    differences = list(toolchain_differences(baseline, found))
    allowed = ALLOWED_ELSEWHERE if differences else ALLOWED
    findings = [Finding(difference) for difference in differences]
    if differences:
        findings.append(
            Finding(
                f"OTHER TOOLCHAIN: held to {ALLOWED_ELSEWHERE:.0%} only, instead of {ALLOWED:.0%}."
                " make accept-bench on the machine that runs the gate makes it sharp again."
            )
        )
    names = [*baseline.paths, *(name for name in found.paths if name not in baseline.paths)]
    findings += [compare_path(name, baseline.paths.get(name), found.paths.get(name), allowed) for name in names]
    return Verdict(findings)


def toolchain_differences(baseline: Counts, found: Counts) -> Iterator[str]:
    """What was other when the baseline was taken."""
    for name in {**baseline.toolchain, **found.toolchain}:
        before, now = baseline.toolchain.get(name, "unknown"), found.toolchain.get(name, "unknown")
        if before != now:
            yield f"the baseline is of {name} {before}, this is {now}"


def compare_path(name: str, before: Count | None, now: Count | None, allowed: float) -> Finding:
    """One path against its baseline."""
    if now is None:
        return Finding(f"{name}: in the baseline, but not counted any more", fails=True)
    if before is None:
        return Finding(f"{name}: {now.instructions:,.0f} instructions a {now.unit}, not in the baseline", fails=True)
    change = now.instructions / before.instructions - 1
    text = f"{name}: {now.instructions:,.1f} instructions a {now.unit}, {change:+.1%}"
    if now.calls > before.calls + ALLOWED_CALLS:
        return Finding(f"{text}; {now.calls:g} system calls instead of {before.calls:g}: REGRESSION", fails=True)
    if change > allowed:
        return Finding(f"{text}, from {before.instructions:,.1f}; {allowed:.0%} allowed: REGRESSION", fails=True)
    if change < -allowed or now.calls < before.calls - ALLOWED_CALLS:
        text += "; better: make accept-bench keeps it so"
    return Finding(text)
