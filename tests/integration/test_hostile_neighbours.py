"""A well-behaved client beside hostile ones: it is served while they attack, and nothing of them stays behind.

Counted, not timed: every record and every pong that it asks for within the attack comes. What the attacks are:
tests/attacks.py. How much later they come is measured by benchmarks, and what memory three attacks leave by `make
soak`.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from tests.attacks import ATTACKS, LIMITS, SCANNED
from tests.gateway import Gateway, Process, process, running, until
from tests.kafka_broker import Broker

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


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_neighbour_is_served(attacked: Gateway, kafka: Broker, scanned: str, name: str) -> None:
    topic = kafka.topic()
    async with attacked.client() as good, trio.open_nursery() as nursery:
        await good.subscribe(topic)
        nursery.start_soon(ATTACKS[name], attacked, scanned, 1)
        for offset in range(ROUNDS):
            kafka.produce(topic, [b"%d" % offset])
            await good.expect("record", offset=offset)
            assert (await good.ask("ping", id=2))["type"] == "pong"
    await until(lambda: left_over(attacked) == [0, 0, 0, 0], f"nothing to be left over, not {left_over(attacked)}")


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
