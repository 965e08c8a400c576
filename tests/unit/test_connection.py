"""A conversation from the handshake to its named ending, on a socket pair with a client made of bytes.

The same on real sockets, with the library and with hostile clients: tests/integration/test_ws_hostile_clients.py.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio_websocket
from structlog.testing import capture_logs
from tests.gateway import Raw, masked
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace._fanout import VALUE, Subscription, Tail
from tailrace.core.frame import frame
from tailrace.disconnect import INTERNAL, SHUTDOWN, SLOW, TOO_BIG, WRITE_TIMEOUT, Disconnect
from tailrace.websocket.connection import CLOSE_SECONDS, Connection, Ended, close_frame, converse, leaves
from tailrace.websocket.guard import Guard

CLOSE, PING, PONG, TEXT = 0x8, 0x9, 0xA, 0x1
BYE = masked(CLOSE, (1000).to_bytes(2, "big") + b"bye")

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"

Talk = Callable[[Connection], Awaitable[None]]


async def listen(connection: Connection) -> None:
    with contextlib.suppress(Ended):
        while True:
            await connection.receive()


def ignored(connection: Connection) -> bytes:
    """Nothing is said behind the answer to its handshake."""
    return b""


class Held:
    """A conversation in a task, its client, and its connection once it has ended."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.connection: Connection | None = None
        self.endings: list[Disconnect] = []
        self._ended = trio.Event()

    async def ended(self) -> tuple[int, str, bool]:
        """Code, reason, and whether it was the gateway that ended it."""
        with trio.fail_after(30):
            await self._ended.wait()
        assert self.connection is not None
        assert self.connection.ending is not None
        assert self.endings in ([], [self.connection.ending])
        return self.connection.ending.code, self.connection.ending.reason, self.connection.by_gateway

    async def run(self, near: trio.socket.SocketType, talk: Talk) -> None:
        def begun(connection: Connection) -> bytes:
            connection.on_end = self.endings.append
            return b""

        stream = trio.SocketStream(near)
        try:
            self.connection = await converse(stream, near, "test", Guard(1000, 4), ANSWER, begun, talk)
        finally:
            self._ended.set()


