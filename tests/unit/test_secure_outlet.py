"""The outlet under TLS: what waits where, who is served without a task, and how it ends. Without OpenSSL, on pairs."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, until
from tests.plain_door import tcp_pair
from trio.testing import wait_all_tasks_blocked

from tailrace._fanout import BEHIND, LIVE, VALUE, Subscription, Tail
from tailrace.disconnect import RATE_LIMITED
from tailrace.websocket import outlet as bare
from tailrace.websocket.connection import Connection, close_frame, converse
from tailrace.websocket.guard import Guard
from tailrace.websocket.outlet import ROOM_BYTES
from tailrace.websocket.secure import SecureOutlet

ADDED_BYTES = 22


class PlainSeal:
    """Adds so many bytes to each piece. What it gave away is `gone`; while `stuck` nothing goes."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self.gone, self._waiting = b"", b""
        self.stuck = self.broken = self.flooded = False
        self.added_bytes = ADDED_BYTES

    @property
    def unsent_bytes(self) -> int:
        return len(self._waiting)

    def write(self, data: bytes) -> bool:
        assert not self._waiting, "sealed before the last piece has gone"
        self._waiting = data + b"\0" * ADDED_BYTES
        return self.flush()

    def flush(self) -> bool:
        if self.broken:
            raise trio.BrokenResourceError
        if not self.stuck:
            self.gone, self._waiting = self.gone + self._waiting.rstrip(b"\0"), b""
        return not self._waiting

    def finish(self) -> None:
        self._socket.shutdown(trio.socket.SHUT_WR)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.flooded:
            raise trio.BrokenResourceError
        return await self._socket.recv(max_bytes or 4096)


class Wired:
    def __init__(self, near: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.seal = PlainSeal(near)
        self.outlet = SecureOutlet(trio.SocketStream(near), near, Guard(100, 4), nursery, seal=self.seal)


@contextlib.asynccontextmanager
async def wire() -> AsyncIterator[Wired]:
    near, far = await tcp_pair()
    with near, far:
        async with trio.open_nursery() as nursery:
            wired = Wired(near, nursery)
            yield wired
            wired.outlet.dismiss()
            nursery.cancel_scope.cancel()


async def test_posts_and_records_leave_in_the_order_they_were_committed() -> None:
    async with wire() as wired:
        tail = Tail(VALUE, [0])
        wired.outlet.post(b"\x81\x01a")
        Subscription(wired.outlet.line, tail, 1)
        tail.append(2, b"b", 0, 0, None)
        tail.pump(1 << 20)
        for each in tail.take_woken():
            each.wake()
        await wait_all_tasks_blocked()
        wired.outlet.post(b"\x81\x01c")
        await wait_all_tasks_blocked()
        assert wired.seal.gone == b"\x81\x01a\x82\x01b\x81\x01c"


async def test_a_healthy_connection_has_no_task() -> None:
    async with wire() as wired:
        tail = Tail(VALUE, [0])
        subscription = Subscription(wired.outlet.line, tail, 1)
        for offset in range(3):
            tail.append(2, b"b", 0, offset, None)
            tail.pump(1 << 20)
            assert subscription.state == BEHIND
            for each in tail.take_woken():
                each.wake()
            await wait_all_tasks_blocked()
            assert subscription.state == LIVE
            assert not wired.nursery.child_tasks
        assert wired.seal.gone == b"\x82\x01b" * 3


async def test_one_that_is_stuck_gets_a_writer() -> None:
    async with wire() as wired:
        wired.seal.stuck = True
        wired.outlet.post(b"\x81\x01a")
        await until(lambda: wired.nursery.child_tasks, "the writer")
        assert wired.outlet.waiting_bytes == 3 + ADDED_BYTES
        wired.outlet.post(b"\x81\x01b")
        wired.seal.stuck = False
        await wired.outlet.clear()
        assert wired.seal.gone == b"\x81\x01a\x81\x01b"


async def test_room_counts_what_was_sealed() -> None:
    async with wire() as wired:
        wired.seal.stuck = True
        wired.outlet.post(b"\x82\x7e\xff\xff" + b"x" * 65535)
        await until(lambda: wired.outlet.line.waiting_bytes == 0, "the first step")
        with trio.move_on_after(0) as waited:
            await wired.outlet.room()
        assert waited.cancelled_caught
        assert wired.outlet.waiting_bytes > ROOM_BYTES


async def test_a_lone_ping_counts_as_its_own_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the pong clock would take it for data that waits, and a dead client would be kept for the write timeout."""
    async with wire() as wired:
        wired.outlet.post(b"\x89\x00")
        await wait_all_tasks_blocked()
        monkeypatch.setattr(bare.Outlet, "unacknowledged_bytes", 2 + ADDED_BYTES)
        assert wired.outlet.unacknowledged_bytes == wired.outlet.line.sent_bytes == 2
        monkeypatch.setattr(bare.Outlet, "unacknowledged_bytes", 0)
        assert wired.outlet.unacknowledged_bytes == 0


async def test_a_broken_one_is_broken_once() -> None:
    async with wire() as wired:
        wired.seal.broken = True
        wired.outlet.post(b"\x81\x01a")
        await wait_all_tasks_blocked()
        assert wired.outlet.line.error
        await wired.outlet.room()
        await wired.outlet.drain()
        assert not wired.nursery.child_tasks


async def test_a_dismissed_one_is_left_to_drain() -> None:
    async with wire() as wired:
        wired.outlet.post(b"\x81\x01a")
        wired.outlet.dismiss()
        await wait_all_tasks_blocked()
        assert wired.seal.gone == b""
        await wired.outlet.drain()
        assert wired.seal.gone == b"\x81\x01a"


async def test_a_fault_in_a_step_is_its_connections() -> None:
    """The sweep serves all: it goes on, and that connection's nursery gets the exception."""

    async def fails(other: Wired) -> None:
        async with wire() as wired:
            wired.seal.write = None  # type: ignore[method-assign,assignment]
            wired.outlet.post(b"\x81\x01a")
            other.outlet.post(b"\x81\x01b")
            await trio.sleep_forever()

    async with wire() as other:
        with pytest.raises(ExceptionGroup) as failed:
            await fails(other)
        assert failed.group_contains(TypeError)
        await wait_all_tasks_blocked()
        assert other.seal.gone == b"\x81\x01b"


class Flooding(trio.abc.ReceiveStream):
    """What a client sends until its records bring nothing any more."""

    def __init__(self, seal: PlainSeal) -> None:
        self._seal = seal

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        self._seal.flooded = True
        raise trio.BrokenResourceError

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_who_sends_records_without_data_is_told_so() -> None:
    """And is read away meanwhile, past what would open its records."""
    near, far = await tcp_pair()
    seal = PlainSeal(near)

    async def talk(connection: Connection) -> None:
        await connection.receive()

    with far, trio.fail_after(DEADLINE_SECONDS):
        await far.send(b"\x17\x03\x03")
        far.shutdown(trio.socket.SHUT_WR)
        stream = trio.StapledStream(trio.testing.MemorySendStream(), Flooding(seal))
        outlet = partial(SecureOutlet, seal=seal)
        connection = await converse(stream, near, "", Guard(100, 4), b"101", lambda _: b"", talk, outlet)
    assert (connection.ending, connection.by_gateway) == (RATE_LIMITED, True)
    assert seal.gone == b"101" + close_frame(RATE_LIMITED)
