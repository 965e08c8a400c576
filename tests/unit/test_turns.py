"""How many writers go on in one round of the loop, and that all have their turn."""

import itertools

import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from tailrace.websocket.turns import WRITERS, turns


async def test_one_for_each_run_of_the_loop() -> None:
    assert turns() is turns()


def test_another_run_has_its_own() -> None:
    async def main() -> object:
        await turns().take()
        return turns()

    assert trio.run(main) is not trio.run(main)


async def test_few_do_not_wait() -> None:
    """Not even for a checkpoint: most of the time there is no line."""
    with assert_no_checkpoints():
        for _ in range(WRITERS):
            await turns().take()
    with assert_checkpoints():
        await turns().take()


async def test_many_take_turns_and_others_run_between() -> None:
    """A task that wants the loop once a round is not held up by thousands of writers."""
    taken: list[int] = []
    seen: list[int] = []

    async def take(number: int) -> None:
        await turns().take()
        taken.append(number)

    async def look() -> None:
        while len(taken) < 20 * WRITERS:
            seen.append(len(taken))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(20 * WRITERS):
            nursery.start_soon(take, number)
        nursery.start_soon(look)
    assert sorted(taken) == list(range(20 * WRITERS))
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2 * WRITERS


async def test_who_leaves_the_line_costs_nobody_a_turn() -> None:
    taken: list[int] = []

    async def take(number: int) -> None:
        await turns().take()
        taken.append(number)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as leaving:
                for number in range(3 * WRITERS):
                    leaving.start_soon(take, -number)
                scope.cancel()
        for number in range(3 * WRITERS):
            nursery.start_soon(take, number)
    await wait_all_tasks_blocked()
    assert [number for number in sorted(taken) if number > 0] == list(range(1, 3 * WRITERS))


async def test_who_does_not_wait_has_what_is_left_of_the_round() -> None:
    for _ in range(WRITERS):
        assert turns().take_nowait()
    assert not turns().take_nowait()
    await wait_all_tasks_blocked()
    assert turns().take_nowait()