@contextlib.asynccontextmanager
async def held(talk: Talk = listen, *, shaken: bool = True, fault: str | None = None) -> AsyncIterator[Held]:
    """shaken: the client has read the answer to its handshake. fault: what is logged, with a traceback."""
    near, far = trio.socket.socketpair()
    with far, capture_logs() as log:
        conversation = Held(Raw(trio.SocketStream(far)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conversation.run, near, talk)
            if shaken:
                await conversation.raw.head()
            yield conversation
            await conversation.raw.stream.aclose()
            await conversation.ended()
        assert near.fileno() == -1, "the descriptor was not given back"
        assert conversation.connection is not None
        assert conversation.connection.outlet.line.error, "whoever still held it would write to another's"
    errors = [repr(entry["exc_info"]) for entry in log if entry["log_level"] == "error"]
    assert errors == ([] if fault is None else [fault])


async def test_messages_come_in_order() -> None:
    got = []

    async def talk(connection: Connection) -> None:
        with contextlib.suppress(Ended):
            while True:
                got.append(await connection.receive())

    async with held(talk) as here:
        await here.raw.send(masked(TEXT, b"one") + masked(2, b"two") + masked(TEXT, b"th", final=False))
        await here.raw.send(masked(PING, b"?") + masked(0, b"ree") + BYE)
        assert await here.raw.frame() == (PONG, b"?")
        await here.ended()
    assert got == ["one", b"two", "three"]


async def test_ids_are_unique() -> None:
    async with held() as one, held() as other:
        await one.raw.send(BYE)
        await other.raw.send(BYE)
        await one.ended()
        await other.ended()
        assert one.connection is not None
        assert other.connection is not None
        assert one.connection.id != other.connection.id


async def test_the_client_closes() -> None:
    async with held() as here:
        await here.raw.send(BYE)
        assert await here.raw.frame() == (CLOSE, (1000).to_bytes(2, "big") + b"bye")
        assert await here.raw.end_of_file() == b""
        assert await here.ended() == (1000, "closed by the client", False)


async def test_the_client_closes_without_a_code() -> None:
    async with held() as here:
        await here.raw.send(masked(CLOSE))
        assert await here.raw.frame() == (CLOSE, b"")
        assert (await here.ended())[0] == 1005


async def test_nothing_comes_behind_the_answer_to_its_close() -> None:
    """RFC 6455, 5.5.1: not even records, which enter the line whenever they come."""
    tail = Tail(VALUE, [0])

    async def talk(connection: Connection) -> None:
        subscription = Subscription(connection.outlet.line, tail, 0)
        connection.outlet.on_close = subscription.close
        await listen(connection)

    async def produce() -> None:
        for offset in range(1 << 20):
            tail.append(TEXT, b"x" * 50, 0, offset, None)
            tail.pump(1 << 20)
            await trio.lowlevel.checkpoint()

    async with held(talk) as here, trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        assert await here.raw.frame() == (TEXT, b"x" * 50)
        await here.raw.send(BYE)
        while (found := await here.raw.frame())[0] != CLOSE:
            assert found[0] == TEXT
        assert await here.raw.end_of_file() == b""
        nursery.cancel_scope.cancel()


async def test_the_client_is_lost() -> None:
    async with held() as here:
        await here.raw.stream.aclose()
        assert await here.ended() == (1006, "lost", False)


async def test_the_client_is_lost_during_the_handshake() -> None:
    """`talk` may not come to run at all; an ending is named nevertheless."""
    async with held(shaken=False) as here:
        await here.raw.stream.aclose()
        assert (await here.ended())[0] == 1006


async def test_we_end_it() -> None:
    """What was said before leaves first; the client answers, and it is over at once."""

    async def talk(connection: Connection) -> None:
        connection.outlet.post(frame(TEXT, b"the last"))
        connection.end(SLOW, retry_after_ms=5)
        assert connection.retry_after_ms == 5
        await listen(connection)

    async with held(talk) as here:
        assert await here.raw.frame() == (TEXT, b"the last")
        assert await here.raw.close_frame() == (4001, "slow")
        await here.raw.send(masked(CLOSE, (4001).to_bytes(2, "big")))
        assert await here.ended() == (4001, "slow", True)


async def test_the_first_ending_counts() -> None:
    async def talk(connection: Connection) -> None:
        connection.end(SLOW)
        connection.end(SHUTDOWN, retry_after_ms=9)
        assert connection.retry_after_ms is None
        await listen(connection)

    async with held(talk) as here:
        assert await here.raw.close_frame() == (4001, "slow")


async def test_an_end_from_another_task_is_heard_at_once() -> None:
    async def talk(connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, connection)
            await wait_all_tasks_blocked()
            connection.end(SHUTDOWN)

    async with held(talk) as here:
        assert await here.raw.close_frame() == (4000, "shutdown")


async def test_nothing_is_received_after_the_end() -> None:
    async def talk(connection: Connection) -> None:
        await connection.receive()
        connection.end(SHUTDOWN)
        for _ in range(3):
            with pytest.raises(Ended):
                await connection.receive()

    async with held(talk) as here:
        await here.raw.send(masked(TEXT, b"1") + masked(TEXT, b"2"))
        assert await here.raw.close_frame() == (4000, "shutdown")


async def test_whoever_settles_after_the_end_is_not_lost_meanwhile() -> None:
    """What the client still says is nobody's, and its pings are answered."""
    settled = trio.Event()

    async def talk(connection: Connection) -> None:
        connection.end(SHUTDOWN)
        with pytest.raises(Ended):
            await connection.receive()
        await settled.wait()

    async with held(talk) as here:
        await here.raw.send(masked(TEXT, b"one") + masked(TEXT, b"two") + masked(TEXT, b"three") + masked(PING, b"?"))
        assert await here.raw.frame() == (PONG, b"?")
        settled.set()
        assert (await here.raw.close_frame())[0] == SHUTDOWN.code


async def test_one_that_never_reads_can_be_ended(autojump_clock: MockClock) -> None:
    """While it is left unread since too much waits for it."""

    async def talk(connection: Connection) -> None:
        connection.outlet.post(frame(TEXT, bytes(8 << 20)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.room)
            await wait_all_tasks_blocked()
            assert connection.paused
            connection.end(WRITE_TIMEOUT)
        await listen(connection)

    async with held(talk) as here:
        assert await here.ended() == (4005, "write_timeout", True)


async def test_the_last_word_comes_before_the_close() -> None:
    async def talk(connection: Connection) -> None:
        connection.on_end = lambda ending: connection.outlet.post(frame(TEXT, ending.reason.encode()))
        connection.end(SHUTDOWN)

    async with held(talk) as here:
        assert await here.raw.frame() == (TEXT, b"shutdown")
        assert await here.raw.close_frame() == (4000, "shutdown")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (masked(TEXT, b"x" * 1001), 1009),
        (masked(TEXT, final=False) + masked(0, final=False) * 4, 1009),
        (b"\x81\x01x", 1002),
        (masked(TEXT, b"\xff"), 1007),
        (masked(3), 1002),
        (masked(CLOSE, b"\x00"), 1002),
    ],
    ids=["too large", "too many fragments", "no mask", "not UTF-8", "no such opcode", "half a code"],
)
async def test_a_violation_is_our_ending(frames: bytes, code: int) -> None:
    """Whether the guard, or wsproto behind it, has found it."""
    async with held() as here:
        await here.raw.send(frames)
        assert (await here.raw.close_frame())[0] == code
        await here.raw.stream.aclose()
        found = await here.ended()
        assert (found[0], found[2]) == (code, True)


