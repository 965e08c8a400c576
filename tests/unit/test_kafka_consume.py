"""kafka/consume: how often a consumer is asked, and what waits in its queue."""

import time
from typing import Any

import pytest
from confluent_kafka import Consumer

from tailrace.kafka.consume import consume
from tailrace.kafka.native import Doorbell


class Asked:
    """A consumer that has these, and remembers how it was asked."""

    def __init__(self, *has: str) -> None:
        self._has = list(has)
        self.asked: list[tuple[int, float]] = []

    def consume(self, count: int, timeout: float) -> list[str]:
        self.asked.append((count, timeout))
        taken, self._has = self._has[:count], self._has[count:]
        return taken

    @property
    def more(self) -> bool:
        return bool(self._has)


@pytest.mark.parametrize(
    ("has", "asked"),
    [
        ([], [(1, 0.5)]),
        (["a"], [(1, 0.5)]),
        (["a", "b", "c"], [(1, 0.5), (2, 0)]),
    ],
)
def test_it_is_asked_again_only_for_what_is_there(has: list[str], asked: list[tuple[int, float]]) -> None:
    """Each time the GIL is given up, and has to be had back from a busy loop."""
    consumer: Any = Asked(*has)
    assert consume(consumer, 3, 0.5, lambda: consumer.more) == has
    assert consumer.asked == asked


def test_it_is_asked_again_when_that_cannot_be_told() -> None:
    consumer: Any = Asked("a")
    assert consume(consumer, 3, 0.5) == ["a"]
    assert consumer.asked == [(1, 0.5), (2, 0)]


def error_callback(_: object) -> None: ...


def test_a_queue_tells_whether_something_waits() -> None:
    """Statistics, in one that makes them every millisecond."""
    silent = Consumer({"group.id": "x"}, error_cb=error_callback)
    told = Consumer({"group.id": "x", "statistics.interval.ms": 1}, error_cb=error_callback, stats_cb=lambda _: None)
    bells = [Doorbell(each, error_callback) for each in (silent, told)]
    assert all(bell.works for bell in bells)
    give_up = time.monotonic() + 20
    while not bells[1].more:
        assert time.monotonic() < give_up
    assert not bells[0].more
    for bell, consumer in zip(bells, (silent, told), strict=True):
        bell.close()
        assert bell.more, "nobody knows"
        consumer.close()
