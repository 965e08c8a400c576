"""An upgrade under load: gateways behind a TCP proxy go one after the other; no client loses or repeats a record."""

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, JSON, Client, Process, handshake, process, until
from tests.kafka_broker import Broker
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.trio.client import connect

CLIENTS = 30
PARTITIONS = 3
AHEAD = 2000  # records, 5 s of the load
DRAIN = ("--set", "shutdown.timeout=3s")


class Proxy:
    """Takes a connection to whichever of `targets` ("HOST:PORT") answers, in turn."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.address = ""
        self._turn = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._carry, listeners)
            yield self
            nursery.cancel_scope.cancel()

    async def _carry(self, client: trio.SocketStream) -> None:
        gateway = await self._reach()
        if gateway is None:
            await trio.aclose_forcefully(client)
            return
        async with client, gateway, trio.open_nursery() as both:
            both.start_soon(self._pour, client, gateway)
            both.start_soon(self._pour, gateway, client)

    async def _reach(self) -> trio.SocketStream | None:
        self._turn += 1
        for number in range(len(self.targets)):
            host, _, port = self.targets[(self._turn + number) % len(self.targets)].rpartition(":")
            with contextlib.suppress(OSError):
                return await trio.open_tcp_stream(host, int(port))
        return None

    async def _pour(self, source: trio.SocketStream, into: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(65536):
                await into.send_all(data)
            await into.send_eof()


class Follower:
    """Follows the topic wherever the proxy leads it; notes every record, and how often it had to come again."""

    def __init__(self, proxy: Proxy, topic: str) -> None:
        self._proxy, self._topic = proxy, topic
        self._kept: dict[str, Any] = {}
        self.offsets: dict[int, int] = {}
        self.seen: Counter[int] = Counter()
        self.connections = 0
        self.wrong: list[str] = []

    async def run(self) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError, EOFError):
                await self._follow()
            await trio.sleep(random.uniform(0, 0.2))

    async def _follow(self) -> None:
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "proxy": None, "subprotocols": [JSON]}
        async with connect(f"ws://{self._proxy.address}/ws", **options) as connection:
            client = Client(connection)
            await client.expect("welcome")
            begin = {"offsets": self.offsets, **self._kept} if self._kept else "earliest"
            await client.send(type="subscribe", id=1, topic=self._topic, from_=begin)
            self.connections += 1
            while True:
                with trio.fail_after(DEADLINE_SECONDS):
                    self._take(json.loads(await connection.recv()))

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "subscribed":
                self._kept = {"topic_id": message["topic_id"]}
                self._reach(message["positions"])
            case "position":
                self._reach(message["positions"])
            case "record":
                partition, offset = message["partition"], message["offset"]
                if offset != self.offsets[partition]:
                    self.wrong.append(f"{partition}: {offset} in place of {self.offsets[partition]}")
                self.offsets[partition] = offset + 1
                self.seen[message["value"]] += 1
            case "error" | "gap":
                self.wrong.append(str(message))

    def _reach(self, positions: dict[str, int]) -> None:
        for partition, offset in positions.items():
            if self.offsets.get(int(partition), offset) > offset:
                self.wrong.append(f"back to {partition}: {offset}")
            self.offsets[int(partition)] = max(offset, self.offsets.get(int(partition), 0))


class Load:
    """Numbers, so many every so many seconds, produced in a thread until the block ends. It waits for the last of the
    `followers` once that one is more than `AHEAD` behind: a machine that is slower must not fall back without end."""

    def __init__(
        self,
        kafka: Broker,
        topic: str,
        records: int = 20,
        seconds: float = 0.02,
        followers: Sequence[Follower] = (),
    ) -> None:
        self._kafka, self._topic = kafka, topic
        self._records, self._seconds = records, seconds
        self._followers = followers
        self._over = threading.Event()
        self.count = 0

    def run(self) -> None:
        while not self._over.is_set():
            if self.count - min((len(each.seen) for each in self._followers), default=self.count) <= AHEAD:
                self._kafka.produce(self._topic, [str(self.count + number) for number in range(self._records)])
                self.count += self._records
            self._over.wait(self._seconds)

    @contextlib.contextmanager
    def running(self) -> Any:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


async def test_a_rolling_restart_loses_and_repeats_nothing(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic(PARTITIONS)

    def started(number: int) -> Any:
        folder = tmp_path / str(number)
        folder.mkdir()
        return process(folder, kafka, *DRAIN)

    async def retire(gateway: Process) -> None:
        gateway.terminate()
        assert await gateway.wait() == 0
        assert "Traceback" not in gateway.log

    async with (
        contextlib.AsyncExitStack() as stack,
        Proxy().running() as proxy,
        trio.open_nursery() as nursery,
    ):
        first, second = [await stack.enter_async_context(started(number)) for number in (1, 2)]
        proxy.targets = [first.public, second.public]
        followers = [Follower(proxy, topic) for _ in range(CLIENTS)]
        load = Load(kafka, topic, 20, 0.05, followers)  # times 30 is what one Python process of clients keeps up with
        for follower in followers:
            nursery.start_soon(follower.run)
        with load.running():
            await until(lambda: all(each.seen for each in followers), "the first records")
            for number, old in ((3, first), (4, second)):
                await retire(old)
                new = await stack.enter_async_context(started(number))
                proxy.targets = [each for each in proxy.targets if each != old.public] + [new.public]
                so_far = load.count
                await until(lambda so_far=so_far: load.count > so_far + 100, "more load")
        await until(lambda: all(len(each.seen) == load.count for each in followers), "the last records")
        nursery.cancel_scope.cancel()
    everything = Counter(range(load.count))
    for follower in followers:
        assert follower.wrong == []
        assert follower.seen == everything
    assert sum(each.connections for each in followers) >= 2 * CLIENTS, "everyone had to move"


@pytest.mark.slow
async def test_a_drain_of_two_thousand_ends_in_time_with_nothing_lost(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic()
    async with process(tmp_path, kafka, "--set", "shutdown.timeout=20s") as gateway:
        await gateway.until_ready()
        streams = [await _stream(gateway, topic) for _ in range(2000)]
        assert all(b'"live"' in received for _, received in streams)
        load = Load(kafka, topic, 1, 0.1)  # 20,000 deliveries a second
        with load.running():
            await until(lambda: load.count > 20, "the load")
            gateway.terminate()
            ends: list[tuple[int, bool]] = []
            async with trio.open_nursery() as nursery:
                for stream, received in streams:
                    nursery.start_soon(_to_the_end, stream, received, ends)
            assert await gateway.wait() == 0
        told = {
            line["event"]: datetime.fromisoformat(line["timestamp"])
            for line in map(json.loads, gateway.log.splitlines())
        }
        assert (told["stopped"] - told["draining"]).total_seconds() < 21
        assert len(ends) == 2000
        assert all(complete for _, complete in ends)


async def _stream(gateway: Process, topic: str) -> tuple[trio.SocketStream, bytearray]:
    """Once it is live, with what has come so far."""
    stream, received = await gateway.socket(), bytearray()
    await stream.send_all(handshake(f"/topics/{topic}"))
    with trio.fail_after(DEADLINE_SECONDS):
        while b'"live"' not in received and (data := await stream.receive_some(65536)):
            received += data
    return stream, received


async def _to_the_end(stream: trio.SocketStream, received: bytearray, ends: list[tuple[int, bool]]) -> None:
    """Read all there is; every offset up to the position told at the end must have come, once and in order."""
    with trio.fail_after(60), contextlib.suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(65536):
            received += data
            if b'"type":"closing"' in data:
                await stream.send_all(b"\x88\x82\0\0\0\0\x0f\xa0")
    await trio.aclose_forcefully(stream)
    text = bytes(received)
    offsets = [int(part.split(b",")[0]) for part in text.split(b'"offset":')[1:]]
    position = int(text.rpartition(b'"positions":{"0":')[2].split(b"}")[0])
    complete = offsets == list(range(offsets[0] if offsets else position, position)) and b'"shutdown"' in text
    ends.append((position, complete))
