"""What the regression gate makes of counts and ratios, without counting anything."""

import pytest
from benchmarks.check import BASELINE
from benchmarks.gate.counting import Count, Counts, totals
from benchmarks.gate.paths import PATHS
from benchmarks.gate.ratios import RATIOS, Outcome
from benchmarks.gate.verdict import compare
from msgspec import json

TOOLS = {"gcc": "12.2.0", "cython": "3.3.1"}


def counts(instructions: float, calls: float = 1.0, **toolchain: str) -> Counts:
    return Counts(TOOLS | toolchain, {"publish": Count("delivery", instructions, calls)})


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (counts(100), True),
        (counts(102.9), True),
        (counts(103.1), False),
        (counts(110), False),
        (counts(50), True),
        (counts(100, calls=1.004), True),
        (counts(100, calls=1.01), False),
        (counts(50, calls=2), False),
        (counts(129, cython="3.4.0"), True),
        (counts(131, cython="3.4.0"), False),
        (counts(100, calls=2, gcc="13.1.0"), False),
    ],
)
def test_verdict(found: Counts, holds: bool) -> None:
    assert compare(counts(100), found).holds is holds


def test_a_regression_is_named_with_both_counts() -> None:
    [finding] = compare(counts(100), counts(110)).findings
    assert finding.text == "publish: 110.0 instructions a delivery, +10.0%, from 100.0; 3% allowed: REGRESSION"


def test_another_toolchain_is_said_plainly() -> None:
    texts = [finding.text for finding in compare(counts(100), counts(100, cython="3.4.0")).findings]
    assert texts[0] == "the baseline is of cython 3.3.1, this is 3.4.0"
    assert "OTHER TOOLCHAIN: held to 30% only" in texts[1]
    assert "make accept-bench" in texts[1]


def test_a_better_count_asks_to_be_kept() -> None:
    [finding] = compare(counts(100), counts(90)).findings
    assert "make accept-bench" in finding.text


def test_paths_that_come_and_go_are_found() -> None:
    other = Counts(TOOLS, {"flush": Count("delivery", 5, 0)})
    assert [finding.fails for finding in compare(counts(100), other).findings] == [True, True]


def test_the_baseline_has_every_path() -> None:
    baseline = json.decode(BASELINE.read_bytes(), type=Counts)
    assert baseline.paths.keys() == PATHS.keys()
    assert "unknown" not in baseline.toolchain.values()


def test_a_dump_is_read() -> None:
    dump = "desc: Trigger: Client Request: publish, keyed\nevents: Ir sysCount sysTime\ntotals: 5116172 20000 131\n"
    assert totals(dump) == ("publish, keyed", (5116172, 20000))


def test_a_dump_without_system_calls_is_read() -> None:
    assert totals("desc: Trigger: Client Request: encode\ntotals: 12\n") == ("encode", (12, 0))


def test_a_ratio_counts_by_its_median() -> None:
    bound = RATIOS["one"].bound
    assert Outcome("one", RATIOS["one"], [0.1, bound + 0.1, bound + 0.2]).holds
    below = Outcome("one", RATIOS["one"], [0.1, bound - 0.1, 3.0])
    assert not below.holds
    assert below.line().endswith("REGRESSION")
