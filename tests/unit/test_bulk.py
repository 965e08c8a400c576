"""websocket.bulk: messages in runs, pings answered, and every way a connection does not come about or ends."""

from functools import partial
from http import HTTPStatus

import pytest
import trio
import trio.testing
from tests.scripted_gateway import Peer, for_ever, scripted

from tailrace.websocket import bulk
from tailrace.websocket.bulk import dial_bulk
from tailrace.websocket.dial import Lost, Refused, Unreachable

NAME = "tailrace.v1.json"
DEADLINE_SECONDS = 60.0


async def collected(address: str, count: int) -> list[bytes]:
    """The first so many messages of a connection."""
    found: list[bytes] = []
    async with dial_bulk(f"ws://{address}/ws", NAME) as connection:
        with trio.fail_after(DEADLINE_SECONDS):
            while len(found) < count:
                found += await connection.receive()
    return found


async def test_many_messages_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.records(range(500))
        await for_ever(peer)

    async with scripted(script) as gateway:
        found = await collected(gateway, 500)
    assert [b'"offset": %d' % number in message for number, message in enumerate(found)] == [True] * 500


async def test_what_is_sent_arrives() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.welcome() == {"type": "ping", "id": 1}
        await peer.say("pong", id=1)
        await for_ever(peer)

    async with scripted(script) as gateway, dial_bulk(f"ws://{gateway}/ws?a=1", NAME) as connection:
        await connection.receive()
        await connection.send('{"type": "ping", "id": 1}')
        assert b"pong" in (await connection.receive())[0]
        assert connection.received_bytes > 50


async def test_a_ping_is_answered() -> None:
    async def script(peer: Peer) -> None:
        pong = await peer.socket.ping(b"?")
        await pong.wait()
        await peer.say("live")
        await for_ever(peer)

    async with scripted(script) as gateway:
        assert len(await collected(gateway, 1)) == 1


async def test_an_end_with_a_code() -> None:
    async def script(peer: Peer) -> None:
        await peer.leave(4001, "slow")

    async with scripted(script) as gateway, dial_bulk(f"ws://{gateway}/ws", NAME) as connection:
        assert b"closing" in (await connection.receive())[0]
        with pytest.raises(Lost, match="4001 slow"):
            await connection.receive()


async def test_a_refusal() -> None:
    async with scripted(HTTPStatus.SERVICE_UNAVAILABLE) as gateway:
        with pytest.raises(Refused) as refused:
            async with dial_bulk(f"ws://{gateway}/ws", NAME):
                pass
    assert (refused.value.status, refused.value.message, refused.value.retry_seconds) == (503, "scripted: not now", 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 \xb3 Three\r\n\r\n",  # a digit to Python, and no number
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"x" * 20_000,
    ],
)
async def test_what_is_no_websocket(answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with trio.fail_after(DEADLINE_SECONDS), pytest.raises(Unreachable):
            async with dial_bulk(f"ws://127.0.0.1:{port}/ws", NAME):
                pass
        nursery.cancel_scope.cancel()


async def test_a_frame_that_no_server_sends_ends_it() -> None:
    connection = bulk.Bulk(trio.testing.memory_stream_pair()[0], b"\x81\x80\0\0\0\0")
    with pytest.raises(Lost, match="1002"):
        await connection.receive()


async def test_nobody_there() -> None:
    with pytest.raises(Unreachable):
        async with dial_bulk("ws://127.0.0.1:1/ws", NAME):
            pass
