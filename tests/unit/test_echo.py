"""`/echo`, without a broker: there when the environment says so, its limits, and back-pressure."""

import contextlib
import socket

import pytest
import trio
from tests.gateway import masked
from tests.plain_door import house

from tailrace.gateway.echo import MAX_MESSAGE_BYTES, echo_enabled

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2


@pytest.fixture
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_ECHO", "1")


@pytest.mark.parametrize("environment", [{}, {"TAILRACE_ECHO": ""}, {"TAILRACE_ECHO": "0"}, {"TAILRACE_ECHO": "yes"}])
def test_it_takes_a_one(environment: dict[str, str]) -> None:
    assert not echo_enabled(environment)
    assert echo_enabled(environment | {"TAILRACE_ECHO": "1"})


async def test_without_it_there_is_nothing() -> None:
    async with house() as place, place.knock(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n") as raw:
        assert (await raw.end_of_file()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.usefixtures("_switched_on")
async def test_text_as_text_and_binary_as_binary() -> None:
    async with house() as place, place.visit("/echo") as raw:
        await raw.send(masked(TEXT, "é".encode()) + masked(BINARY, b"\xff\x00") + masked(TEXT))
        assert [await raw.frame() for _ in range(3)] == [(TEXT, "é".encode()), (BINARY, b"\xff\x00"), (TEXT, b"")]


@pytest.mark.usefixtures("_switched_on")
async def test_any_number_of_fragments() -> None:
    async with house() as place, place.visit("/echo") as raw:
        pieces = masked(BINARY, b"x", final=False) + masked(CONTINUATION, b"x", final=False) * 4_998
        await raw.send(pieces + masked(CONTINUATION, b"x"))
        assert await raw.frame() == (BINARY, b"x" * 5_000)


@pytest.mark.usefixtures("_switched_on")
async def test_a_message_above_16_mib() -> None:
    async with house() as place, place.visit("/echo") as raw:
        await raw.send(masked(BINARY, announce=MAX_MESSAGE_BYTES + 1))
        assert await raw.close_frame() == (1009, "too_big")


@pytest.mark.usefixtures("_switched_on")
async def test_who_does_not_read_is_not_read() -> None:
    """What waits is one message and no more; all of it comes once it is asked for."""
    message, sent = masked(BINARY, b"x" * 200_000), 0
    async with house() as place, place.visit("/echo") as raw:
        (connection,) = place.door.connections
        while connection.outlet.line.waiting_bytes == 0:
            with contextlib.suppress(BlockingIOError):
                sent += socket.socket.send(raw.stream.socket._sock, message[sent % len(message) :])
            await trio.lowlevel.checkpoint()
        assert connection.outlet.line.waiting_bytes <= len(message)
        whole, rest = divmod(sent, len(message))
        async with trio.open_nursery() as nursery:
            if rest:
                nursery.start_soon(raw.send, message[rest:])
            for _ in range(whole + (rest > 0)):
                assert len((await raw.frame())[1]) == 200_000
