"""A client that sends too much too fast: read more slowly, told after ten seconds of that; nobody else is concerned.

The clock is the test's: nothing here waits."""

import json
from typing import Any

import pytest
import trio
from tests.gateway import Raw, masked, until
from tests.plain_door import house
from trio.testing import MockClock

from tailrace.config import Limits
from tailrace.core.pace import COMMANDS_BURST_SECONDS, INCOMING_BURST_SECONDS

RATE = 10
BURST = round(RATE * COMMANDS_BURST_SECONDS)


LIMITS = Limits(commands_per_second=RATE, frames_per_second=1000, ping_interval=None, pong_timeout=None)


async def ping(raw: Raw, count: int) -> None:
    for id in range(1, count + 1):
        await raw.send(masked(1, json.dumps({"type": "ping", "id": id}).encode()))


async def answers(raw: Raw, count: int) -> list[tuple[float, Any]]:
    """With the seconds since now."""
    begin, found = trio.current_time(), []
    for _ in range(count):
        message = await raw.message()
        found.append((trio.current_time() - begin, message.get("code", message["type"])))
    return found


async def test_a_burst_is_answered_at_once_and_then_the_rate_holds(autojump_clock: MockClock) -> None:
    async with house(limits=LIMITS, orders=[0]) as place, place.visit() as raw, trio.open_nursery() as nursery:
        nursery.start_soon(ping, raw, BURST + 50)
        found = await answers(raw, BURST + 50)
        assert {code for _, code in found} == {"pong"}
        assert found[BURST - 1][0] < 0.1
        assert found[-1][0] == pytest.approx(50 / RATE, abs=0.2)
        assert place.topics.counts.throttled["commands"] == 50


async def test_who_goes_on_is_told_and_heard_again_after_a_pause(autojump_clock: MockClock) -> None:
    async with (
        house(limits=LIMITS, orders=[0]) as place,
        place.visit() as raw,
        place.visit() as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ping, raw, BURST + 150)
        found = await answers(raw, BURST + 150)
        told = [(seconds, code) for seconds, code in found if code != "pong"]
        assert {code for _, code in told} == {"rate_limited"}
        assert told[0][0] == pytest.approx(10.0, abs=0.3)
        assert len(told) == pytest.approx(50, abs=3)
        await ping(other, 1)
        assert [code for _, code in await answers(other, 1)] == ["pong"]
        await trio.sleep(1)
        await ping(raw, 1)
        assert [code for _, code in await answers(raw, 1)] == ["pong"]
        assert place.topics.counts.commands_refused["rate_limited"] == len(told)


async def test_the_error_names_the_command(autojump_clock: MockClock) -> None:
    async with house(limits=LIMITS, orders=[0]) as place, place.visit() as raw, trio.open_nursery() as nursery:
        nursery.start_soon(ping, raw, BURST + 120)
        await answers(raw, BURST + 110)
        message = await raw.message()
        assert (message["code"], message["command"], message["id"]) == ("rate_limited", "ping", BURST + 111)
        nursery.cancel_scope.cancel()


async def test_a_flood_of_pings_is_read_at_its_rate(autojump_clock: MockClock) -> None:
    """Frames that are no commands: each is answered, in time."""
    burst = round(1000 * INCOMING_BURST_SECONDS)
    async with (
        house(limits=LIMITS, orders=[0]) as place,
        place.visit("/topics/orders") as raw,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            await raw.message()
        nursery.start_soon(raw.send, masked(9) * (burst + 3000))
        begin = trio.current_time()
        for _ in range(burst + 3000):
            assert (await raw.frame())[0] == 0xA
        assert trio.current_time() - begin == pytest.approx(3.0, abs=1.5)
        assert place.topics.counts.throttled["frames"] > 0


async def test_many_bytes_are_read_at_their_rate(autojump_clock: MockClock) -> None:
    limits = Limits(bytes_per_second=10_000, ping_interval=None, pong_timeout=None)
    async with house(limits=limits, orders=[0]) as place, place.visit() as raw, trio.open_nursery() as nursery:
        big = masked(1, json.dumps({"type": "ping", "id": 1}).encode().ljust(10_000))
        nursery.start_soon(raw.send, big * 6)
        found = await answers(raw, 6)
        assert {code for _, code in found} == {"pong"}
        assert found[-1][0] == pytest.approx(4.0, abs=1.0)


async def test_one_that_is_slowed_down_can_leave(autojump_clock: MockClock) -> None:
    async with house(limits=LIMITS, orders=[0]) as place:
        async with place.visit() as raw, trio.open_nursery() as nursery:
            nursery.start_soon(ping, raw, BURST + 10)
            await answers(raw, BURST + 1)
            await raw.reset()
            nursery.cancel_scope.cancel()
        await until(lambda: not place.door.connections)
