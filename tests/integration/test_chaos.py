"""Everything breaks, and nothing is lost: the real broker, two gateways, and clients of many kinds that resume.

While a producer writes on, plain and in transactions, the broker is killed and hangs, gateways are killed and hang, a
partition is added, and clients are cut off in the middle of a frame or are gone without a word. Our own clients, for
the terminal and for JavaScript, are among them. In the end every client has, of every partition, exactly what Kafka's
own log has, in its order. CHAOS_SECONDS makes it longer (`make soak`: ten minutes).
"""

import contextlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
from tests.chaos import END_SECONDS, Follower, Gateways, Program, Shot, Writer, read_truth, retrying
from tests.gateway import JSON, MSGPACK, Raw, handshake, masked
from tests.integration.test_clients import from_json, from_words
from tests.kafka_broker import Broker, _free_ports
from tests.node import CLIENT, node
from websockets.exceptions import ConnectionClosed, InvalidHandshake

PARTITIONS = 3
DEADLINE_SECONDS = 120.0


class Chaos:
    """One run: `break_everything` while `clients` follow."""

    def __init__(self, kafka: Broker, folder: Path, nursery: trio.Nursery, pace: int) -> None:
        self.kafka = kafka
        self.nursery = nursery
        self.topic = kafka.topic(PARTITIONS)
        self.gateways = Gateways(folder, kafka, [f"127.0.0.1:{port}" for port in _free_ports(2)])
        self.writer = Writer(kafka, self.topic, PARTITIONS, pace, seed=1)
        self.followers: list[Follower] = []

    def follow(self, client: Any, keys: list[str | None] | None = None, **options: Any) -> Follower:
        """A client that follows over all its connections."""
        follower = Follower(f"{client.__name__} {keys} {options}", self.topic, keys)
        self.followers.append(follower)
        self.nursery.start_soon(retrying, partial(client, self.gateways, follower, **options))
        return follower

    def follow_with_those_who_stay(self) -> None:
        """On both endpoints, in both formats: all records, some keys, and all of them slowly."""
        self.follow(multiplexed)
        self.follow(multiplexed, ["a", "c"])
        self.follow(multiplexed, protocol=MSGPACK, keys=["b", None])
        self.follow(multiplexed).pause = 0.01  # it reads from the tail, and from Kafka
        self.follow(stream)

    def follow_with_ours(self, folder: Path) -> None:
        """The client for the terminal and the one for JavaScript, at each gateway, in several manners."""
        tail, script = [sys.executable, "-m", "tailrace", "tail"], [node(), str(CLIENT / "test/follow.js")]
        for address in self.gateways.addresses:
            at = [f"ws://{address}/ws"]
            self._run(folder, [*tail, *at, "--topic", self.topic, "--from", "earliest"], from_json)
            self._run(folder, [*script, *at, self.topic, "callback"], from_words)
        self._run(folder, [*tail, f"ws://{address}/topics/{self.topic}?from=earliest"], from_json)
        self._run(folder, [*script, *at, self.topic, "loop"], from_words)

    def _run(self, folder: Path, command: list[str], read: Any) -> None:
        program = Program(f"program {len(self.followers)}: {command[1:]}", self.topic, command, read)
        self.followers.append(program)
        self.nursery.start_soon(program.run, folder / f"program-{len(self.followers)}.log")

    async def until_all_move(self) -> None:
        """Every client has got something that was written from now on, or is at its end."""
        before = {follower: follower.place for follower in self.followers}
        with trio.move_on_after(DEADLINE_SECONDS):
            while standing := [each for each in self.followers if each.place <= before[each]]:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert not standing, f"no progress: {standing}"

    async def shoot_the_broker(self) -> None:
        self.kafka.kill()
        await trio.sleep(random.uniform(0.1, 1))
        await trio.to_thread.run_sync(self.kafka.start)

    async def freeze_the_broker(self) -> None:
        with self.kafka.frozen():
            await trio.sleep(random.uniform(1, 4))

    async def shoot_a_gateway(self) -> None:
        await self.gateways.shoot(self.nursery, random.randrange(2))

    async def freeze_a_gateway(self) -> None:
        await self.gateways.freeze(random.randrange(2), random.uniform(1, 4))

    async def add_a_partition(self) -> None:
        await trio.to_thread.run_sync(self.kafka.add_partitions, self.topic, self.writer.partitions + 1)
        self.writer.partitions += 1

    async def come_to_rest(self) -> int:
        """The producer ends; everybody gets everything: how many deliveries were right."""
        self.writer.stop()
        with trio.move_on_after(END_SECONDS + DEADLINE_SECONDS):
            await self.written.wait()
        assert self.written.is_set(), "the writer has not ended"
        for follower in self.followers:
            follower.pause = 0.0
        truth = await trio.to_thread.run_sync(read_truth, self.kafka, self.topic, self.writer.partitions)
        goals = {follower: follower.goals(truth) for follower in self.followers}
        with trio.move_on_after(DEADLINE_SECONDS):
            while standing := [each for each in self.followers if not each.has_reached(goals[each])]:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert not standing, f"not at the end: {standing}"
        return sum(follower.check(truth) for follower in self.followers)

    async def write(self) -> None:
        self.written = trio.Event()
        await trio.to_thread.run_sync(self.writer.run)
        self.written.set()


@contextlib.asynccontextmanager
async def chaos(kafka: Broker, folder: Path, pace: int) -> AsyncIterator[Chaos]:
    async with trio.open_nursery() as nursery:
        run = Chaos(kafka, folder, nursery, pace)
        for number in range(2):
            await run.gateways.start(nursery, number)
        nursery.start_soon(run.write)
        try:
            yield run
        finally:
            run.writer.stop()
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------------------------ clients


