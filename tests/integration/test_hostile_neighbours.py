"""A well-behaved client beside hostile ones: it is served while they attack, and nothing of them stays behind.

Counted, not timed: every record and every pong that it asks for within the attack comes. What the attacks are:
tests/attacks.py. How much later they come is measured by benchmarks, and what memory three attacks leave by `make
soak`.
"""

import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.attacks import ATTACKS, LIMITS, SCANNED
from tests.certificates import Authority
from tests.gateway import Addressed, Gateway, Process, process, running, until
from tests.kafka_broker import Broker
from websockets.trio.client import connect

DEPTH = 200_000
ROUNDS = 10
NOBODY = re.compile(rb"^tailrace_connections(\{[^}]*\})? 0(\.0)?$", re.MULTILINE)
SHARE = 0.05  # how much more memory an attack may leave the second and third time


@pytest.fixture(scope="module")
def scanned(kafka: Broker) -> str:
    """A topic with keys."""
    topic = kafka.topic()
    kafka.produce(topic, [(b"some", b"%d" % at) for at in range(SCANNED)])
    return topic


@pytest.fixture
async def attacked(kafka: Broker) -> AsyncIterator[Gateway]:
    async with running(kafka, limits=LIMITS) as gateway:
        yield gateway


def left_over(gateway: Gateway) -> list[int]:
    """Connections, subscriptions, and bytes that wait: of nobody."""
    seen = gateway.parts.statistics()
    return [seen.connections, seen.subscriptions, seen.backlog_bytes, gateway.door._inside]


async def serve_beside(gateway: Gateway, at: Addressed, kafka: Broker, scanned: str, name: str) -> None:
    """A client and an attack, both at this address of the gateway."""
    topic = kafka.topic()
    async with at.client() as good, trio.open_nursery() as nursery:
        await good.subscribe(topic)
        nursery.start_soon(ATTACKS[name], at, scanned, 1)
        for offset in range(ROUNDS):
            kafka.produce(topic, [b"%d" % offset])
            await good.expect("record", offset=offset)
            assert (await good.ask("ping", id=2))["type"] == "pong"
    await until(lambda: left_over(gateway) == [0, 0, 0, 0], f"nothing to be left over, not {left_over(gateway)}")


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_neighbour_is_served(attacked: Gateway, kafka: Broker, scanned: str, name: str) -> None:
    await serve_beside(attacked, attacked, kafka, scanned, name)


class Sealed(trio.abc.Stream):
    """TLS over a socket, with what an attack does to a bare one."""

    def __init__(self, bare: trio.SocketStream, context: ssl.SSLContext) -> None:
        self._bare = bare
        self.tls = trio.SSLStream(bare, context, server_hostname="127.0.0.1", https_compatible=True)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self._bare.setsockopt(level, option, value)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.tls.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.tls.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.tls.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.tls.aclose()


class OverTls(Addressed):
    """A gateway as those find it who speak TLS to it."""

    def __init__(self, gateway: Gateway, context: ssl.SSLContext) -> None:
        self.public, self.admin, self._context = gateway.public, gateway.admin, context

    def connect(self, path: str = "/ws", **options: Any) -> connect:
        options = {"compression": None, "ping_interval": None, "proxy": None, "ssl": self._context} | options
        return connect(f"wss://{self.public}{path}", **options)

    async def socket(self, buffer_bytes: int | None = None, admin: bool = False) -> Any:
        sealed = Sealed(await super().socket(buffer_bytes, admin), self._context)
        await sealed.tls.do_handshake()
        return sealed


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - {"never reads"}))  # which fills a bare socket itself
async def test_a_neighbour_is_served_over_tls(tmp_path: Path, kafka: Broker, scanned: str, name: str) -> None:
    authority = Authority(tmp_path)
    async with running(kafka, limits=LIMITS, listen=authority.listen()) as gateway:
        await serve_beside(gateway, OverTls(gateway, authority.client()), kafka, scanned, name)


async def test_values_nested_without_end(attacked: Gateway, kafka: Broker) -> None:
    """A producer's bytes: what no parser takes is told as text, and the next record is as any other."""
    topic = kafka.topic()
    values = [
        b"[" * DEPTH,
        b"[" * DEPTH + b"]" * DEPTH,
        b'[{"":' * (DEPTH // 2) + b"1" + b"}]" * (DEPTH // 2),
        b'{"a":1}',
    ]
    async with attacked.client() as good:
        await good.subscribe(topic)
        kafka.produce(topic, values)
        for value in values[:3]:
            await good.expect("record", encoding="text", value=value.decode())
        await good.expect("record", value={"a": 1})


async def test_a_scan_reads_kafka_once_for_all(attacked: Gateway, scanned: str) -> None:
    await ATTACKS["scan for nothing"](attacked, scanned, 1)
    read = attacked.parts.blocks.statistics()
    assert read.read_records < 3 * SCANNED, read


def resident_kib(pid: int) -> int:
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1])


async def until_nobody(gateway: Process) -> None:
    with trio.fail_after(60):
        while not NOBODY.search((await gateway.get("/metrics", admin=True)).body):  # noqa: ASYNC110  it tells when asked
            await trio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
async def test_three_times_cost_no_more_than_once(tmp_path: Path, kafka: Broker, scanned: str, name: str) -> None:
    """100,000 subscribes and unsubscribes among them, in all four."""
    limits = ["limits.handshake_timeout=1s", "limits.commands_per_second=false", "limits.frames_per_second=false"]
    hard = 13 if name == "subscribe and unsubscribe" else 4
    async with process(tmp_path, kafka, *(word for one in limits for word in ("--set", one))) as gateway:
        sizes = []
        for _ in range(4):  # the first makes what is made once
            await ATTACKS[name](gateway, scanned, hard)
            await until_nobody(gateway)
            sizes.append(resident_kib(gateway.process.pid))
        _, *again = sizes
        assert max(again) <= again[0] * (1 + SHARE), sizes
