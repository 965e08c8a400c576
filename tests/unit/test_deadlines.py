"""deadlines: each is met once, at its time, wherever it was moved to, and what is over takes no room."""

import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tailrace.gateway.deadlines import SLACK, Deadlines


def started(nursery: trio.Nursery) -> tuple[Deadlines[str], list[tuple[str, float]]]:
    met: list[tuple[str, float]] = []
    deadlines: Deadlines[str] = Deadlines(trio.current_time, lambda owner: met.append((owner, trio.current_time())))
    nursery.start_soon(deadlines.run)
    return deadlines, met


async def test_each_at_its_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        deadlines, met = started(nursery)
        begun = trio.current_time()
        for name, at in (("late", 500), ("soon", 1), ("moved up", 90), ("moved back", 2), ("gone", 3), ("past", -5)):
            deadlines.set(name, begun + at)
        deadlines.set("moved up", begun + 4)
        deadlines.set("moved back", begun + 40)
        deadlines.discard("gone")
        deadlines.discard("never there")
        await trio.sleep(1000)
        assert [(name, at - begun) for name, at in met] == [
            ("past", 0),
            ("soon", 1),
            ("moved up", 4),
            ("moved back", 40),
            ("late", 500),
        ]
        assert len(deadlines) == 0
        nursery.cancel_scope.cancel()


async def test_one_that_is_earlier_than_what_is_waited_for(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        deadlines, met = started(nursery)
        begun = trio.current_time()
        deadlines.set("a", begun + 20)
        await trio.sleep(1)
        deadlines.set("b", begun + 2)
        await trio.sleep(2)
        assert [name for name, _ in met] == ["b"]
        nursery.cancel_scope.cancel()


async def test_one_who_brings_a_token_again_and_again_takes_no_room(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        deadlines, met = started(nursery)
        for turn in range(10_000):
            deadlines.set("a", trio.current_time() + 1000 + turn)
            deadlines.set(f"gone {turn}", trio.current_time() + 1000)
            deadlines.discard(f"gone {turn}")
        assert len(deadlines) == 1
        assert len(deadlines._heap) <= 2 + SLACK + 2
        await trio.sleep(20_000)
        assert [name for name, _ in met] == ["a"]
        nursery.cancel_scope.cancel()


async def test_those_who_left_are_not_held_until_their_time(autojump_clock: MockClock) -> None:
    """Nobody new has to come for that."""
    async with trio.open_nursery() as nursery:
        deadlines, met = started(nursery)
        for turn in range(10_000):
            deadlines.set(f"gone {turn}", trio.current_time() + 1000)
        deadlines.set("stays", trio.current_time() + 2000)
        for turn in range(10_000):
            deadlines.discard(f"gone {turn}")
        assert len(deadlines._heap) <= 2 + SLACK
        await trio.sleep(20_000)
        assert [name for name, _ in met] == ["stays"]
        nursery.cancel_scope.cancel()


async def test_a_clock_that_is_put_forward(autojump_clock: MockClock) -> None:
    """A wall clock is looked at again, whatever was waited for."""
    now = [0.0]
    met: list[str] = []
    async with trio.open_nursery() as nursery:
        deadlines: Deadlines[str] = Deadlines(lambda: now[0], met.append)
        nursery.start_soon(deadlines.run)
        deadlines.set("a", 3600)
        await trio.sleep(1)
        now[0] = 4000.0
        await trio.sleep(60)
        assert met == ["a"]
        nursery.cancel_scope.cancel()


async def test_others_have_their_turn_while_thousands_are_met(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        deadlines, met = started(nursery)
        for number in range(1000):
            deadlines.set(str(number), trio.current_time() + 1)
        seen = []

        async def look() -> None:
            while len(met) < 1000:
                seen.append(len(met))
                await trio.lowlevel.checkpoint()

        await trio.sleep(0.99)
        autojump_clock.jump(0.01)
        nursery.start_soon(look)
        await trio.sleep(1)
        assert len(met) == 1000
        assert len({count for count in seen if 0 < count < 1000}) >= 5
        nursery.cancel_scope.cancel()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30) | st.none()), max_size=60), st.integers(0, 99))
@pytest.mark.filterwarnings("ignore")
def test_any_order_of_moves(moves: list[tuple[int, int | None]], seed: int) -> None:
    """Against a dict: who is met, and when, is what was said last of each."""
    chance = random.Random(seed)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            deadlines, met = started(nursery)
            begun = trio.current_time()
            wanted: dict[str, float] = {}
            done: list[tuple[str, float]] = []
            for owner, at in moves:
                if chance.random() < 0.3:
                    await trio.sleep(1)
                    done += [(name, when) for name, when in wanted.items() if when <= trio.current_time()]
                    wanted = {name: when for name, when in wanted.items() if when > trio.current_time()}
                if at is None:
                    deadlines.discard(str(owner))
                    wanted.pop(str(owner), None)
                else:
                    when = begun + at + 0.5
                    if when > trio.current_time():
                        deadlines.set(str(owner), when)
                        wanted[str(owner)] = when
            await trio.sleep(100)
            done += wanted.items()
            assert sorted(met) == sorted(done)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
