"""Reading an accepted socket: what trio's own stream promises, of a stream that waits with less. On real sockets."""

import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator
from os import read

import pytest
import trio
from tests.plain_door import tcp_pair
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tailrace.tls.tcp import TcpStream


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[TcpStream, trio.socket.SocketType]]:
    near, far = await tcp_pair()
    with near, far, trio.fail_after(30):
        yield TcpStream(trio.SocketStream(near)), far


async def test_what_has_come_is_read_to_the_end() -> None:
    async with pair() as (stream, far):
        await far.send(b"hello")
        await stream.wait_send_all_might_not_block()
        assert await stream.receive_some(2) == b"he"
        assert await stream.receive_some() == b"llo"
        far.shutdown(trio.socket.SHUT_WR)
        assert await stream.receive_some() == b""
        await stream.send_all(b"bye")
        assert await far.recv(10) == b"bye"


async def test_what_is_to_come_is_waited_for() -> None:
    async with pair() as (stream, far), trio.open_nursery() as nursery:
        got = []

        async def read() -> None:
            got.append(await stream.receive_some())
            got.append(await stream.receive_some())

        nursery.start_soon(read)
        for said in (b"one", b"two"):
            await wait_all_tasks_blocked()
            await far.send(said)
    assert got == [b"one", b"two"]


async def test_reading_lets_others_run() -> None:
    """Also when there is always something to read."""
    async with pair() as (stream, far):
        await far.send(b"there")
        await trio.lowlevel.wait_readable(stream.socket)
        with assert_checkpoints():
            await stream.receive_some()


@pytest.mark.parametrize("there", [True, False])
async def test_cancelled_it_takes_nothing(there: bool) -> None:
    async with pair() as (stream, far):
        if there:
            await far.send(b"kept")
            await trio.lowlevel.wait_readable(stream.socket)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        if not there:
            await far.send(b"kept")
        assert await stream.receive_some() == b"kept"


async def test_cancelled_while_it_waits() -> None:
    async with pair() as (stream, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await far.send(b"kept")
        assert await stream.receive_some() == b"kept"


@pytest.mark.parametrize("waits", [True, False])
async def test_what_was_taken_is_not_lost_to_who_is_cancelled_meanwhile(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair() as (stream, far), trio.open_nursery() as nursery:

        async def say() -> None:
            if waits:
                await wait_all_tasks_blocked()
            await far.send(b"taken")

        def read_and_cancel(descriptor: int, max_bytes: int) -> bytes:
            data = read(descriptor, max_bytes)
            scope.cancel()
            return data

        monkeypatch.setattr("tailrace.tls.tcp.os.read", read_and_cancel)
        if waits:
            nursery.start_soon(say)
        else:
            await say()
            await trio.lowlevel.wait_readable(stream.socket)
        with trio.CancelScope() as scope:
            assert await stream.receive_some() == b"taken"
        assert not scope.cancelled_caught


async def test_woken_for_nothing_it_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    wait, woken = trio.lowlevel.wait_readable, itertools.count()
    async with pair() as (stream, far):

        async def woken_early(sock: trio.socket.SocketType) -> None:
            if next(woken):
                await far.send(b"at last")
                await wait(sock)
            else:
                await trio.lowlevel.checkpoint()

        monkeypatch.setattr(trio.lowlevel, "wait_readable", woken_early)
        assert await stream.receive_some() == b"at last"


@pytest.mark.parametrize("waits", [True, False])
async def test_broken_off_by_the_other_side(waits: bool) -> None:
    async with pair() as (stream, far), trio.open_nursery() as nursery:

        async def break_off() -> None:
            if waits:
                await wait_all_tasks_blocked()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()

        if waits:
            nursery.start_soon(break_off)
        else:
            await break_off()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


@pytest.mark.parametrize("waits", [True, False])
async def test_closed_by_us(waits: bool) -> None:
    async with pair() as (stream, _), trio.open_nursery() as nursery:

        async def close() -> None:
            if waits:
                await wait_all_tasks_blocked()
            await trio.aclose_forcefully(stream)

        if waits:
            nursery.start_soon(close)
        else:
            await close()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
