"""The survey against a cluster that does as told, on a clock that jumps: what is kept, and what the log says."""

from collections.abc import Collection

import structlog.testing
import trio
from trio.testing import MockClock

from tailrace.errors import KafkaUnavailable
from tailrace.kafka.survey import ANSWER_SECONDS, INTERVAL_SECONDS, Readable, Survey


class Cluster:
    """Tells what `found` says; None: nobody answers. hangs: only after an hour."""

    def __init__(self) -> None:
        self.found: dict[str, Readable] | None = {}
        self.hangs = False
        self.asked: list[list[str]] = []

    async def survey(self, names: Collection[str]) -> dict[str, Readable]:
        self.asked.append(list(names))
        await trio.sleep(3600 if self.hangs else 0)
        if self.found is None:
            raise KafkaUnavailable("no broker answers")
        return {name: self.found.get(name, Readable(1)) for name in names}


async def test_lost_and_back_within_ten_seconds(autojump_clock: MockClock) -> None:
    cluster = Cluster()
    survey = Survey(cluster, lambda: ["orders"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survey.run)
        await trio.sleep(0.1)
        assert survey.leaderless == 0
        cluster.found = {"orders": Readable(3, (1, 2))}
        await trio.sleep(INTERVAL_SECONDS + 0.1)
        assert survey.leaderless == 2
        cluster.found = {}
        await trio.sleep(INTERVAL_SECONDS + 0.1)
        assert survey.leaderless == 0
        nursery.cancel_scope.cancel()


async def test_the_log_says_it_once(autojump_clock: MockClock) -> None:
    cluster = Cluster()
    survey = Survey(cluster, lambda: ["orders"])
    with structlog.testing.capture_logs() as log:
        for leaderless in ((), (1,), (1,), (1,), (1, 2), (1, 2), (), ()):
            cluster.found = {"orders": Readable(3, leaderless)}
            await survey.look()
    assert [(entry["log_level"], entry["event"], entry.get("reason")) for entry in log] == [
        ("warning", "cannot be read", "partition 1 of orders has no leader"),
        ("warning", "cannot be read", "partitions 1, 2 of orders have no leader"),
        ("info", "can be read again", None),
    ]


async def test_without_an_answer_what_was_known_is_kept(autojump_clock: MockClock) -> None:
    cluster = Cluster()
    survey = Survey(cluster, lambda: ["orders"])
    cluster.found = {"orders": Readable(3, (1,))}
    await survey.look()
    cluster.found = None
    await survey.look()
    assert survey.leaderless == 1
    cluster.hangs = True
    begun = trio.current_time()
    await survey.look()
    assert (survey.leaderless, trio.current_time() - begun) == (1, ANSWER_SECONDS)


async def test_nobody_is_asked_about_nothing() -> None:
    cluster, names = Cluster(), ["orders"]
    survey = Survey(cluster, lambda: names)
    cluster.found = {"orders": Readable(3, (1,))}
    await survey.look()
    names.clear()
    await survey.look()
    assert (cluster.asked, survey.leaderless) == ([["orders"]], 0)
