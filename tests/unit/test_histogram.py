"""Counts by bucket: the bounds are inclusive, and there is a bucket above the last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.histogram import END_TO_END_SECONDS, Histogram


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.001, 1), (2.0, 1), (2.001, 2), (1e9, 2)])
def test_a_value_is_counted_in_its_bucket(value: float, bucket: int) -> None:
    histogram = Histogram([1.0, 2.0])
    histogram.observe(value, 3)
    assert histogram.counts == [3 * (number == bucket) for number in range(3)]
    assert histogram.total == 3 * value


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1000))))
def test_everything_is_counted_once(seen: list[tuple[float, int]]) -> None:
    histogram = Histogram(END_TO_END_SECONDS)
    for value, times in seen:
        histogram.observe(value, times)
    assert sum(histogram.counts) == sum(times for _, times in seen)
    for at, bound in enumerate(END_TO_END_SECONDS):
        assert sum(histogram.counts[: at + 1]) == sum(times for value, times in seen if value <= bound)
