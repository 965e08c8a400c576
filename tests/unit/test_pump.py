"""Turns: who has waited longest is next, batches are taken as they come, and memory stays within its bound."""

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tailrace.gateway.pump import Pump


class FakeTail:
    """Blocks of ten bytes."""

    def __init__(self) -> None:
        self.memory_bytes = 0
        self.evicted = 0
        self.woken: list[Any] = []

    def evict(self) -> int:
        self.evicted += 1
        freed = min(10, self.memory_bytes)
        self.memory_bytes -= freed
        return freed

    def take_woken(self) -> list[Any]:
        woken, self.woken = self.woken, []
        return woken


class FakeTopic:
    """Needs as many turns as it was told to; every turn grows its tail."""

    def __init__(self, name: str, turns: int = 1, grows: int = 0) -> None:
        self.name, self.turns, self.grows = name, turns, grows
        self.tail = FakeTail()

    def turn(self) -> tuple[bool, int]:
        self.turns -= 1
        self.tail.memory_bytes += self.grows
        return self.turns > 0, self.grows


class FakeTopics:
    """A batch is the list of the topics it makes due."""

    def __init__(self, *topics: FakeTopic) -> None:
        self.all = topics
        self.due: dict[Any, None] = {}
        self.tail_bytes = 0
        self.log: list[str] = []

    @property
    def tails(self) -> list[FakeTail]:
        return [topic.tail for topic in self.all]

    def arrived(self, batch: list[FakeTopic]) -> None:
        self.log.append("arrived")
        for topic in batch:
            self.due[topic] = None

    def regulate(self, topic: FakeTopic) -> None:
        self.log.append(topic.name)


async def pumped(topics: FakeTopics, *batches: list[FakeTopic], max_bytes: int = 1 << 30) -> list[str]:
    """The batches, all at once, pumped until nothing is left."""
    send, receive = trio.open_memory_channel[Any](len(batches))
    for batch in batches:
        send.send_nowait(batch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pump(topics, receive, max_bytes).run)  # type: ignore[arg-type]
        await wait_all_tasks_blocked()
        send.close()
    return topics.log


async def test_topics_take_turns() -> None:
    busy, quiet = FakeTopic("busy", 4), FakeTopic("quiet", 2)
    log = await pumped(FakeTopics(busy, quiet), [busy, quiet])
    assert log == ["arrived", "busy", "quiet", "busy", "quiet", "busy", "busy"]


async def test_who_comes_later_is_next_after_those_who_wait() -> None:
    """What is there is taken at once: a quiet topic does not wait behind a busy one's batches."""
    busy, quiet = FakeTopic("busy", 3), FakeTopic("quiet")
    log = await pumped(FakeTopics(busy, quiet), [busy], [busy], [quiet])
    assert log == ["arrived", "arrived", "arrived", "busy", "quiet", "busy", "busy"]


async def test_between_two_turns_others_run() -> None:
    busy = FakeTopic("busy", 1000)
    topics = FakeTopics(busy)
    seen = []

    async def other() -> None:
        while busy.turns > 0:
            seen.append(busy.turns)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pumped, topics, [busy])
        await trio.lowlevel.checkpoint()
        nursery.start_soon(other)
    assert len(seen) > 500


async def test_a_batch_that_comes_while_there_is_something_to_do() -> None:
    busy, quiet = FakeTopic("busy", 50), FakeTopic("quiet")
    topics = FakeTopics(busy, quiet)
    send, receive = trio.open_memory_channel[Any](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pump(topics, receive, 1 << 30).run)  # type: ignore[arg-type]
        await send.send([busy])
        await send.send([quiet])
        await wait_all_tasks_blocked()
        send.close()
    assert topics.log.index("quiet") < 10


async def test_it_ends_with_the_poll_thread() -> None:
    assert await pumped(FakeTopics()) == []


@pytest.mark.parametrize("max_bytes", [0, 25, 1000])
async def test_memory_is_bounded_by_the_largest_tail(max_bytes: int) -> None:
    """A burst gives up its own oldest blocks, not those of quiet topics."""
    quiet, burst = FakeTopic("quiet", 1, 5), FakeTopic("burst", 10, 10)
    topics = FakeTopics(quiet, burst)
    await pumped(topics, [quiet, burst], max_bytes=max_bytes)
    assert topics.tail_bytes == sum(tail.memory_bytes for tail in topics.tails) <= max_bytes
    if max_bytes:
        assert quiet.tail.evicted == 0


async def test_who_loses_his_place_is_woken() -> None:
    class Outlet:
        woken = 0

        def wake(self) -> None:
            self.woken += 1

    outlet, topic = Outlet(), FakeTopic("burst", 1, 10)
    topic.tail.woken.append(outlet)
    await pumped(FakeTopics(topic), [topic], max_bytes=0)
    assert outlet.woken == 1
