"""Mixed load for a long time: what the gateway holds, and how late its records come, stay as they are.

A few hundred clients of every kind at one process, on the real broker: live, by key, with each policy for slow ones,
catching up, snapshots, publishing, coming and going, cut off; a scrape every 5 s. After the warm-up resident memory,
descriptors and the p99 of delivery are taken every 10 s; the median of the last third of them is held against that of
the first. SOAK_MIXED_SECONDS says how long, SOAK_MIXED_RATE how many records a second.
"""

import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
import pytest
import trio
from tests.chaos import retrying
from tests.gateway import MSGPACK, Client, Process, process
from tests.integration.test_hostile_neighbours import resident_kib
from tests.kafka_broker import Broker
from websockets.exceptions import ConnectionClosed, InvalidHandshake

SECONDS = float(os.environ.get("SOAK_MIXED_SECONDS", "1800"))
RATE = float(os.environ.get("SOAK_MIXED_RATE", "8"))
WARM_UP_SECONDS = max(60.0, SECONDS / 6)  # until tails and caches, small ones here, are full
SAMPLE_SECONDS, SCRAPE_SECONDS = 10.0, 5.0
KEYS = [f"k{number}".encode() for number in range(50)]
SETS = [
    "tail.max_bytes=1MiB",
    "catchup.cache_bytes=1MiB",
    "catchup.snapshot_bytes=4MiB",
    'topics."topic-*".publish=true',
]
# What the last third may have above the first: of memory the allocator's own coming and going, of descriptors the
# clients that are just coming; of p99 a busy machine's, which is why it is a factor and not a number.
MORE_KIB, MORE_SHARE, MORE_DESCRIPTORS, SLOWER, MORE_MS = 4096, 0.03, 30, 2.0, 50.0

pytestmark = pytest.mark.slow


class Sample(msgspec.Struct, frozen=True):
    """A moment: p99_ms from a record's timestamp to live clients, of those that came since the last one."""

    resident_kib: int
    descriptors: int
    p99_ms: float


class Load:
    """The clients; `delays_ms`: of live ones since it was last taken."""

    def __init__(self, gateway: Process, kafka: Broker, topic: str, compacted: str) -> None:
        self.gateway, self._kafka = gateway, kafka
        self._topic, self._compacted = topic, compacted
        self.delays_ms: list[float] = []
        self.done: dict[str, int] = {}  # how often each kind of client got what it came for

    async def write(self) -> None:
        while True:
            count = max(1, round(RATE / 4))
            keys = random.sample(KEYS, min(count, len(KEYS)))
            records = [(key, json.dumps({"pad": "." * random.choice([50, 500, 5000])}).encode()) for key in keys]
            await trio.to_thread.run_sync(self._kafka.produce, self._topic, records)
            await trio.to_thread.run_sync(self._kafka.produce, self._compacted, records[:1])
            await trio.sleep(count / RATE)

    async def scrape(self) -> None:
        while True:
            for path in ("/metrics", "/connections", "/readyz"):
                assert (await self.gateway.get(path, admin=True)).status == 200
            await trio.sleep(SCRAPE_SECONDS)

    async def live(self, pause: float = 0.0, subprotocol: str | None = None, **fields: Any) -> None:
        """Reads on; `pause` seconds between two messages."""
        async with self._client(**({"subprotocol": subprotocol} if subprotocol else {})) as client:
            await client.send(type="subscribe", id=1, topic=self._topic, **fields)
            while True:
                message = client.decoded(await client.connection.recv())
                # `closing`, before the end of one who asked for it and was slow.
                assert message["type"] in ("subscribed", "live", "record", "position", "gap", "closing"), message
                if message["type"] == "record":
                    self._count(f"live {fields}")
                    if not fields and not pause:
                        self.delays_ms.append(time.time() * 1000 - message["timestamp"])
                await trio.sleep(pause)

    async def begin(self, compacted: bool, from_: Any) -> None:
        """Reads until it is live, and goes."""
        async with self._client() as client:
            await client.send(type="subscribe", id=1, topic=self._compacted if compacted else self._topic, from_=from_)
            while (message := await client.receive())["type"] != "live":
                assert message["type"] in ("subscribed", "record", "position", "gap"), message
        self._count(f"begin {from_}")
        await trio.sleep(random.uniform(0.5, 2))

    async def publish(self) -> None:
        async with self._client() as client:
            while True:
                value = {"pad": "." * 100}
                answer = await client.ask("publish", topic=self._topic, key=random.choice(KEYS).decode(), value=value)
                assert answer["type"] == "published", answer
                self._count("publish")
                await trio.sleep(random.uniform(5, 15))

    async def come_and_go(self) -> None:
        """Every other one without a word."""
        async with self._client() as client:
            await client.subscribe(self._topic)
            await client.expect("record")
            if random.random() < 0.5:
                await client.connection.stream.aclose()
        self._count("come and go")
        await trio.sleep(random.uniform(0.5, 2))

    @contextlib.asynccontextmanager
    async def _client(self, **options: Any) -> AsyncIterator[Client]:
        async with self.gateway.client(**options) as client:
            yield client

    def _count(self, kind: str) -> None:
        self.done[kind] = self.done.get(kind, 0) + 1

    def start(self, nursery: trio.Nursery) -> list[str]:
        """All of them; the kinds that must have been served in the end."""
        slow = [{"slow": "latest", "interval_ms": 500}, {"slow": "skip"}, {"slow": "close"}]
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (100, self.live),
            (20, partial(self.live, subprotocol=MSGPACK)),
            (60, partial(self.live, keys=["k3", "k4"])),
            *((15, partial(self.live, pause=0.3, **each)) for each in slow),
            (8, partial(self.begin, False, {"last": 300})),
            (8, partial(self.begin, True, "snapshot")),
            (25, self.publish),
            (20, self.come_and_go),
        ]
        for count, client in kinds:
            for _ in range(count):
                nursery.start_soon(retrying, partial(settled, client))
        nursery.start_soon(self.write)
        nursery.start_soon(self.scrape)
        return [
            "live {}",
            *(f"live {fields}" for fields in [{"keys": ["k3", "k4"]}, *slow]),
            *(f"begin {from_}" for from_ in [{"last": 300}, "snapshot"]),
            "publish",
            "come and go",
        ]

    def sample(self) -> Sample:
        pid, delays = self.gateway.process.pid, self.delays_ms
        self.delays_ms = []
        assert len(delays) > 100, "live clients get nothing"
        return Sample(resident_kib(pid), len(os.listdir(f"/proc/{pid}/fd")), quantiles(delays, n=100)[-1])


