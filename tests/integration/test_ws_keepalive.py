"""Keep-alive with short clocks, on real sockets. The decisions themselves: tests/unit/test_keepalive.py."""

from typing import Any

import pytest
from tests.gateway import Gateway, masked, running, until
from tests.kafka_broker import Broker

from tailrace.config import Limits
from tailrace.websocket import connection, watch
from tailrace.websocket.connection import Connection
from tailrace.websocket.watch import take_pulse

PING, PONG = 0x9, 0xA
QUICK = Limits(ping_interval=0.2, pong_timeout=0.2)
# Pinged as often, and given the time that a busy machine takes: there is no second ping until the first was answered.
PATIENT = Limits(ping_interval=0.2, pong_timeout=20.0)


def ending_of(gateway: Gateway, id: str) -> list[tuple[int, str]]:
    return [(entry["code"], entry["reason"]) for entry in gateway.logged("disconnected") if entry["connection"] == id]


async def test_a_client_that_does_not_answer_pings(kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is half open, as far as the gateway can tell: told so, and then reset."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    async with running(kafka, limits=QUICK) as gateway, gateway.raw() as raw:
        welcome = await raw.message()
        assert await raw.frame() == (PING, b"")
        closing = await raw.message()
        assert (closing["type"], closing["code"], closing["reason"]) == ("closing", 4002, "no_pong")
        assert await raw.close_frame() == (4002, "no_pong")
        assert await raw.end_of_file() == b""
        await gateway.until_all_left()
        assert ending_of(gateway, welcome["connection"]) == [(4002, "no_pong")]


@pytest.mark.parametrize("answer", [masked(PONG), masked(1, b'{"type":"ping","id":1}')], ids=["pong", "command"])
async def test_a_client_that_answers_stays(kafka: Broker, answer: bytes) -> None:
    """With a pong, or with any other byte."""
    async with running(kafka, limits=PATIENT) as gateway, gateway.raw() as raw:
        await raw.message()
        for _ in range(5):
            while (await raw.frame())[0] != PING:
                pass
            await raw.send(answer)
        talking = await gateway.only()
        assert talking.ending is None


async def test_the_library_stays(kafka: Broker) -> None:
    """Three rounds of pings that a client answers without its application's knowing."""
    async with running(kafka, limits=PATIENT) as gateway, gateway.client() as client:
        talking = await gateway.only()
        await until(lambda: talking.outlet.guard.frames >= 3, "three pongs")
        assert (await client.ask("ping"))["type"] == "pong"


async def test_nobody_is_pinged_without_an_interval(kafka: Broker) -> None:
    async with running(kafka, limits=Limits(ping_interval=None)) as gateway, gateway.stream("/ws") as client:
        assert (await client.expect("welcome"))["ping_interval_ms"] is None


@pytest.mark.parametrize("path", ["/ws", "/topics/{topic}", "/topics/{topic}?format=value"])
async def test_a_client_that_takes_nothing(kafka: Broker, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Bytes waited and none was acknowledged for `write_timeout`. It hears RST: its buffers have no room for words."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    topic = kafka.topic()
    limits = Limits(ping_interval=None, write_timeout=0.5)
    async with running(kafka, limits=limits) as gateway:
        async with gateway.raw(path.format(topic=topic), buffer_bytes=4096) as raw:
            if path == "/ws":
                await raw.message()
                await raw.send(masked(1, b'{"type":"subscribe","id":1,"topic":"%s"}' % topic.encode()))
                await raw.message()
            talking = await gateway.only()
            kafka.produce(topic, [b"x" * 900_000] * 8)
            await until(lambda: ending_of(gateway, talking.id), "its end")
            assert ending_of(gateway, talking.id) == [(4005, "write_timeout")]
            await raw.end_of_file()
        await gateway.until_all_left()


async def test_a_slow_reader_is_not_a_dead_one(kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ping behind megabytes of records would be answered late: while they wait no pong is waited for."""
    topic, looks = kafka.topic(), []

    def look(connection: Connection, *arguments: Any) -> None:
        if connection.outlet.line.waiting_bytes > 0:  # the first ping is not to be due before the records are there
            looks.append(arguments)
            take_pulse(connection, *arguments)

    monkeypatch.setattr(watch, "take_pulse", look)
    async with running(kafka, limits=QUICK) as gateway, gateway.raw(f"/topics/{topic}", buffer_bytes=4096):
        talking = await gateway.only()
        kafka.produce(topic, [b"x" * 900_000] * 4)
        await until(lambda: len(looks) >= 5 * 4 * 2, "five times a ping and no pong")
        assert talking.ending is None
