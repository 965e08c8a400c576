"""Whoever leaves is not waited for, and whoever stays gets what was asked for."""

import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tailrace.gateway.presence import Gone, while_present


async def forever() -> None:
    await trio.sleep_forever()


async def test_the_answer() -> None:
    near, far = trio.socket.socketpair()
    with near, far:

        async def ask() -> str:
            await wait_all_tasks_blocked()
            return "found"

        assert await while_present(near, ask) == "found"


async def test_what_it_raises_comes_without_a_group() -> None:
    near, far = trio.socket.socketpair()
    with near, far:

        async def ask() -> None:
            await trio.lowlevel.checkpoint()
            raise KeyError("why")

        with pytest.raises(KeyError, match="why"):
            await while_present(near, ask)


@pytest.mark.parametrize("reset", [False, True])
async def test_who_leaves_is_not_waited_for(reset: bool) -> None:
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
                await while_present(near, forever)


async def test_what_comes_meanwhile_is_left_to_be_read() -> None:
    near, far = trio.socket.socketpair()
    with near, far:
        await far.send(b"too early")

        async def ask() -> str:
            await wait_all_tasks_blocked()
            return "found"

        assert await while_present(near, ask) == "found"
        assert await near.recv(100) == b"too early"


async def test_cancelled_from_outside() -> None:
    near, far = trio.socket.socketpair()
    with near, far:
        with trio.CancelScope() as scope:
            scope.cancel()
            await while_present(near, forever)
        assert scope.cancelled_caught
