"""An accepted socket, and accepting: what trio's own promise, done with less. On real sockets."""

import contextlib
import errno
import itertools
import socket
import struct
from collections.abc import AsyncIterator
from os import read

import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import until
from tests.plain_door import tcp_pair
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from tailrace.sockets.tcp import AT_ONCE, TCP_NOTSENT_LOWAT, UNSENT_BYTES, TcpStream, accept_all
from tailrace.websocket.connection import leaves


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[TcpStream, trio.socket.SocketType]]:
    near, far = await tcp_pair()
    with near, far, trio.fail_after(30):
        yield TcpStream(near), far


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

        monkeypatch.setattr("tailrace.sockets.tcp.os.read", read_and_cancel)
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


async def test_more_than_the_kernel_takes_is_sent_whole() -> None:
    async with pair() as (stream, far), trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, bytes(8 << 20))
        await wait_all_tasks_blocked()
        got = 0
        while got < 8 << 20:
            got += len(await far.recv(1 << 20))


async def test_the_end_is_said_and_the_other_side_still_heard() -> None:
    async with pair() as (stream, far):
        await stream.send_eof()
        assert await far.recv(1) == b""
        await far.send(b"still here")
        assert await stream.receive_some() == b"still here"


async def test_saying_something_to_nobody() -> None:
    async with pair() as (stream, far):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"hello")
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_eof()
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"hello")
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_eof()


# -------------------------------------------------------------------------------------------------------- accepting


@contextlib.asynccontextmanager
async def accepting() -> AsyncIterator[tuple[tuple[str, int], list[TcpStream]]]:
    """Where, and who has come."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address, come = listener.socket.getsockname(), list[TcpStream]()

    async def handle(stream: TcpStream) -> None:
        come.append(stream)
        with stream.socket:
            await trio.sleep_forever()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_all, [listener], handle, nursery)
            yield address, come
            nursery.cancel_scope.cancel()


async def test_all_who_come_are_accepted() -> None:
    """Also when they are more than are taken at once."""
    async with accepting() as (address, come), contextlib.AsyncExitStack() as stack:
        for _ in range(3 * AT_ONCE + 1):
            far = stack.enter_context(trio.socket.socket())
            await far.connect(address)
        await until(lambda: len(come) == 3 * AT_ONCE + 1)
        assert {stream.peer for stream in come} == {"127.0.0.1"}
    with pytest.raises(ConnectionRefusedError), trio.socket.socket() as far:
        await far.connect(address)


async def test_everybody_has_the_options() -> None:
    """Also who came before they were set on the listener, from which the others have them."""
    async with accepting() as (address, come), contextlib.AsyncExitStack() as stack:
        for number in range(3):
            far = stack.enter_context(trio.socket.socket())
            await far.connect(address)
            await until(lambda: len(come) > number)  # noqa: B023
            await wait_all_tasks_blocked()
            option = come[number].socket.getsockopt
            assert option(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert option(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == UNSENT_BYTES


@pytest.mark.parametrize(("fault", "told"), [(errno.EMFILE, 1), (errno.EPERM, 1), (errno.ECONNABORTED, 0)])
async def test_who_cannot_be_accepted_now(
    fault: int, told: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who has given up is nobody's fault; where descriptors run out it is said, and tried again."""
    accept, faults = socket.socket.accept, [fault]

    def fail_once(listening: socket.socket) -> object:
        if faults:
            raise OSError(faults.pop(), "why")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", fail_once)
    with capture_logs() as log:
        async with accepting() as (address, come):
            with trio.socket.socket() as far:
                await far.connect(address)
                await until(lambda: come)
    assert [entry["event"] for entry in log] == ["cannot accept"] * told


async def test_a_fault_of_ours_in_accepting_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the loop would spin for ever."""

    def fail(listening: socket.socket) -> object:
        raise OSError(errno.EINVAL, "why")

    monkeypatch.setattr(socket.socket, "accept", fail)
    found = []
    try:
        async with accepting() as (address, _):
            with trio.socket.socket() as far:
                await far.connect(address)
                await trio.sleep_forever()
    except* OSError as group:
        found += leaves(group)
    assert [error.errno for error in found if isinstance(error, OSError)] == [errno.EINVAL]
