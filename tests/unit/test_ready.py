"""What `/readyz` makes of what the parts know: draining, Kafka, then the topics, one by one."""

from types import SimpleNamespace
from typing import Any

import pytest

from tailrace.config import Admin, Config, Topic
from tailrace.core.exposure import Exposure
from tailrace.gateway.ready import readiness, wanted
from tailrace.http.admin import Readiness
from tailrace.kafka.survey import Readable, standing, unreadable

WELL = Readable(3)
HALF = Readable(3, (1,))
DARK = Readable(2, (0, 1))
MISSING = Readable(refused="there is no such topic")


def parts(
    draining: bool = False, broker: str = "", strict: bool = False, pattern: bool = False, **topics: Readable
) -> Any:
    """As much of Parts as readiness asks; broker: why none answers."""
    names = {name: Topic() for name in topics} | ({"more-*": Topic()} if pattern else {})
    return SimpleNamespace(
        config=Config(admin=Admin(ready="all" if strict else "any")),
        door=SimpleNamespace(draining=draining),
        health=SimpleNamespace(ready=not broker, reason=broker),
        survey=SimpleNamespace(topics=topics),
        topics=SimpleNamespace(exposure=Exposure(names), held=[], open=[]),
    )


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (parts(), Readiness(True)),
        (parts(orders=WELL), Readiness(True)),
        (parts(broker="no broker answers"), Readiness(False, "no broker answers")),
        (parts(draining=True), Readiness(False, "draining")),
        (parts(draining=True, broker="no broker answers", orders=DARK), Readiness(False, "draining")),
        (parts(broker="no broker answers", orders=DARK), Readiness(False, "no broker answers")),
    ],
)
def test_what_comes_first(state: Any, found: Readiness) -> None:
    assert readiness(state) == found


def test_a_partition_without_a_leader_is_named_and_the_others_flow() -> None:
    state = readiness(parts(orders=HALF, prices=WELL))
    assert state == Readiness(True, "", {"unreadable": ["partition 1 of orders has no leader"]})


def test_strict_it_is_a_reason() -> None:
    state = readiness(parts(strict=True, orders=HALF, prices=WELL))
    assert (state.ready, state.reason) == (False, "partition 1 of orders has no leader")


@pytest.mark.parametrize(
    ("topics", "others", "lenient"),
    [
        ({}, False, ""),
        ({"orders": WELL}, False, ""),
        ({"orders": HALF}, False, ""),
        ({"orders": DARK}, False, "partitions 0, 1 of orders have no leader"),
        ({"orders": DARK}, True, ""),
        ({"orders": DARK, "prices": WELL}, False, ""),
        ({"orders": MISSING}, False, "topic orders: there is no such topic"),
        ({"orders": MISSING, "prices": DARK}, False, "topic orders: there is no such topic (and 1 more)"),
        ({"orders": Readable(0)}, False, ""),
    ],
)
def test_standing(topics: dict[str, Readable], others: bool, lenient: str) -> None:
    assert standing(topics, others, strict=False) == lenient
    assert bool(standing(topics, others, strict=True)) == bool(unreadable(topics))


def test_what_a_broker_refuses_to_an_open_topic_counts_too() -> None:
    state = parts(orders=WELL)
    state.topics.held = [SimpleNamespace(open=SimpleNamespace(name="orders"), refused="our credentials are not ...")]
    assert readiness(state).reason == "topic orders: our credentials are not ..."


def test_topics_by_name_and_open_ones_are_wanted_once() -> None:
    state = parts(orders=WELL, pattern=True)
    state.topics.open = [SimpleNamespace(name="more-1"), SimpleNamespace(name="orders")]
    assert wanted(state.topics) == ["orders", "more-1"]


def test_a_long_list_is_cut() -> None:
    assert len(unreadable({f"t{number}": MISSING for number in range(500)})) == 100