async def test_a_violation_that_is_found_while_nobody_receives() -> None:
    async def talk(connection: Connection) -> None:
        await trio.sleep_forever()

    async with held(talk) as here:
        await here.raw.send(masked(TEXT, announce=5000))
        assert await here.raw.close_frame() == (TOO_BIG.code, TOO_BIG.reason)


async def test_a_fault_of_ours() -> None:
    """It costs this conversation, is told as 4006, and logged with its traceback."""

    async def talk(connection: Connection) -> None:
        await connection.receive()
        raise KeyError("why")

    async with held(talk, fault="KeyError('why')") as here:
        await here.raw.send(masked(TEXT, b"x"))
        assert await here.raw.close_frame() == (4006, "internal")
        await here.raw.stream.aclose()
        assert await here.ended() == (4006, "internal", True)


async def test_a_fault_of_ours_before_the_answer() -> None:
    """No frame is sent to who has not been told that frames will follow."""

    def begun(_: Connection) -> bytes:
        raise KeyError("why")

    near, far = trio.socket.socketpair()
    far.shutdown(trio.socket.SHUT_WR)
    with far, capture_logs():
        connection = await converse(trio.SocketStream(near), near, "test", Guard(1000, 4), ANSWER, begun, listen)
        assert await far.recv(100) == b""
    assert connection.ending is INTERNAL


async def test_a_fault_of_ours_in_the_last_word() -> None:
    """The client hears the ending all the same, and whoever had the connection hears that it is over."""

    def fail(ending: Disconnect) -> None:
        raise KeyError("why")

    async def talk(connection: Connection) -> None:
        connection.on_end = fail
        connection.end(SHUTDOWN)

    async with held(talk, fault="KeyError('why')") as here:
        assert await here.raw.close_frame() == (4000, "shutdown")
        await here.raw.stream.aclose()
        assert await here.ended() == (4000, "shutdown", True)


