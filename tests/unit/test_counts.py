"""What is counted, and under how few names."""

from tailrace.disconnect import NORMAL, SHUTDOWN, UNAUTHENTICATED, Disconnect
from tailrace.errors import ErrorCode
from tailrace.gateway.counts import OTHER, Counts


def test_topics_beyond_the_bound_are_counted_together() -> None:
    counts = Counts(max_topics=2)
    for name in ("a", "b", "c", "d", "a"):
        counts.topic(name).consumed += 1
    assert {name: traffic.consumed for name, traffic in counts.topics.items()} == {"a": 2, "b": 1, OTHER: 2}


def test_a_topic_keeps_its_name_and_its_count() -> None:
    """Closed and opened again, it goes on where it was: a counter never falls."""
    counts = Counts(max_topics=1)
    first = counts.topic("a")
    counts.topic("b")
    assert counts.topic("a") is first
    assert counts.label("b") == counts.label("c") == OTHER


def test_closes_are_counted_by_code_and_reason() -> None:
    counts = Counts()
    for ending in (SHUTDOWN, SHUTDOWN, NORMAL):
        counts.ended(ending)
    assert counts.closed == {("4000", "shutdown"): 2, ("1000", ""): 1}


def test_a_client_cannot_make_a_series_of_each_code() -> None:
    counts = Counts()
    for code in range(3000, 5000):
        counts.ended(Disconnect(code, "closed by the client"))
    assert len(counts.closed) < 20
    assert sum(counts.closed.values()) == 2000


def test_failed_credentials_are_counted_wherever_they_came() -> None:
    counts = Counts()
    counts.refused["unauthenticated"] += 1
    counts.refused["forbidden"] += 1
    counts.commands_refused[ErrorCode.UNAUTHENTICATED] += 2
    counts.ended(UNAUTHENTICATED)
    counts.ended(Disconnect(4502, "bad_token"))
    assert counts.auth_failures == 5
