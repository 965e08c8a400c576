"""One connection's socket: order, waiting, what is counted, and how it ends. On socket pairs, without a clock."""

import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import trio
from tests.gateway import masked
from tests.plain_door import tcp_pair
from trio.testing import wait_all_tasks_blocked

from tailrace._fanout import JSON, VALUE, Stretch, Subscription, Tail
from tailrace.core.frame import TEXT, frame
from tailrace.websocket.guard import Guard, Violation
from tailrace.websocket.outlet import (
    AT_ONCE_STEPS,
    FLUSH_BYTES,
    NO_STATUS,
    PIECE_BYTES,
    ROOM_BYTES,
    Outlet,
)
from tailrace.websocket.turns import WRITERS, turns

PING = b"\x89\x80\0\0\0\0"  # a client's


class Wired:
    """An outlet, and the client's end of its socket."""

    def __init__(
        self, near: trio.socket.SocketType, far: trio.socket.SocketType, nursery: trio.Nursery, most: int
    ) -> None:
        self.near, self.far = near, far
        self.outlet = Outlet(trio.SocketStream(near), near, Guard(most, 4), nursery)

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self.far.recv(size - len(data))
        return data


@contextlib.asynccontextmanager
async def wire(*, tcp: bool = False, room: int | None = None, most: int = 100) -> AsyncIterator[Wired]:
    """room: bytes of the near send buffer; most: of a message."""
    near, far = await tcp_pair() if tcp else trio.socket.socketpair()
    if room is not None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    with near, far:
        async with trio.open_nursery() as nursery:
            wired = Wired(near, far, nursery, most)
            yield wired
            nursery.cancel_scope.cancel()


