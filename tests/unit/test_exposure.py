"""exposure: names before patterns, patterns in order, hidden topics hidden."""

import pytest

from tailrace.config import Topic
from tailrace.core.exposure import Exposure

PUBLISHABLE = Topic(publish=True)
TEXT = Topic(value="text")
JSON = Topic(value="json")


def test_nothing_is_exposed_by_default() -> None:
    assert Exposure({}).find("orders") is None


def test_an_exact_name_wins_over_earlier_patterns() -> None:
    exposure = Exposure({"*": TEXT, "orders": PUBLISHABLE})
    assert exposure.find("orders") is PUBLISHABLE
    assert exposure.find("orders2") is TEXT
    assert exposure.names == ("orders",)


def test_patterns_are_tried_in_the_order_given() -> None:
    assert Exposure({"orders.*": TEXT, "*": JSON}).find("orders.eu") is TEXT
    assert Exposure({"*": JSON, "orders.*": TEXT}).find("orders.eu") is JSON


@pytest.mark.parametrize(
    ("pattern", "name", "exposed"),
    [
        ("orders.*", "orders.eu.west", True),
        ("orders.*", "orders", False),
        ("orders.*", "ordersXeu", False),
        ("order?", "orders", True),
        ("orders-[ab]", "orders-a", True),
        ("orders-[!ab]", "orders-a", False),
        ("Orders*", "orders", False),
        ("*", "orders\n", True),
        ("*", "__consumer_offsets", False),
        ("_*", "__consumer_offsets", False),
        ("__*", "__consumer_offsets", True),
        ("*", "_private", True),
    ],
)
def test_patterns_are_a_shells(pattern: str, name: str, exposed: bool) -> None:
    assert (Exposure({pattern: TEXT}).find(name) is TEXT) is exposed


def test_a_hidden_topic_can_be_named() -> None:
    assert Exposure({"__consumer_offsets": TEXT}).find("__consumer_offsets") is TEXT