async def test_a_fault_of_trio_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its reader raises, the nurseries above never see it."""

    async def fail(self: object, event: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("in the reader")

    monkeypatch.setattr(trio_websocket.WebSocketConnection, "_handle_ping_event", fail)
    async with held(fault="RuntimeError('in the reader')") as here:
        await here.raw.send(masked(PING))
        assert await here.raw.close_frame() == (4006, "internal")


async def test_tasks_end_with_the_conversation() -> None:
    ended = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async def talk(connection: Connection) -> None:
        connection.outlet.start_soon(work)
        await listen(connection)

    async with held(talk) as here:
        await here.raw.send(BYE)
        await here.ended()
    assert ended == [True]


async def test_a_fault_in_a_task_ends_the_conversation() -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("why")

    async def talk(connection: Connection) -> None:
        connection.outlet.start_soon(work)
        await listen(connection)

    async with held(talk, fault="KeyError('why')") as here:
        assert await here.raw.close_frame() == (4006, "internal")


async def test_cancelled_from_above_is_a_shutdown() -> None:
    near, far = trio.socket.socketpair()
    with far:
        raw = Raw(trio.SocketStream(far))
        async with trio.open_nursery() as nursery:
            stream = trio.SocketStream(near)
            nursery.start_soon(converse, stream, near, "test", Guard(1000, 4), ANSWER, ignored, listen)
            await raw.head()
            await wait_all_tasks_blocked()
            nursery.start_soon(answer_close, raw)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert near.fileno() == -1


async def answer_close(raw: Raw) -> None:
    with trio.CancelScope(shield=True):
        assert await raw.close_frame() == (4000, "shutdown")
        await raw.send(masked(CLOSE, (4000).to_bytes(2, "big")))


async def test_a_client_that_does_not_answer_our_close_is_reset(autojump_clock: MockClock) -> None:
    async def talk(connection: Connection) -> None:
        connection.end(SHUTDOWN)

    async with held(talk) as here:
        begin = trio.current_time()
        assert await here.raw.close_frame() == (4000, "shutdown")
        assert await here.ended() == (4000, "shutdown", True)
        assert trio.current_time() - begin == pytest.approx(CLOSE_SECONDS, abs=0.1)


async def test_a_goodbye_is_cut_short(autojump_clock: MockClock) -> None:
    """One that has begun, and one that begins when there is no time any more; the close frame leaves all the same."""
    talking: list[Connection] = []

    async def talk(connection: Connection) -> None:
        talking.append(connection)
        await listen(connection)

    for before in (False, True):
        async with held(talk) as here:
            await wait_all_tasks_blocked()
            begin, connection = trio.current_time(), talking.pop()
            if before:
                connection.cut()
            connection.end(SHUTDOWN)
            await wait_all_tasks_blocked()
            connection.cut()
            assert await here.raw.close_frame() == (4000, "shutdown")
            assert await here.ended() == (4000, "shutdown", True)
            assert trio.current_time() - begin < CLOSE_SECONDS / 2


async def test_what_it_still_sends_is_read_away() -> None:
    """So that our close frame is not lost to an RST; pings and nonsense included."""

    async def talk(connection: Connection) -> None:
        connection.end(SHUTDOWN)

    async with held(talk) as here:
        await here.raw.send(masked(PING) * 1000 + masked(TEXT, b"x" * 900) * 50)
        assert await here.raw.close_frame() == (4000, "shutdown")
        await here.raw.send(masked(CLOSE))
        assert await here.ended() == (4000, "shutdown", True)


async def test_what_is_read_away_behind_a_violation_is_no_close_frame() -> None:
    """The rest of what was too large may look like anything."""
    looks = masked(CLOSE, (1000).to_bytes(2, "big"))
    async with held() as here:
        await here.raw.send(masked(TEXT, announce=5000))
        assert (await here.raw.close_frame())[0] == 1009
        await here.raw.send(looks * 100)
        await wait_all_tasks_blocked()
        assert here.connection is None, "it took that for the end"
        await here.raw.stream.aclose()
        assert (await here.ended())[0] == 1009


def test_a_close_frame() -> None:
    assert close_frame(SHUTDOWN) == b"\x88\x0a" + (4000).to_bytes(2, "big") + b"shutdown"


def test_leaves_of_a_group() -> None:
    one, two, three = KeyError(1), KeyError(2), KeyError(3)
    assert leaves(BaseExceptionGroup("", [one, BaseExceptionGroup("", [two, three])])) == [one, two, three]
