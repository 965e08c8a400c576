"""Whoever leaves is not waited for, and whoever stays gets what was asked for."""

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.gateway import presence
from tailrace.gateway.presence import LOOK_SECONDS, Gone, Presence


async def forever() -> None:
    await trio.sleep_forever()


async def test_the_answer() -> None:
    near, far = trio.socket.socketpair()
    with near, far:

        async def ask() -> str:
            await wait_all_tasks_blocked()
            return "found"

        assert await Presence().meanwhile(near, ask) == "found"


async def test_what_it_raises_comes_without_a_group() -> None:
    near, far = trio.socket.socketpair()
    with near, far:

        async def ask() -> None:
            await trio.lowlevel.checkpoint()
            raise KeyError("why")

        with pytest.raises(KeyError, match="why"):
            await Presence().meanwhile(near, ask)


@pytest.mark.parametrize("reset", [False, True])
async def test_who_leaves_is_not_waited_for(reset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.01)
    listener = socket.create_server(("127.0.0.1", 0))
    far = socket.create_connection(listener.getsockname())
    near = trio.socket.from_stdlib_socket(listener.accept()[0])
    if reset:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    with listener, near:

        async def leave() -> None:
            await wait_all_tasks_blocked()
            far.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with trio.fail_after(30), pytest.raises(Gone):
                await Presence().meanwhile(near, forever)


async def test_what_comes_meanwhile_is_left_to_be_read(autojump_clock: MockClock) -> None:
    near, far = trio.socket.socketpair()
    with near, far:
        await far.send(b"too early")

        async def ask() -> str:
            await trio.sleep(10 * LOOK_SECONDS)
            return "found"

        assert await Presence().meanwhile(near, ask) == "found"
        assert await near.recv(100) == b"too early"


async def test_all_who_wait_are_looked_at_by_one_task_that_ends_with_them(autojump_clock: MockClock) -> None:
    of_all, tasks = Presence(), trio.lowlevel.current_statistics().tasks_living
    pairs = [trio.socket.socketpair() for _ in range(3)]
    told: list[int] = []

    async def wait(number: int) -> None:
        try:
            await of_all.meanwhile(pairs[number][0], forever)
        except Gone:
            told.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks + 3 + 1
        pairs[1][1].close()
        await trio.sleep(2 * LOOK_SECONDS)
        assert told == [1]
        nursery.cancel_scope.cancel()
    await trio.sleep(2 * LOOK_SECONDS)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    for near, far in pairs:
        near.close()
        far.close()


async def test_cancelled_from_outside() -> None:
    near, far = trio.socket.socketpair()
    with near, far:
        with trio.CancelScope() as scope:
            scope.cancel()
            await Presence().meanwhile(near, forever)
        assert scope.cancelled_caught
