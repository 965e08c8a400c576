"""Clients that break the rules, on purpose or by dying: each costs itself its connection, and nobody else anything.

The hazards of trio-websocket that docs/architecture.md names have their regression tests here. That nothing of it is
logged as a fault, with a traceback, is asserted by the `gateway` fixture.
"""

import contextlib
import socket

import pytest
import trio
from tests.gateway import Gateway, Raw, handshake, masked, until
from tests.kafka_broker import Broker

from tailrace.disconnect import SHUTDOWN
from tailrace.websocket.outlet import ROOM_BYTES, Outlet

CONTINUATION, TEXT, CLOSE, PING = 0x0, 0x1, 0x8, 0x9
PING_COMMAND = b'{"type":"ping","id":1}'


async def assert_others_live(gateway: Gateway) -> None:
    async with gateway.client() as client:
        assert (await client.ask("ping"))["type"] == "pong"


async def assert_ended(gateway: Gateway, raw: Raw, code: int) -> None:
    """`closing`, the close frame with the same code, and the end."""
    closing = await raw.message()
    assert (closing["type"], closing["code"]) == ("closing", code)
    assert (await raw.close_frame())[0] == code
    assert await raw.end_of_file() == b""
    await raw.stream.aclose()
    await gateway.until_all_left()
    await assert_others_live(gateway)


@pytest.mark.parametrize("turns", range(8))
async def test_pings_that_cross_our_close(gateway: Gateway, turns: int) -> None:
    """trio-websocket's issue 184: its reader raised out of the nursery. Whenever they come, the end is orderly."""
    async with gateway.raw() as raw:
        await raw.message()
        connection = await gateway.only()
        await raw.send(masked(PING, b"before") * 3)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        connection.end(SHUTDOWN, retry_after_ms=7)
        await raw.send(masked(PING, b"after") * 300)
        while (frame := await raw.frame())[0] != TEXT:
            assert frame in [(0xA, b"before"), (0xA, b"after")]
        assert b'"retry_after_ms":7' in frame[1]
        await raw.send(masked(PING, b"still") * 300)
        assert await raw.close_frame() == (4000, "shutdown")
        await raw.send(masked(CLOSE, (4000).to_bytes(2, "big")))
        assert await raw.end_of_file() == b""
    await gateway.until_all_left()


async def test_empty_continuations_without_end(gateway: Gateway) -> None:
    """They add nothing to a message's size, which is all that trio-websocket limits."""
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(masked(TEXT, final=False) + masked(CONTINUATION, final=False) * 63)
        await raw.send(masked(PING))
        assert await raw.frame() == (0xA, b"")
        await raw.send(masked(CONTINUATION, final=False))
        await assert_ended(gateway, raw, 1009)


async def test_a_message_in_as_many_fragments_as_allowed(gateway: Gateway) -> None:
    """With pings between them."""
    async with gateway.raw() as raw:
        await raw.message()
        pieces = [PING_COMMAND[at : at + 1] for at in range(len(PING_COMMAND))]
        await raw.send(masked(TEXT, pieces[0], final=False) + masked(PING, b"x"))
        await raw.send(b"".join(masked(CONTINUATION, piece, final=False) for piece in pieces[1:]))
        await raw.send(masked(PING, b"y") + masked(CONTINUATION))
        assert [await raw.frame(), await raw.frame()] == [(0xA, b"x"), (0xA, b"y")]
        assert await raw.message() == {"type": "pong", "id": 1}


@pytest.mark.parametrize("announced", [65_537, 1 << 30, (1 << 63) - 1])
async def test_a_message_announced_too_large(gateway: Gateway, announced: int) -> None:
    """It is refused at its header: not a byte of it has to come."""
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(masked(TEXT, announce=announced))
        await assert_ended(gateway, raw, 1009)


