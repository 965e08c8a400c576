"""kafka/sightings: when a topic is believed missing."""

from tailrace.kafka import sightings
from tailrace.kafka.sightings import REMEMBERED, SURE_SECONDS, UNSETTLED_SECONDS, Sightings


def test_a_topic_that_was_never_seen_is_missing_at_once() -> None:
    assert Sightings().believes("orders", 0.0, 100.0)


def test_one_that_was_seen_is_believed_missing_after_a_while_and_then_forgotten() -> None:
    found = Sightings()
    found.seen("orders")
    assert not found.believes("orders", SURE_SECONDS - 0.1, 100.0)
    assert found.believes("prices", 0.0, 100.0)
    assert found.believes("orders", SURE_SECONDS, 100.0)
    assert found.believes("orders", 0.0, 100.0), "it was just said"


def test_while_a_broker_was_lost_a_moment_ago_no_topic_is_missing_at_once() -> None:
    found = Sightings()
    found.lost(100.0)
    assert not found.believes("orders", 0.0, 100.0 + UNSETTLED_SECONDS - 0.1)
    assert found.believes("orders", SURE_SECONDS, 100.1), "a cluster may be ill for long"
    assert found.believes("orders", 0.0, 100.0 + UNSETTLED_SECONDS)


def test_only_so_many_are_remembered() -> None:
    found = Sightings()
    for number in range(REMEMBERED):
        found.seen(str(number))
    found.seen("0")
    found.seen("new")
    assert len(found._seen) == REMEMBERED
    assert not found.believes("0", 0.0, 100.0)
    assert not found.believes("new", 0.0, 100.0)
    assert found.believes("1", 0.0, 100.0), "the one that was not seen for longest"


def test_an_answer_in_time() -> None:
    assert sightings.SURE_SECONDS < 9.5 - 4.0, "a command is answered within 10 s, the last request included"