async def test_what_comes_in_passes_the_guard() -> None:
    async with wire() as wired:
        await wired.far.send(PING)
        assert await wired.outlet.receive_some() == PING
        assert (wired.outlet.guard.received_bytes, wired.outlet.guard.frames) == (6, 1)
        await wired.far.send(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0")
        with pytest.raises(Violation):
            await wired.outlet.receive_some()


async def test_a_dripped_message_comes_in_few_pieces() -> None:
    """trio-websocket keeps each piece: as many as the client likes would cost 30 times the message."""
    message = masked(TEXT, bytes(range(256)) * 64)
    async with wire(most=len(message)) as wired:
        pieces = []

        async def receive() -> None:
            while sum(map(len, pieces)) < len(message):
                pieces.append(await wired.outlet.receive_some(4096))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for at in range(0, len(message), 2):
                await wired.far.send(message[at : at + 2])
                await wait_all_tasks_blocked()
        assert b"".join(pieces) == message
        assert len(pieces) < len(message) / PIECE_BYTES + 10


@pytest.mark.parametrize(
    ("before", "data"),
    [
        (b"", masked(TEXT, b"hi")),  # whole
        (b"", PING + masked(TEXT, b"hi")[:-1]),  # a ping, and a frame begins
        (masked(TEXT, b"hi")[:-1], b"i" + PING),  # a frame ends
        (masked(TEXT, b"hi")[:-1], b"i" + PING + masked(TEXT, b"hi")[:-1]),  # one ends, one begins
        (b"", masked(TEXT, b"hi")[:3]),  # a header
    ],
)
async def test_nothing_is_held_back_that_could_be_answered(before: bytes, data: bytes) -> None:
    async with wire() as wired:
        if before:
            await wired.far.send(before)
            assert await wired.outlet.receive_some(4096) == before
        await wired.far.send(data)
        with trio.fail_after(30):
            assert await wired.outlet.receive_some(4096) == data


@pytest.mark.parametrize("rest", [b"", b"cd", b"cd" + PING])
async def test_what_was_gathered_comes_when_the_frame_or_the_client_ends(rest: bytes) -> None:
    async with wire() as wired:
        await wired.far.send(masked(TEXT, b"abcd")[:-4])
        await wired.outlet.receive_some(4096)
        await wired.far.send(b"ab")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive() -> None:
                assert await wired.outlet.receive_some(4096) == b"ab" + rest

            await wait_all_tasks_blocked()
            if rest:
                await wired.far.send(rest)
            else:
                wired.far.close()


async def test_the_guard_sees_what_is_gathered() -> None:
    async with wire() as wired:
        await wired.far.send(masked(TEXT, b"abcd", final=False)[:-4])
        await wired.outlet.receive_some(4096)
        await wired.far.send(b"a")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive() -> None:
                with pytest.raises(Violation):
                    await wired.outlet.receive_some(4096)

            await wait_all_tasks_blocked()
            await wired.far.send(b"bcd" + masked(0, announce=1 << 40))


async def test_posts_and_records_leave_in_the_order_they_were_committed() -> None:
    async with wire() as wired:
        tail = Tail(JSON, [0])
        subscription = Subscription(wired.outlet.line, tail, 1)
        payload = b'{"id":    0,"x":1}'
        wired.outlet.post(b"<1>")
        tail.append(TEXT, payload, 0, 0, None)
        tail.pump(1 << 20)
        wired.outlet.post(b"<2>")
        record = frame(TEXT, payload.replace(b"0", b"1", 1))
        assert await wired.read(6 + len(record)) == b"<1>" + record + b"<2>"
        assert wired.outlet.line.sent_bytes == 6 + len(record)
        subscription.close()


async def test_the_writer_brings_out_what_the_kernel_refused() -> None:
    async with wire(room=4608) as wired:
        sent = b"".join(b"%09d" % number for number in range(20_000))
        for begin in range(0, len(sent), 9000):
            wired.outlet.post(sent[begin : begin + 9000])
        assert wired.outlet.line.waiting_bytes > 100_000
        assert await wired.read(len(sent)) == sent
        await wait_all_tasks_blocked()
        assert wired.outlet.line.idle


async def test_room_is_waited_for() -> None:
    """Whoever asks and never reads is read no further; the waiting end with what waits, not before."""
    async with wire(room=4608) as wired:
        await wired.outlet.room()
        wired.outlet.post(b"x" * (ROOM_BYTES + 20_000))
        waited = trio.Event()

        async def wait() -> None:
            await wired.outlet.wait_send_all_might_not_block()
            waited.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert not waited.is_set()
            await wired.read(20_000 - 8192)
            await wait_all_tasks_blocked()
            assert not waited.is_set()
            await wired.read(ROOM_BYTES)
            await waited.wait()
            assert wired.outlet.line.waiting_bytes <= ROOM_BYTES


async def test_several_wait_at_the_same_time() -> None:
    """Two subscriptions that are read back, and the reader: each waits for the same writer."""
    async with wire(room=4608) as wired:
        wired.outlet.post(b"x" * (ROOM_BYTES + 20_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wired.outlet.room)
            nursery.start_soon(wired.outlet.clear)
            nursery.start_soon(wired.outlet.clear)
            await wait_all_tasks_blocked()
            await wired.read(ROOM_BYTES + 20_000)
        assert wired.outlet.line.idle


async def test_a_pong_waits_for_room_too() -> None:
    """trio-websocket's reader reads on once `send_all` returns: pings in a flood are read as fast as pongs leave."""
    async with wire(room=4608) as wired:
        wired.outlet.post(b"x" * (ROOM_BYTES + 20_000))
        with trio.move_on_after(0) as scope:
            await wired.outlet.send_all(b"\x8a\x00")
        assert scope.cancelled_caught


async def test_room_is_not_waited_for_when_the_client_is_gone() -> None:
    async with wire(room=4608) as wired:
        wired.outlet.post(b"x" * (ROOM_BYTES + 20_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wired.outlet.room)
            await wait_all_tasks_blocked()
            wired.far.close()
        assert wired.outlet.line.error


@pytest.mark.parametrize(
    ("frames", "code"),
    [(b"\x88\x04\x0f\xa0hi", 4000), (b"\x88\x02\x03\xe8", 1000), (b"\x88\x00", NO_STATUS), (b"\x8a\x00", None)],
)
async def test_the_close_that_was_sent(frames: bytes, code: int | None) -> None:
    async with wire() as wired:
        await wired.outlet.send_all(frames)
        assert wired.outlet.close_sent == code
        wired.outlet.post(b"\x88\x02\x03\xe9")
        assert wired.outlet.close_sent == (code or 1001)


async def test_nothing_is_sent_behind_a_close() -> None:
    """Whoever has subscriptions on the line is told before it goes, and ends them."""
    async with wire() as wired:
        tail = Tail(JSON, [0])
        subscription = Subscription(wired.outlet.line, tail, 1)
        ended = []

        def end() -> None:
            wired.outlet.post(b"too late")
            ended.append(subscription.close())

        wired.outlet.on_close = end
        await wired.outlet.send_all(b"\x88\x02\x03\xe8")
        wired.outlet.post(b"too late")
        await wired.outlet.send_all(b"\x8a\x00")
        tail.append(TEXT, b'{"id":    0}', 0, 0, None)
        tail.pump(1 << 20)
        wired.near.shutdown(socket.SHUT_WR)
        assert await wired.far.recv(1000) == b"\x88\x02\x03\xe8"
        assert await wired.far.recv(1000) == b""
        assert ended == [{0: 0}]


async def test_closed_by_trio_websocket() -> None:
    """The socket stays: the connection closes it, once everything has left."""
    async with wire() as wired:
        await wired.outlet.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await wired.outlet.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await wired.outlet.send_all(b"\x8a\x00")
        wired.outlet.post(b"the last")
        assert await wired.read(8) == b"the last"


async def test_what_cannot_be_read_any_more_from_the_tail_is_told() -> None:
    async with wire(room=4608) as wired:
        told: list[Subscription] = []
        wired.outlet.on_dropped = told.extend
        tail = Tail(JSON, [0], 4096)
        subscription = Subscription(wired.outlet.line, tail, 1)
        for offset in range(100):
            tail.append(TEXT, b'{"id":    0,%s}' % (b"x" * 1000), 0, offset, None)
            tail.pump(1 << 20)
        for outlet in tail.take_woken():
            outlet.wake()
        await wait_all_tasks_blocked()
        while tail.evict():
            pass
        for outlet in tail.take_woken():
            outlet.wake()
        with trio.fail_after(30):
            while not told:
                await wired.far.recv(65536)
                await wait_all_tasks_blocked()
        assert told == [subscription]


async def test_a_dismissed_outlet_starts_no_task() -> None:
    """The pump may wake it after its nursery has closed, and the watch of topics may want a subscription read back:
    that must not raise, for it would end the gateway, and nothing is lost."""
    async with wire(room=4608) as wired:
        async with trio.open_nursery() as closed:
            outlet = Outlet(trio.SocketStream(wired.near), wired.near, Guard(100, 4), closed)
            outlet.dismiss()
        sent = b"x" * (2 * FLUSH_BYTES)
        outlet.post(sent)
        outlet.wake()
        outlet.start_soon(pytest.fail, "it was started")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outlet.drain)
            assert await wired.read(len(sent)) == sent
        assert outlet.line.idle


async def test_a_drain_ends_with_the_client() -> None:
    async with wire(room=4608) as wired:
        wired.outlet.dismiss()
        wired.outlet.post(b"x" * 100_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wired.outlet.drain)
            await wait_all_tasks_blocked()
            wired.far.close()


async def test_what_is_acknowledged() -> None:
    """On a pair of Unix sockets nothing counts as acknowledged until it is read, with the kernel's overhead."""
    async with wire(tcp=True) as wired:
        wired.outlet.post(b"x" * 1000)
        await wired.read(1000)
        with trio.fail_after(30):
            while wired.outlet.unacknowledged_bytes:  # the kernels' own moment
                await trio.lowlevel.checkpoint()
        assert wired.outlet.line.sent_bytes == 1000


async def test_what_waits_is_not_acknowledged() -> None:
    async with wire(tcp=True, room=4608) as wired:
        wired.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4608)
        wired.outlet.post(b"x" * 8 * 1024 * 1024)
        await wait_all_tasks_blocked()
        waiting = wired.outlet.line.waiting_bytes
        # The far kernel's window is full: some of what the near one took is on its way, or unsent.
        assert 0 < waiting < wired.outlet.unacknowledged_bytes <= 8 * 1024 * 1024


async def test_a_reset_is_heard_at_once() -> None:
    async with wire(tcp=True, room=4608) as wired:
        wired.outlet.post(b"x" * 1_000_000)
        wired.outlet.reset()
        wired.near.close()
        with pytest.raises(ConnectionResetError):
            await wired.read(1_000_000)


# ----------------------------------------------------------------------------------------------- without a task


def read_back(wired: Wired, records: int, size: int = 1000) -> tuple[Subscription, bytes]:
    """A subscription that is fed a block, and what its client is to get."""
    stretch = Stretch(VALUE, 0, 0)
    for offset in range(records):
        stretch.append(TEXT, b"%0*d" % (size, offset), offset, None)
    stretch.seal(records)
    subscription = Subscription(wired.outlet.line, Tail(VALUE, [records]), 1, None, None, {0: 0}, None, True)
    assert subscription.feed(stretch)
    return subscription, b"".join(frame(TEXT, b"%0*d" % (size, offset)) for offset in range(records))


async def test_what_the_kernel_takes_at_once_costs_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire() as wired:
        monkeypatch.setattr(Outlet, "start_soon", lambda *_: pytest.fail("a task"))
        told: list[Subscription] = []
        wired.outlet.on_dropped = told.extend
        subscription, sent = read_back(wired, 100)
        wired.outlet.write()
        assert told == [subscription]
        assert wired.outlet.line.idle
        assert await wired.read(len(sent)) == sent


async def test_what_it_does_not_take_is_the_writers() -> None:
    async with wire(room=4608) as wired:
        _, sent = read_back(wired, 100)
        wired.outlet.write()
        assert not wired.outlet.line.idle
        assert await wired.read(len(sent)) == sent


async def test_a_round_without_a_turn_leaves_it_to_the_writer() -> None:
    """However many ask for it, no more is sent in one round of the loop."""
    async with wire() as wired:
        while turns().take_nowait():
            pass
        _, sent = read_back(wired, 10)
        wired.outlet.write()
        assert wired.outlet.line.sent_bytes == 0
        assert await wired.read(len(sent)) == sent


async def test_one_connection_has_few_turns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.websocket.outlet.FLUSH_BYTES", 1)
    async with wire(room=1 << 20) as wired:
        _, sent = read_back(wired, 10, size=2 * 65536)
        wired.outlet.write()
        assert 0 < wired.outlet.line.sent_bytes < len(sent)
        assert sum(iter(turns().take_nowait, False)) == WRITERS - AT_ONCE_STEPS
        assert await wired.read(len(sent)) == sent


async def test_who_goes_on_while_it_is_told_is_written_too() -> None:
    """What follows the block that was sent is fed from within."""
    async with wire() as wired:
        subscription, sent = read_back(wired, 10)

        def go_on(_: list[Subscription]) -> None:
            if subscription.positions[0] == 10:
                following = Stretch(VALUE, 0, 10)
                following.append(TEXT, b"x", 10, None)
                following.seal(11)
                subscription.feed(following)
                wired.outlet.write()

        wired.outlet.on_dropped = go_on
        wired.outlet.write()
        sent += frame(TEXT, b"x")
        assert await wired.read(len(sent)) == sent
        await wait_all_tasks_blocked()
        assert wired.outlet.line.idle


async def test_a_dismissed_one_writes_nothing() -> None:
    async with wire() as wired:
        read_back(wired, 10)
        wired.outlet.dismiss()
        wired.outlet.write()
        assert wired.outlet.line.sent_bytes == 0
