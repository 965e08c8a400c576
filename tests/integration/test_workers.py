"""`serve --workers 2` on the real broker: one port, one admin listener, one drain; and workers that die."""

import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, Client, Process, masked, process, until
from tests.kafka_broker import Broker
from websockets.exceptions import ConnectionClosed

MOST_CLIENTS = 64  # that all of them meet the same of two workers has a chance of 2^-63


def workers(gateway: Process) -> dict[int, int]:
    """Number and pid of each worker that has listened, the latest of each."""
    lines = [json.loads(line) for line in gateway.log.splitlines() if "worker listens" in line]
    return {line["worker"]: line["pid"] for line in lines}


def served(gateway: Process) -> dict[str, int]:
    """Which worker has which connection, as the log tells it."""
    lines = [json.loads(line) for line in gateway.log.splitlines() if '"connected"' in line]
    return {line["connection"]: line["worker"] for line in lines}


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended (a child that nobody has waited for yet)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextlib.asynccontextmanager
async def fleet(folder: Path, kafka: Broker | str, *options: str) -> AsyncIterator[Process]:
    async with process(folder, kafka, "--workers", "2", "--log-level", "debug", *options) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def both_sides(gateway: Process) -> AsyncIterator[dict[int, list[Client]]]:
    """Clients of each worker, at least one each."""
    async with contextlib.AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        while len(clients) < MOST_CLIENTS and len({served(gateway)[connection] for connection in clients}) < 2:
            client = await stack.enter_async_context(gateway.stream("/ws", subprotocols=["tailrace.v1.json"]))
            welcome = await client.expect("welcome")
            clients[welcome["connection"]] = client
            await until(lambda: clients.keys() <= served(gateway).keys(), "the log")
        by_worker: dict[int, list[Client]] = {1: [], 2: []}
        for connection, client in clients.items():
            by_worker[served(gateway)[connection]].append(client)
        assert all(by_worker.values()), by_worker
        yield by_worker


