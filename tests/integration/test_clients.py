"""Our own clients as their users run them, on a real gateway and the real broker, while the gateway is killed and
started again and a producer writes on: each has every offset of every partition, in order, once.
"""

import contextlib
import itertools
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
import trio
from tests.gateway import Process, process, until
from tests.kafka_broker import Broker, _free_ports
from tests.node import CLIENT, node

PARTITIONS = 3
BATCH = 100  # records, then a pause: some 2,000/s
PAUSE_SECONDS = 0.05
AHEAD = 20_000  # 10 s
ROUND = 300  # records that each client must have had of a gateway before its end
ENDINGS = (signal.SIGKILL, signal.SIGTERM)
DRAIN = "1s"
END_SECONDS = 60.0


class Follower:
    """A client as a process; `had` is what it printed, by partition."""

    def __init__(self, name: str, read: Callable[[bytes], tuple[int, int]]) -> None:
        self.name = name
        self.had: dict[int, list[int]] = defaultdict(list)
        self._read = read

    async def take(self, stream: trio.abc.ReceiveStream) -> None:
        left = b""
        async for data in stream:
            *lines, left = (left + data).split(b"\n")
            for partition, offset in map(self._read, lines):
                self.had[partition].append(offset)

    @property
    def count(self) -> int:
        return sum(map(len, self.had.values()))


def from_json(line: bytes) -> tuple[int, int]:
    record = msgspec.json.decode(line)
    return record["partition"], record["offset"]


def from_words(line: bytes) -> tuple[int, int]:
    partition, offset = line.split()
    return int(partition), int(offset)


@contextlib.asynccontextmanager
async def followers(folder: Path, address: str, topic: str) -> AsyncIterator[Sequence[Follower]]:
    """Each of our clients, in each manner, from the topic's beginning; told to go at the end, which must be 0."""
    tail, script = [sys.executable, "-m", "tailrace", "tail"], [node(), str(CLIENT / "test/follow.js")]
    commands = {
        "tail a stream": ([*tail, f"ws://{address}/topics/{topic}?from=earliest"], from_json),
        "tail a topic": ([*tail, f"ws://{address}/ws", "--topic", topic, "--from", "earliest"], from_json),
        "js with a callback": ([*script, f"ws://{address}/ws", topic, "callback"], from_words),
        "js in a loop": ([*script, f"ws://{address}/ws", topic, "loop"], from_words),
    }
    async with trio.open_nursery() as nursery:
        found, processes = [], []
        for name, (command, read) in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                running = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=log, cwd=CLIENT)
            follower = Follower(name, read)
            assert running.stdout is not None
            nursery.start_soon(follower.take, running.stdout)
            found.append(follower)
            processes.append(running)
        try:
            yield found
            for running in processes:
                running.send_signal(signal.SIGTERM)
            with trio.fail_after(END_SECONDS):
                assert [await running.wait() for running in processes] == [0] * len(processes)
        finally:
            for running in processes:
                running.kill()


class Writer:
    """Writes to every partition in turn until it is stopped. ends: how many records each has. It waits for the last of
    those who follow once that one is more than `AHEAD` behind, or a slow machine would have to read for minutes what
    was written while it started a gateway."""

    def __init__(self, kafka: Broker, topic: str) -> None:
        self._kafka, self._topic = kafka, topic
        self.ends = dict.fromkeys(range(PARTITIONS), 0)
        self.stopped = False

    async def run(self, clients: Sequence[Follower]) -> None:
        for partition in itertools.cycle(range(PARTITIONS)):
            await until(lambda: self.stopped or self.count - min(each.count for each in clients) <= AHEAD, "the last")
            if self.stopped:
                return
            values = [f'{{"n":{number}}}' for number in range(BATCH)]
            await trio.to_thread.run_sync(lambda: self._kafka.produce(self._topic, values, partition=partition))  # noqa: B023
            self.ends[partition] += BATCH
            await trio.sleep(PAUSE_SECONDS)

    @property
    def count(self) -> int:
        return sum(self.ends.values())


async def _come_and_go(folder: Path, kafka: Broker, port: int, clients: Sequence[Follower], rounds: int) -> None:
    """Gateways one after the other, each ended once every client had something of it."""
    for number, ending in zip(range(rounds), itertools.cycle(ENDINGS), strict=False):
        before = [client.count for client in clients]
        async with gateway_at(folder / f"gateway-{number}", kafka, port) as gateway:
            await until(
                lambda: all(client.count >= had + ROUND for client, had in zip(clients, before, strict=True)),  # noqa: B023
                f"records in round {number} for each of {[(client.name, client.count) for client in clients]}",
            )
            gateway.process.send_signal(ending)
            await gateway.wait()


@contextlib.asynccontextmanager
async def gateway_at(folder: Path, kafka: Broker, port: int) -> AsyncIterator[Process]:
    async with process(
        _made(folder), kafka, "--listen", f"127.0.0.1:{port}", "--set", f"shutdown.timeout={DRAIN}"
    ) as gateway:
        yield gateway


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("rounds", [2, pytest.param(40, marks=pytest.mark.slow)])
async def test_every_offset_once_while_the_gateway_is_killed(kafka: Broker, tmp_path: Path, rounds: int) -> None:
    topic, [port] = kafka.topic(PARTITIONS), _free_ports(1)
    writer = Writer(kafka, topic)
    async with followers(tmp_path, f"127.0.0.1:{port}", topic) as clients:
        async with trio.open_nursery() as writing:
            writing.start_soon(writer.run, clients)
            await _come_and_go(tmp_path, kafka, port, clients, rounds)
            writer.stopped = True
        async with gateway_at(tmp_path / "last", kafka, port):
            await until(lambda: all(client.count >= writer.count for client in clients), "every record")
            complete = {partition: list(range(end)) for partition, end in writer.ends.items()}
            for client in clients:
                assert client.had == complete, client.name
