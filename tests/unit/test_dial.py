"""websocket.dial: a connection of our own, and every way it does not come about or ends."""

import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import pytest
import trio
from tests.scripted_gateway import Peer, for_ever, scripted
from websockets.exceptions import ConnectionClosedOK

from tailrace.websocket import dial as dialling
from tailrace.websocket.dial import Lost, Refused, Unreachable, dial

NAME = "tailrace.v1.json"


DEADLINE_SECONDS = 60.0
SOON = 0.3


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """These times, which the test waits for, are short; the others are long enough for any machine."""
    for name in request.param:
        monkeypatch.setattr(dialling, name, SOON)


def soon(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("quick", [names], indirect=True, ids=["soon"])


async def greet(peer: Peer) -> None:
    await peer.say("welcome")
    assert await peer.socket.recv() == "hello"
    await peer.leave(4001, "slow")


async def test_messages_both_ways_and_how_it_ended() -> None:
    async with scripted(greet) as gateway, dial(f"ws://{gateway}/ws", NAME) as connection:
        assert await connection.receive() == '{"type": "welcome"}'
        await connection.send("hello")
        assert isinstance(await connection.receive(), str)
        with pytest.raises(Lost) as ended:
            await connection.receive()
    assert (ended.value.code, ended.value.reason) == (4001, "slow")


async def test_what_was_sent_before_the_close_is_received_before_it() -> None:
    async def script(peer: Peer) -> None:
        for _ in range(100):
            await peer.say("live")
        await peer.leave(4000)

    async with scripted(script) as gateway, dial(f"ws://{gateway}/ws", NAME) as connection:
        for _ in range(101):
            await connection.receive()
        with pytest.raises(Lost, match="4000"):
            await connection.receive()


async def test_messages_in_pieces_are_whole() -> None:
    async def script(peer: Peer) -> None:
        await peer.socket.send(["ä" * 100_000, "", "b" * 100_000])
        await peer.socket.send([b"1", b"2"])
        await for_ever(peer)

    async with scripted(script) as gateway, dial(f"ws://{gateway}/ws", NAME) as connection:
        assert await connection.receive() == "ä" * 100_000 + "b" * 100_000
        assert await connection.receive() == b"12"


async def test_a_ping_is_answered_between_messages() -> None:
    async def script(peer: Peer) -> None:
        pong = await peer.socket.ping()
        await pong.wait()
        await peer.say("live")
        await for_ever(peer)

    async with scripted(script) as gateway, dial(f"ws://{gateway}/ws", NAME) as connection:
        with trio.fail_after(DEADLINE_SECONDS):
            assert await connection.receive() == '{"type": "live"}'


@pytest.mark.parametrize("cancelled", [False, True])
async def test_leaving_is_told(cancelled: bool) -> None:
    told = trio.Event()

    async def script(peer: Peer) -> None:
        with pytest.raises(ConnectionClosedOK):
            await peer.socket.recv()
        told.set()

    async with scripted(script) as gateway:
        with trio.CancelScope() as scope:
            async with dial(f"ws://{gateway}/ws", NAME) as connection:
                if cancelled:
                    scope.cancel()
                    await connection.receive()
        with trio.fail_after(DEADLINE_SECONDS):
            await told.wait()


async def test_an_error_of_the_block_is_what_comes_out() -> None:
    async with scripted(for_ever) as gateway:
        with pytest.raises(ZeroDivisionError):
            async with dial(f"ws://{gateway}/ws", NAME):
                raise ZeroDivisionError


async def test_a_refusal_says_what_the_gateway_says() -> None:
    async with scripted(HTTPStatus.SERVICE_UNAVAILABLE) as gateway:
        with pytest.raises(Refused) as refused:
            async with dial(f"ws://{gateway}/ws", NAME):
                pass
    assert (refused.value.status, refused.value.message, refused.value.retry_seconds) == (503, "scripted: not now", 0)


Behaviour = Callable[[trio.SocketStream], Awaitable[None]]


@contextlib.asynccontextmanager
async def tcp(behaviour: Behaviour) -> AsyncIterator[str]:
    """HOST:PORT of a server that does this with each connection."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, behaviour, [listener])
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def speak_otherwise(stream: trio.SocketStream) -> None:
    await stream.send_all(b"220 mail.example ESMTP\r\n")
    await trio.sleep_forever()


@soon("CONNECT_SECONDS")
@pytest.mark.parametrize("behaviour", [say_nothing, hang_up, speak_otherwise])
async def test_who_does_not_speak_websocket_is_unreachable(quick: None, behaviour: Behaviour) -> None:
    async with tcp(behaviour) as address:
        with pytest.raises(Unreachable):
            async with dial(f"ws://{address}/ws", NAME):
                pass


@soon("CONNECT_SECONDS")
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_what_did_not_come_about_is_closed(quick: None, scheme: str) -> None:
    """At once, not when the garbage collector comes to it: the exception is still held."""
    closed = trio.Event()

    async def read_to_the_end(stream: trio.SocketStream) -> None:
        async for _ in stream:
            pass
        closed.set()

    async with tcp(read_to_the_end) as address:
        with pytest.raises(Unreachable) as held:
            async with dial(f"{scheme}://{address}/ws", NAME):
                pass
        with trio.fail_after(DEADLINE_SECONDS):
            await closed.wait()
        del held


async def test_a_page_that_is_no_gateway_is_a_refusal() -> None:
    async def page(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<html>\xff")
        await trio.sleep_forever()

    async with tcp(page) as address:
        with pytest.raises(Refused) as refused:
            async with dial(f"ws://{address}/", NAME):
                pass
    assert (refused.value.status, refused.value.message) == (200, "<html>\N{REPLACEMENT CHARACTER}")


async def test_nobody_listens() -> None:
    async with tcp(hang_up) as address:
        pass
    with pytest.raises(Unreachable, match="refused"):
        async with dial(f"ws://{address}/ws", NAME):
            pass


def accepted(head: bytes) -> bytes:
    """The answer to a handshake (RFC 6455, 4.2.2)."""
    [key] = [line.split()[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    return b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, b"", b""])


@soon("SILENCE_SECONDS", "PONG_SECONDS")
async def test_a_peer_that_went_silent_is_given_up(quick: None) -> None:
    async def fall_silent(stream: trio.SocketStream) -> None:
        await stream.send_all(accepted(await stream.receive_some()))
        await trio.sleep_forever()

    async with tcp(fall_silent) as address, dial(f"ws://{address}/ws", NAME) as connection:
        with trio.fail_after(DEADLINE_SECONDS), pytest.raises(Lost, match="1006 no answer"):
            await connection.receive()


@soon("SILENCE_SECONDS")
async def test_a_quiet_peer_that_answers_is_not(quick: None) -> None:
    """It is asked again and again, which it is only once its last answer has been heard."""
    asked = 0

    async def only_answer(stream: trio.SocketStream) -> None:
        nonlocal asked
        await stream.send_all(accepted(await stream.receive_some()))
        for _ in range(5):
            assert (await stream.receive_some())[0] == 0x89, "a ping"
            asked += 1
            await stream.send_all(b"\x8a\x00")
        await stream.send_all(b"\x81\x02{}")

    async with tcp(only_answer) as address, dial(f"ws://{address}/ws", NAME) as connection:
        with trio.fail_after(DEADLINE_SECONDS):
            assert await connection.receive() == "{}"
    assert asked == 5


async def test_a_peer_that_is_gone_without_a_word_is_1006() -> None:
    async def vanish(stream: trio.SocketStream) -> None:
        await stream.send_all(accepted(await stream.receive_some()))
        await stream.aclose()

    async with tcp(vanish) as address, dial(f"ws://{address}/ws", NAME) as connection:
        with pytest.raises(Lost, match="1006"):
            await connection.receive()


@soon("LEAVE_SECONDS")
async def test_leaving_does_not_wait_for_a_dead_peer(quick: None) -> None:
    async def stop_reading(stream: trio.SocketStream) -> None:
        await stream.send_all(accepted(await stream.receive_some()))
        await trio.sleep_forever()

    async with tcp(stop_reading) as address:
        with trio.fail_after(DEADLINE_SECONDS):
            async with dial(f"ws://{address}/ws", NAME):
                pass


async def test_a_token_goes_in_the_header() -> None:
    async def script(peer: Peer) -> None:
        assert peer.socket.request is not None
        await peer.say("told", header=peer.socket.request.headers.get("Authorization"))

    async with scripted(script) as gateway:
        for token, header in (("a.b.c", '"Bearer a.b.c"'), (None, "null")):
            async with dial(f"ws://{gateway}/ws", NAME, token) as connection:
                assert await connection.receive() == f'{{"type": "told", "header": {header}}}'