async def test_both_serve_the_one_port(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic()
    async with fleet(tmp_path, kafka) as gateway, both_sides(gateway) as clients:
        for client in clients[1] + clients[2]:
            await client.subscribe(topic)
        kafka.produce(topic, [str(number) for number in range(100)])
        for client in clients[1] + clients[2]:
            assert [record["value"] for record in await client.records(100)] == list(range(100))


async def all_ready(gateway: Process) -> list[dict[str, Any]]:
    """What `/readyz` says of each worker, once all are ready."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        found: list[dict[str, Any]] = (await gateway.until_ready()).json["workers"]
        if all(worker["ready"] for worker in found):
            return found
        assert time.monotonic() < deadline, found
        await trio.sleep(0.05)


async def test_one_admin_listener_tells_of_all(kafka: Broker, tmp_path: Path) -> None:
    async with fleet(tmp_path, kafka) as gateway:
        assert (await gateway.get("/livez", admin=True)).status == 200
        found = await all_ready(gateway)
        assert {worker["worker"]: worker["pid"] for worker in found} == workers(gateway)


async def test_one_set_of_metrics(kafka: Broker, tmp_path: Path) -> None:
    """What both have sums up, and what a worker had counted does not go with it."""
    topic = kafka.topic()
    async with fleet(tmp_path, kafka) as gateway, both_sides(gateway) as clients:
        for client in clients[1] + clients[2]:
            await client.subscribe(topic)
        kafka.produce(topic, ["1"])
        for client in clients[1] + clients[2]:
            await client.records(1)
        everyone, delivered = len(clients[1] + clients[2]), f'tailrace_records_delivered_total{{topic="{topic}"}}'
        before = await scraped(gateway)
        assert (before["tailrace_connections"], before[delivered]) == (everyone, everyone)
        os.kill(workers(gateway)[1], signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (after := await scraped(gateway))["tailrace_connections"] != len(clients[2]):
            assert time.monotonic() < deadline, after
            await trio.sleep(0.05)
        assert after[delivered] == everyone


async def scraped(gateway: Process) -> dict[str, float]:
    """Every sample of `/metrics` by its name and labels."""
    text = (await gateway.get("/metrics", admin=True)).body.decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


class Reader:
    """Reads a topic to its end over any number of connections, as section 4.3 of the protocol has it."""

    def __init__(self, gateway: Process, topic: str) -> None:
        self._gateway, self._topic = gateway, topic
        self.values: list[int] = []
        self.connections: list[str] = []
        self.endings: list[int] = []
        self._place: Any = "earliest"

    async def run(self, last: int) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            while not self.values or self.values[-1] != last:
                try:
                    await self._read(last)
                except (ConnectionClosed, OSError) as ended:
                    self.endings.append(getattr(getattr(ended, "rcvd", None), "code", 1006))

    async def _read(self, last: int) -> None:
        async with self._gateway.stream("/ws", subprotocols=["tailrace.v1.json"]) as client:
            self.connections.append((await client.expect("welcome"))["connection"])
            await client.send(type="subscribe", id=1, topic=self._topic, from_=self._place)
            while not self.values or self.values[-1] != last:
                message = await client.receive()
                if message["type"] == "subscribed":
                    self._place = {"topic_id": message["topic_id"], "offsets": message["positions"]}
                elif message["type"] == "record":
                    self.values.append(message["value"])
                    self._place["offsets"][str(message["partition"])] = message["offset"] + 1


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_lose_nothing(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic()
    async with fleet(tmp_path, kafka) as gateway:
        await gateway.until_ready()
        async with trio.open_nursery() as nursery:
            readers = [Reader(gateway, topic) for _ in range(12)]
            for reader in readers:
                nursery.start_soon(reader.run, 499)
            kafka.produce(topic, [str(number) for number in range(250)])
            await until(lambda: all(len(reader.values) == 250 for reader in readers), "the first half")
            before = workers(gateway)
            os.kill(before[1], signal.SIGKILL)
            kafka.produce(topic, [str(number) for number in range(250, 500)])
        assert all(reader.values == list(range(500)) for reader in readers)
        moved = [reader for reader in readers if len(reader.connections) > 1]
        assert {served(gateway)[reader.connections[0]] for reader in moved} <= {1}
        await until(lambda: workers(gateway)[1] != before[1], "a replacement")
        assert workers(gateway)[2] == before[2]
        assert (await gateway.until_ready()).json["workers"][0]["pid"] == workers(gateway)[1]
        async with both_sides(gateway):
            pass
        [death] = [json.loads(line) for line in gateway.log.splitlines() if "worker died" in line]
        assert (death["worker"], death["reason"], death["level"]) == (1, "killed by SIGKILL", "error")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_drain(kafka: Broker, tmp_path: Path, number: signal.Signals) -> None:
    topic = kafka.topic()
    async with fleet(tmp_path, kafka, "--set", "shutdown.timeout=30s") as gateway, both_sides(gateway) as clients:
        for client in clients[1] + clients[2]:
            await client.subscribe(topic)
        kafka.produce(topic, ["1"])
        for client in clients[1] + clients[2]:
            await client.records(1)
        gateway.process.send_signal(number)
        for client in clients[1] + clients[2]:
            await client.expect("position", positions={"0": 1})
            await client.expect("closing", code=4000, reason="shutdown")
            assert await client.closed() == (4000, "shutdown")
        assert await gateway.wait() == 0
        assert not any(alive(pid) for pid in workers(gateway).values())
        assert "Traceback" not in gateway.log
        assert '"level": "error"' not in gateway.log


async def test_not_ready_while_all_drain(kafka: Broker, tmp_path: Path) -> None:
    async with fleet(tmp_path, kafka) as gateway, gateway.raw() as raw:
        await raw.message()
        await gateway.until_ready()
        gateway.terminate()
        assert (await raw.message())["type"] == "closing"
        assert (await gateway.until_ready(False)).json["reason"] == "draining"
        await raw.reset()
        assert await gateway.wait() == 0


async def test_a_drain_that_everybody_is_asked_for(kafka: Broker, tmp_path: Path) -> None:
    """As Ctrl-C does in a terminal: the workers are told by their parent, and get the signal too."""
    async with fleet(tmp_path, kafka) as gateway, gateway.raw() as raw:
        await raw.message()
        found = workers(gateway).values()
        gateway.process.send_signal(signal.SIGINT)
        assert (await raw.message())["type"] == "closing"
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # the one without a client has ended
                os.kill(pid, signal.SIGINT)
        gateway.terminate()
        await raw.send(masked(8, (4000).to_bytes(2, "big")))
        assert await gateway.wait() == 0
        assert gateway.log.count('"stopped"') == 3
        assert "worker died" not in gateway.log


async def test_workers_end_with_the_parent(kafka: Broker, tmp_path: Path) -> None:
    """Their clients are told, as in any drain; nobody is left who holds the port."""
    async with fleet(tmp_path, kafka) as gateway, both_sides(gateway) as clients:
        found = workers(gateway)
        gateway.process.kill()
        for client in clients[1] + clients[2]:
            await client.expect("closing", code=4000)
            assert await client.closed() == (4000, "shutdown")
        await until(lambda: not any(alive(pid) for pid in found.values()), "the workers' end")
        with pytest.raises(OSError):
            await gateway.socket()


async def test_a_frozen_parent_keeps_nobody(kafka: Broker, tmp_path: Path) -> None:
    """The parent only watches: without it, clients come, go and are served."""
    topic = kafka.topic()
    async with fleet(tmp_path, kafka) as gateway:
        gateway.process.send_signal(signal.SIGSTOP)
        async with gateway.client() as client:
            await client.subscribe(topic)
            kafka.produce(topic, ["1"])
            await client.records(1)
        gateway.process.send_signal(signal.SIGCONT)
        gateway.terminate()
        assert await gateway.wait() == 0


async def test_without_kafka_it_says_why(tmp_path: Path) -> None:
    async with fleet(tmp_path, "127.0.0.1:1") as gateway:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while "no broker answers" not in (await gateway.until_ready(False)).json["reason"]:
            assert time.monotonic() < deadline
            await trio.sleep(0.05)
        gateway.terminate()
        assert await gateway.wait() == 0


async def test_a_port_that_another_fleet_has(
    kafka: Broker, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SO_REUSEPORT alone would let both have it."""
    second = tmp_path_factory.mktemp("second")
    async with fleet(tmp_path, kafka) as gateway:
        command = ["--workers", "2", "--listen", gateway.public]
        with pytest.raises(AssertionError, match="it did not begin"):
            async with process(second, kafka, *command):
                pass
        assert f"cannot listen on {gateway.public}" in (second / "gateway.log").read_text()