async def settled(client: Callable[[], Awaitable[None]]) -> None:
    """An end of the connection is one to come back from, as a refusal is."""
    try:
        await client()
    except (ConnectionClosed, InvalidHandshake, trio.ClosedResourceError) as error:
        raise OSError(str(error)) from None


def thirds(values: list[float]) -> tuple[float, float]:
    """The medians of the first and of the last."""
    size = len(values) // 3
    return median(values[:size]), median(values[-size:])


async def test_nothing_grows(tmp_path: Path, kafka: Broker) -> None:
    topic, compacted = kafka.topic(3), kafka.topic(1, cleanup_policy="compact")
    samples: list[Sample] = []
    options = [word for one in SETS for word in ("--set", one)]
    async with process(tmp_path, kafka, *options) as gateway, trio.open_nursery() as nursery:
        load = Load(gateway, kafka, topic, compacted)
        kinds = load.start(nursery)
        await trio.sleep(WARM_UP_SECONDS)
        load.delays_ms.clear()
        while len(samples) < max(9, (SECONDS - WARM_UP_SECONDS) / SAMPLE_SECONDS):
            await trio.sleep(SAMPLE_SECONDS)
            samples.append(load.sample())
            print(samples[-1], flush=True)  # shown when it fails, or with -s
        with trio.move_on_after(WARM_UP_SECONDS):  # some have a busy machine against them, nobody is left out
            while not all(load.done.get(kind) for kind in kinds):  # noqa: ASYNC110
                await trio.sleep(SCRAPE_SECONDS)
        nursery.cancel_scope.cancel()
        assert '"error"' not in gateway.log, gateway.log[-4000:]
    print(load.done)
    assert not [kind for kind in kinds if not load.done.get(kind)], load.done
    first, last = thirds([each.resident_kib for each in samples])
    assert last <= first * (1 + MORE_SHARE) + MORE_KIB, samples
    first, last = thirds([each.descriptors for each in samples])
    assert last <= first + MORE_DESCRIPTORS, samples
    first, last = thirds([each.p99_ms for each in samples])
    assert last <= first * SLOWER + MORE_MS, samples
