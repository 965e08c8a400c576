"""What the parent makes of the workers' numbers and pages."""

from typing import Any

import msgspec
import pytest

from tailrace.core.histogram import Histogram
from tailrace.http.answers import Answer, json_answer
from tailrace.http.refusal import Refused
from tailrace.metrics.snapshot import Snapshot
from tailrace.workers.ledger import Ledger
from tailrace.workers.routes import at_worker, connections, following, metrics
from tailrace.workers.standing import Standing
from tailrace.workers.worker import head

SENT, OPEN, DELAY = "tailrace_bytes_sent_total", "tailrace_connections", "tailrace_loop_delay_seconds"


def numbers(sent: float, open: float = 0) -> Snapshot:
    snapshot = Snapshot()
    snapshot.put(SENT, sent)
    snapshot.put(OPEN, open)
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    snapshot.put_histogram(DELAY, histogram)
    return snapshot


def seen(snapshot: Snapshot) -> tuple[float, float, int]:
    [delay] = snapshot.distributions[DELAY]
    return snapshot.value(SENT), snapshot.value(OPEN), sum(delay.counts)


def test_the_living_add_up() -> None:
    assert seen(Ledger().total({1: numbers(10, 3), 2: numbers(5, 4)})) == (15, 7, 2)


def test_what_the_dead_had_counted_stays() -> None:
    """Counters and histograms never fall; gauges are of the living."""
    ledger = Ledger()
    ledger.total({1: numbers(10, 3), 2: numbers(5, 4)})
    assert seen(ledger.total({2: numbers(6, 4)})) == (16, 4, 2)
    assert seen(ledger.total({2: numbers(6, 4), 3: numbers(1, 1)})) == (17, 5, 3)
    assert seen(ledger.total({3: numbers(2, 1)})) == (18, 1, 3)


def test_who_does_not_answer_counts_with_what_he_said_last() -> None:
    ledger = Ledger()
    ledger.total({1: numbers(10, 3), 2: numbers(5, 4)})
    assert seen(ledger.total({1: None, 2: numbers(6, 4)})) == (16, 7, 2)
    assert ledger.total({3: None}).value(OPEN) == 0


class FakeSlot:
    """A worker that answers from a table of targets; no table: it is not there."""

    def __init__(self, number: int, answers: dict[str, Answer] | None) -> None:
        self.standing = Standing(number, pid=None if answers is None else number)
        self._answers = answers

    async def ask(self, target: str, timeout: float) -> Answer | None:
        return None if self._answers is None else self._answers[target]


async def got(route: Any, target: str) -> Any:
    return await route(head(target))


async def test_metrics_of_all() -> None:
    told = [Answer(200, msgspec.msgpack.encode(numbers(sent))) for sent in (10, 5)]
    slots = [FakeSlot(number, {"/metrics/numbers": answer}) for number, answer in enumerate(told, start=1)]
    answer = await got(metrics([*slots, FakeSlot(3, None)]), "/metrics")  # type: ignore[list-item]
    assert f"\n{SENT} 15.0\n".encode() in answer.body


def page(*connections: str, next: str | None = None) -> Answer:
    return json_answer(200, {"connections": list(connections), "next": next})


async def test_a_walk_along_next_sees_every_worker() -> None:
    slots = [
        FakeSlot(
            1, {"/connections?topic=a%26b": page("x-1", next="x-1"), "/connections?topic=a%26b&after=x-1": page("x-2")}
        ),
        FakeSlot(2, None),
        FakeSlot(3, {"/connections?topic=a%26b": page("y-1")}),
    ]
    route = connections(slots)  # type: ignore[arg-type]
    found, workers, next = [], [], ""
    while next is not None:
        answer = await got(route, "/connections?topic=a%26b" + (f"&after={next}" if next else ""))
        content = msgspec.json.decode(answer.body)
        found += content["connections"]
        workers.append(content["worker"])
        next = content["next"]
    assert found == ["x-1", "x-2", "y-1"]
    assert workers == [1, 1, 2, 3]


async def test_a_workers_refusal_is_passed_on() -> None:
    refused = json_answer(400, {"code": "bad_request"})
    assert await got(connections([FakeSlot(1, {"/connections?x=1": refused})]), "/connections?x=1") is refused  # type: ignore[list-item]


@pytest.mark.parametrize("after", ["3:", "0:", "-1:", "x-17", "", "²:", "9" * 5000 + ":"])
def test_nonsense_behind_after(after: str) -> None:
    with pytest.raises(Refused):
        at_worker(f"/connections?after={after}", 2)


def test_following() -> None:
    assert (following(1, "a-7", 2), following(1, None, 2), following(2, None, 2)) == ("1:a-7", "2:", None)
