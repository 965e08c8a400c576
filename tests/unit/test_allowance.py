"""The ceiling: the rate holds in the long run, whatever is taken at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.allowance import BURST_SECONDS, Allowance


def test_without_a_ceiling_nobody_waits() -> None:
    allowance = Allowance(None, now=0.0)
    allowance.take(10**12, now=0.0)
    assert allowance.wait_seconds(now=0.0) == 0


def test_a_debt_is_waited_for() -> None:
    allowance = Allowance(1000, now=0.0)
    allowance.take(250, now=0.0)  # what may be saved up
    assert allowance.wait_seconds(now=0.0) == 0
    allowance.take(2000, now=0.0)
    assert allowance.wait_seconds(now=0.0) == pytest.approx(2.0)
    assert allowance.wait_seconds(now=1.5) == pytest.approx(0.5)
    assert allowance.wait_seconds(now=3.0) == 0


def test_a_long_rest_saves_up_a_moment_only() -> None:
    allowance = Allowance(1000, now=0.0)
    allowance.take(1250, now=3600.0)
    assert allowance.wait_seconds(now=3600.0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 3)), min_size=1))
def test_never_more_than_the_rate_and_a_burst(takes: list[tuple[int, float]]) -> None:
    """Whoever waits as told, then takes a while later, has had the rate when he may take again."""
    allowance, now, taken = Allowance(1000, now=0.0), 0.0, 0
    for count, pause in takes:
        now += allowance.wait_seconds(now) + pause
        allowance.take(count, now)
        taken += count
    now += allowance.wait_seconds(now)
    assert taken <= 1000 * (now + BURST_SECONDS) + 0.01