async def test_fragments_too_large_together(gateway: Gateway) -> None:
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(masked(TEXT, b" " * 40_000, final=False) + masked(CONTINUATION, announce=25_537))
        await assert_ended(gateway, raw, 1009)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x16" + PING_COMMAND, 1002),  # no mask
        (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit
        (b"\x83\x80\0\0\0\0", 1002),  # a reserved opcode
        (b"\x8b\x80\0\0\0\0", 1002),
        (b"\x09\x80\0\0\0\0", 1002),  # a fragmented ping
        (masked(PING, b"x" * 126), 1002),  # a long one
        (masked(CONTINUATION, b"x"), 1002),  # of nothing
        (masked(TEXT, b"x", final=False) + masked(TEXT, b"x"), 1002),
        (b"\x81\xfe\x00\x01\0\0\0\0x", 1002),  # a length longer written than it need be
        (masked(TEXT, b"\xff"), 1007),
        (masked(TEXT, b"\xed\xa0\x80"), 1007),  # a surrogate
        (masked(TEXT, b"\xc3", final=False) + masked(CONTINUATION, b"("), 1007),
        (masked(CLOSE, b"\x03"), 1002),  # half a code
        (masked(CLOSE, (1005).to_bytes(2, "big")), 1002),  # a code that is never sent
        (masked(CLOSE, (999).to_bytes(2, "big")), 1002),
        (masked(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    ],
    ids=lambda value: value.hex()[:30] if isinstance(value, bytes) else None,
)
async def test_broken_framing(gateway: Gateway, frames: bytes, code: int) -> None:
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(frames)
        await assert_ended(gateway, raw, code)


async def test_what_came_before_the_fault_is_answered(gateway: Gateway) -> None:
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(masked(TEXT, PING_COMMAND))
        assert (await raw.message())["type"] == "pong"
        await raw.send(masked(PING, b"hello") + b"\xff" * 100)
        assert await raw.frame() == (0xA, b"hello")
        await assert_ended(gateway, raw, 1002)


async def test_what_comes_behind_a_close_is_nobodys(gateway: Gateway) -> None:
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(masked(CLOSE, (1000).to_bytes(2, "big")) + masked(PING, b"x") + b"\xff" * 100)
        assert await raw.frame() == (8, (1000).to_bytes(2, "big"))
        assert await raw.end_of_file() == b""
    await gateway.until_all_left()


@pytest.mark.parametrize("target", ["/ws", "/topics/{topic}", "/topics/{topic}?format=value"])
async def test_a_close_right_behind_the_handshake(gateway: Gateway, kafka: Broker, target: str) -> None:
    """And a subscribe before it: whatever of it is done, nothing comes behind the answer."""
    topic = kafka.topic()
    subscribe = masked(TEXT, b'{"type":"subscribe","id":1,"topic":"%s"}' % topic.encode()) if target == "/ws" else b""
    for _ in range(10):
        async with await gateway.socket() as stream:
            raw = Raw(stream)
            await raw.send(handshake(target.format(topic=topic)) + subscribe + masked(CLOSE, b"\x03\xe8"))
            await raw.head()
            assert await raw.close_frame() == (1000, "")
            assert await raw.end_of_file() == b""
    await gateway.until_all_left()
    assert gateway.users(topic) == 0


CUTS = {
    "between frames": b"",
    "in a header": masked(TEXT, PING_COMMAND)[:1],
    "in a mask": masked(TEXT, PING_COMMAND)[:4],
    "in a payload": masked(TEXT, PING_COMMAND)[:-5],
    "between fragments": masked(TEXT, PING_COMMAND, final=False),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("reset", [True, False], ids=["RST", "FIN"])
async def test_a_client_that_dies(gateway: Gateway, kafka: Broker, cut: bytes, reset: bool) -> None:
    """Wherever it was: its subscriptions end, those of others go on."""
    topic = kafka.topic()
    async with gateway.client() as other:
        await other.subscribe(topic)
        async with gateway.raw() as raw:
            await raw.message()
            await raw.send(masked(TEXT, b'{"type":"subscribe","id":1,"topic":"%s"}' % topic.encode()))
            assert (await raw.message())["type"] == "subscribed"
            assert gateway.users(topic) == 2
            await raw.send(cut)
            if reset:
                await raw.reset()
        await until(lambda: gateway.users(topic) == 1, "the end of its subscription")
        kafka.produce(topic, ["1"])
        await other.expect("record")
    await gateway.until_all_left()


async def test_a_client_that_dies_while_it_is_sent_to(gateway: Gateway, kafka: Broker) -> None:
    """Half a record is in its kernel, the rest waits here."""
    topic = kafka.topic()
    async with gateway.client() as other:
        await other.subscribe(topic)
        async with gateway.raw(f"/topics/{topic}", buffer_bytes=4096) as raw:
            kafka.produce(topic, [b"x" * 900_000] * 8)
            await other.records(8)
            (behind,) = [each for each in gateway.door.connections if each.outlet.line.waiting_bytes]
            await raw.reset()
        await until(lambda: behind not in gateway.door.connections)
        kafka.produce(topic, ["1"])
        await other.expect("record", value=1)
    await gateway.until_all_left()


async def flood(raw: Raw, data: bytes, outlet: Outlet) -> int:
    """Send without reading until the gateway reads no more: how many bytes. One that does not mind is at fault."""
    sent = 0
    while outlet.line.waiting_bytes <= ROOM_BYTES:
        assert sent < 64 * 1024 * 1024, "it reads on and on"
        with contextlib.suppress(BlockingIOError):
            sent += socket.socket.send(raw.stream.socket._sock, data[sent % len(data) :])
        await trio.sleep(0.001)
    return sent


LONG_ANSWER = b'{"type":"subscribe","id":1,"topic":"%s"}' % (b"hidden" * 40)


# A small receive buffer, but not the smallest: when the kernel has to drop what was sent to it, it drops the
# acknowledgements in there too, and then nothing moves in either direction for minutes.
@pytest.mark.parametrize("frame", [masked(PING, b"x" * 125), masked(TEXT, LONG_ANSWER)], ids=["pings", "commands"])
async def test_a_flood_of_questions_whose_answers_are_not_read(gateway: Gateway, frame: bytes) -> None:
    """The gateway reads no more than it can answer, and goes on when the answers are read."""
    async with gateway.raw(buffer_bytes=65536) as raw:
        await raw.message()
        connection = await gateway.only()
        outlet = connection.outlet
        sent = await flood(raw, frame * 100, outlet)
        await assert_others_live(gateway)
        assert ROOM_BYTES < outlet.line.waiting_bytes < ROOM_BYTES + 4096
        read = outlet.guard.received_bytes
        await assert_others_live(gateway)
        assert outlet.guard.received_bytes == read
        for _ in range(sent // len(frame)):
            await raw.frame()


async def test_twenty_thousand_faults_end_it_once(gateway: Gateway) -> None:
    async with gateway.raw() as raw:
        await raw.message()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    await raw.send(masked(TEXT, b"{}") * 20_000)

            for _ in range(20):
                assert (await raw.message())["type"] == "error"
            assert (await raw.message())["type"] == "closing"
            assert await raw.close_frame() == (4504, "too_many_errors")
            nursery.cancel_scope.cancel()
    await gateway.until_all_left()


@pytest.mark.parametrize("lines", [("Origin: é",), ("Host: é",), ("Sec-WebSocket-Extensions: permessage-deflate",)])
async def test_strange_headers(gateway: Gateway, lines: tuple[str, ...]) -> None:
    """Answered one way or the other; an extension is never agreed to."""
    async with await gateway.socket() as stream:
        await stream.send_all(handshake("/ws", *lines))
        answer = (await stream.receive_some()).lower()
        assert answer.startswith((b"http/1.1 101 ", b"http/1.1 400 ", b"http/1.1 403 "))
        assert b"sec-websocket-extensions" not in answer
    await gateway.until_all_left()
