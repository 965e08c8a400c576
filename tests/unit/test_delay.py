"""End-to-end delay: deliveries of a turn spread over the steps under way, each delivery counted exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.histogram import Histogram
from tailrace.gateway.delay import Delays

BOUNDS = (0.5, 1.5, 2.5, 3.5)


class Stamped:
    """A record with this timestamp in epoch seconds; None: Kafka has none."""

    def __init__(self, seconds: float | None) -> None:
        self._told = (0, 0) if seconds is None else (1, round(seconds * 1000))

    def timestamp(self) -> tuple[int, int]:
        return self._told


def stamped(*seconds: float | None) -> list[Stamped]:
    return [Stamped(each) for each in seconds]


def test_a_delivery_is_as_late_as_its_record_is_old() -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    delays.entered(1, stamped(100.0))
    delays.delivered(5, offered=1, now=102.0)
    assert histogram.counts == [0, 0, 5, 0, 0]
    assert histogram.total == 10.0


def test_those_who_are_served_later_waited_longer() -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    delays.entered(1, stamped(100.0))
    delays.delivered(3, offered=0, now=101.0)
    delays.delivered(2, offered=1, now=103.0)
    assert histogram.counts == [0, 3, 0, 2, 0]


def test_what_was_offered_to_all_is_forgotten() -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    delays.entered(1, stamped(100.0))
    delays.delivered(0, offered=1, now=100.0)  # nobody wanted it
    delays.entered(2, stamped(103.0))
    delays.delivered(4, offered=2, now=104.0)
    assert histogram.counts == [0, 4, 0, 0, 0]


def test_a_turn_is_shared_by_the_steps_under_way() -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    delays.entered(3, stamped(100.0, 100.0, 100.0))
    delays.entered(4, stamped(102.0))
    delays.delivered(8, offered=4, now=103.0)
    assert histogram.counts == [0, 2, 0, 6, 0]


def test_a_record_without_a_timestamp_counts_nowhere() -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    delays.entered(1, stamped(None))
    delays.delivered(5, offered=1, now=102.0)
    assert histogram.counts == [0] * 5


def test_a_record_from_the_future_is_not_late() -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    delays.entered(1, stamped(200.0))
    delays.delivered(1, offered=1, now=100.0)
    assert (histogram.counts[0], histogram.total) == (1, 0.0)


def test_few_timestamps_are_asked_for() -> None:
    asked: list[Stamped] = []

    class Asked(Stamped):
        def timestamp(self) -> tuple[int, int]:
            asked.append(self)
            return super().timestamp()

    records = [Asked(1.0) for _ in range(500)]
    Delays(Histogram(BOUNDS)).entered(500, records)
    assert [records.index(each) for each in asked] == [62, 187, 312, 437]  # the middle of each of four parts


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(0, 100_000))), st.data())
def test_every_delivery_is_counted_once(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    histogram = Histogram(BOUNDS)
    delays = Delays(histogram)
    end = 0
    for records, deliveries in steps:
        end += records
        delays.entered(end, stamped(*[100.0] * records))
        delays.delivered(deliveries, offered=data.draw(st.integers(0, end - 1)), now=101.0)
    assert sum(histogram.counts) == sum(deliveries for _, deliveries in steps)
    assert histogram.total == pytest.approx(sum(deliveries for _, deliveries in steps))
