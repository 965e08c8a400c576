"""Readiness against a cluster that does as told, on a clock that jumps."""

import pytest
import structlog.testing
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.errors import KafkaUnavailable
from tailrace.kafka.health import INTERVAL_SECONDS, PAUSE_SECONDS, PROBE_SECONDS, Health
from tailrace.kafka.trouble import Trouble

DOWN = Trouble("_ALL_BROKERS_DOWN", "1/1 brokers are down")


class Cluster:
    """Answers at once while `reason` is empty; else refuses, after all of its time when `hangs`."""

    def __init__(self) -> None:
        self.reason = ""
        self.hangs = False
        self.asked = 0

    async def probe(self, timeout_seconds: float) -> None:
        self.asked += 1
        await trio.sleep(timeout_seconds if self.hangs else 0)
        if self.reason:
            raise KafkaUnavailable(self.reason)


async def test_not_ready_before_anybody_answered() -> None:
    health = Health(Cluster())
    assert (health.ready, health.reason) == (False, "not asked yet")


@pytest.mark.parametrize("hangs", [False, True])
async def test_both_ways_within_ten_seconds(autojump_clock: MockClock, hangs: bool) -> None:
    cluster = Cluster()
    health = Health(cluster)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        await trio.sleep(0.1)
        assert health.ready
        cluster.reason, cluster.hangs = "no broker answers", hangs
        await trio.sleep(INTERVAL_SECONDS + PROBE_SECONDS + 0.1)
        assert (health.ready, health.reason) == (False, "no broker answers")
        cluster.reason, cluster.hangs = "", False
        await trio.sleep(INTERVAL_SECONDS + PROBE_SECONDS + 0.1)
        assert (health.ready, health.reason) == (True, "")
        nursery.cancel_scope.cancel()


async def test_an_error_event_asks_at_once_and_a_storm_of_them_once(autojump_clock: MockClock) -> None:
    cluster = Cluster()
    health = Health(cluster)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        await trio.sleep(PAUSE_SECONDS + 0.1)
        cluster.reason = "no broker answers"
        begun = trio.current_time()
        for _ in range(50):
            health.note(DOWN)
        await wait_all_tasks_blocked()
        assert (health.ready, cluster.asked, trio.current_time()) == (False, 2, begun)
        nursery.cancel_scope.cancel()


async def test_events_without_end_do_not_mean_questions_without_end(autojump_clock: MockClock) -> None:
    cluster = Cluster()
    health = Health(cluster)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        for _ in range(100):
            await trio.sleep(0.1)
            health.note(DOWN)
        assert cluster.asked <= 10 / PAUSE_SECONDS
        nursery.cancel_scope.cancel()


async def test_an_event_may_come_from_any_thread() -> None:
    cluster = Cluster()
    health = Health(cluster)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        await wait_all_tasks_blocked()
        cluster.reason = "no broker answers"
        with trio.fail_after(INTERVAL_SECONDS - 0.5):
            while health.ready:
                await trio.to_thread.run_sync(health.note, DOWN)
        nursery.cancel_scope.cancel()


async def test_an_event_of_one_broker_while_another_answers_changes_nothing(autojump_clock: MockClock) -> None:
    health = Health(Cluster())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        await wait_all_tasks_blocked()
        health.note(DOWN)
        await trio.sleep(1)
        assert health.ready
        nursery.cancel_scope.cancel()


async def test_one_line_when_lost_and_one_when_back() -> None:
    cluster = Cluster()
    health = Health(cluster)
    with structlog.testing.capture_logs() as lines:
        for cluster.reason in ["", "", "no broker answers", "no broker answers", "bad credentials", "", ""]:
            await health.check()
    assert [each["event"] for each in lines] == ["kafka is available", "kafka is not available", "kafka is available"]


async def test_never_reached_is_told_once() -> None:
    cluster = Cluster()
    cluster.reason = "no broker answers"
    health = Health(cluster)
    with structlog.testing.capture_logs() as lines:
        await health.check()
        await health.check()
    assert [(each["event"], each["reason"]) for each in lines] == [("kafka is not available", "no broker answers")]


async def test_a_note_after_the_end_is_harmless() -> None:
    health = Health(Cluster())
    health.ready = True
    health.note(DOWN)