async def multiplexed(gateways: Gateways, follower: Follower, protocol: str = JSON, patience: int = 1 << 60) -> None:
    """On `/ws`. patience: messages until it hangs up by itself."""
    with contextlib.suppress(ConnectionClosed, InvalidHandshake):
        # Who hangs up reads on until then: `websockets` would not see the answer to its close behind a full queue.
        queue = 16 if patience > 1_000_000 else None
        options = {"open_timeout": 5, "close_timeout": 2, "max_queue": queue}
        async with gateways.any.connect("/ws", subprotocols=[protocol], **options) as connection:
            await connection.recv()
            command = {"type": "subscribe", "id": 1} | follower.fields
            if protocol == MSGPACK:
                command = packed(command)
            await connection.send(msgpack.packb(command) if protocol == MSGPACK else json.dumps(command))
            for _ in range(patience):
                data = await connection.recv()
                message = msgpack.unpackb(data, strict_map_key=False) if protocol == MSGPACK else json.loads(data)
                if message["type"] in ("error", "unsubscribed"):
                    assert message["code"] == "kafka_unavailable", message
                    raise Shot
                follower.take(message)
                if follower.pause:
                    await trio.sleep(follower.pause)


def packed(command: dict[str, Any]) -> dict[str, Any]:
    """The same for MessagePack: partitions are integers there, keys bytes."""
    from_ = command["from"]
    if isinstance(from_, dict):
        from_ = from_ | {"offsets": {int(p): offset for p, offset in from_["offsets"].items()}}
    keys = {"keys": [key and key.encode() for key in command["keys"]]} if "keys" in command else {}
    return command | {"from": from_} | keys


async def stream(gateways: Gateways, follower: Follower) -> None:
    """On `/topics/{topic}`, where the offsets stand in the URL."""
    offsets = ",".join(f"{p}={offset}" for p, offset in follower.kept.items())
    path = f"/topics/{follower.topic}?from=" + (f"offsets:{offsets}" if offsets else "earliest")
    with contextlib.suppress(ConnectionClosed, InvalidHandshake):
        async with gateways.any.connect(path, open_timeout=5) as connection:
            async for data in connection:
                message = json.loads(data)
                if message["type"] == "closing":
                    raise Shot
                follower.take(message)


async def cut_off(gateways: Gateways, follower: Follower, most: int = 200) -> None:
    """A narrow socket, ended with RST after some messages, in the middle of a frame as often as not."""
    async with gateways.any.raw("/ws", buffer_bytes=4096) as raw:
        await raw.message()
        command = {"type": "subscribe", "id": 1} | follower.fields
        await raw.send(masked(1, json.dumps(command).encode()))
        for _ in range(random.randrange(most)):
            message = await raw.message()
            if message["type"] in ("error", "unsubscribed"):
                break
            follower.take(message)
        await raw.reset()


async def half_open(gateways: Gateways, follower: Follower, most: int = 200) -> None:
    """A client that is gone without a word: nobody reads its connection any more, and nobody closes it."""
    raw = Raw(await gateways.any.socket(buffer_bytes=4096))
    follower.left_open.append(raw)
    await raw.send(handshake("/ws"))
    await raw.head()
    await raw.message()
    await raw.send(masked(1, json.dumps({"type": "subscribe", "id": 1} | follower.fields).encode()))
    for _ in range(random.randrange(most)):
        message = await raw.message()
        if message["type"] in ("error", "unsubscribed"):
            break
        follower.take(message)


# -------------------------------------------------------------------------------------------------------------- tests


async def test_nothing_is_lost(own_kafka: Broker, tmp_path: Path) -> None:
    random.seed(4)
    async with chaos(own_kafka, tmp_path, pace=500) as run:
        run.follow_with_those_who_stay()
        run.follow_with_ours(tmp_path)
        run.follow(multiplexed, patience=50)
        run.follow(cut_off)
        run.follow(half_open)
        again = (run.freeze_the_broker, run.shoot_a_gateway, run.shoot_the_broker, run.freeze_a_gateway)
        for fault in (run.shoot_a_gateway, run.shoot_the_broker, run.add_a_partition, *again):
            await run.until_all_move()
            await fault()
        await run.until_all_move()
        checked = await run.come_to_rest()
    print(f"{checked} deliveries checked")
    assert checked > 5_000


@pytest.mark.slow
async def test_soak(own_kafka: Broker, tmp_path: Path) -> None:
    """CHAOS_SECONDS: how long; 600 by default."""
    seconds = float(os.environ.get("CHAOS_SECONDS", "600"))
    async with chaos(own_kafka, tmp_path, pace=2000) as run:
        for client in [multiplexed] * 6 + [stream, stream]:
            run.follow(client)
        # Up to 200 records each time they connect are fewer than are written meanwhile: they would never be at the end.
        for client in (cut_off, cut_off, half_open):
            run.follow(client, most=2000)
        run.follow_with_ours(tmp_path)
        faults = [run.shoot_a_gateway, run.shoot_the_broker, run.freeze_a_gateway, run.freeze_the_broker]
        ends = trio.current_time() + seconds
        while trio.current_time() < ends:  # a fault is never cut off: who was frozen would stay so
            await run.until_all_move()
            await random.choice(faults)()
        checked = await run.come_to_rest()
    print(f"{checked} deliveries checked")
