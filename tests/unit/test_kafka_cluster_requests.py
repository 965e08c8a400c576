"""kafka/cluster: how many requests are under way, with an admin client that answers when it is told to."""

from concurrent.futures import Future
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.errors import KafkaUnavailable
from tailrace.kafka import cluster as module
from tailrace.kafka.cluster import Cluster

MOST = module._MAX_REQUESTS


class SlowAdmin:
    """Takes every request and keeps it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.sent: list[Future[Any]] = []
        self.fault: Exception | None = None

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        if self.fault is not None:
            raise self.fault
        answer: Future[Any] = Future()
        self.sent.append(answer)
        return dict.fromkeys(asked, answer)


class Told:
    """An offset."""

    offset = 7


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(module, "AdminClient", SlowAdmin)
    return Cluster({})


@pytest.fixture
def sent(cluster: Cluster) -> list[Future[Any]]:
    found: list[Future[Any]] = cluster._admin.sent  # type: ignore[attr-defined]
    return found


async def test_askers_who_leave_at_once_leave_no_heap_of_requests(cluster: Cluster, sent: list[Future[Any]]) -> None:
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(MOST):
                nursery.start_soon(cluster.ends, "topic", [0, 1])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert len(sent) == MOST


async def test_an_answer_makes_room(cluster: Cluster, sent: list[Future[Any]]) -> None:
    found: list[dict[int, int]] = []

    async def ask() -> None:
        found.append(await cluster.ends("topic", [0, 1]))

    async with trio.open_nursery() as nursery:
        for _ in range(2 * MOST):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        for answered in range(2 * MOST):
            assert len(sent) == min(2 * MOST, MOST + answered)
            sent[answered].set_result(Told)
            await wait_all_tasks_blocked()
    assert found == [{0: 7, 1: 7}] * (2 * MOST)


async def test_what_is_not_sent_takes_no_room(cluster: Cluster, sent: list[Future[Any]]) -> None:
    cluster._admin.fault = ValueError("no")  # type: ignore[attr-defined]
    for _ in range(2 * MOST):
        with pytest.raises(ValueError, match="no"):
            await cluster.ends("topic", [0])
        assert await cluster.ends("topic", []) == {}
    assert cluster._requests.borrowed_tokens == 0


async def test_who_finds_no_room_is_told_in_time(
    cluster: Cluster, sent: list[Future[Any]], autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MOST):
            nursery.start_soon(cluster.ends, "topic", [0])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with trio.fail_after(10), pytest.raises(KafkaUnavailable, match="too many"):
        await cluster.ends("topic", [0])
