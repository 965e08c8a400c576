"""The C limit is a gateway that can be trusted: complete, in order, also for a client that reads late.

Kafka is librdkafka's mock cluster, in this process. Skipped without a C compiler.
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from benchmarks.harness.child import Child
from benchmarks.harness.gateways import Shape, Starter, limit, shape_alone
from benchmarks.harness.load import Producer, Report, Sink, Traffic
from benchmarks.harness.programs import CannotCompile, program
from confluent_kafka import Producer as Kafka
from websockets.sync.client import connect

TOPIC = "numbers"


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    """The bootstrap address of a mock cluster that has the topic; it lasts as long as its client."""
    try:
        program("gateway")
    except CannotCompile as reason:
        pytest.skip(str(reason))
    kafka = Kafka({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    brokers = kafka.list_topics(timeout=30).brokers
    address = next(f"{broker.host}:{broker.port}" for broker in brokers.values())
    kafka.list_topics(TOPIC, timeout=30)
    yield address
    del kafka


def delivered(mock: str, shape: Shape, connections: int, traffic: Traffic, start: Starter = limit) -> Report:
    with (
        start(mock, (TOPIC,), shape) as gateway,
        Sink(gateway.address, gateway.access(TOPIC, shape), connections) as sink,
    ):
        sink.expect(traffic.records // max(1, traffic.keys if traffic.per_key else 1))
        with Producer(mock, TOPIC, traffic) as producer:
            producer.wait_acknowledged(60)
        return sink.report(sink.wait_reached(60))


@pytest.mark.parametrize("shape", [Shape.VALUE, Shape.ENVELOPE])
def test_every_connection_gets_every_record(mock: str, shape: Shape) -> None:
    report = delivered(mock, shape, 20, Traffic(2000))
    assert (report.records, report.flaws()) == (40_000, {})


@pytest.mark.parametrize("start", [limit, shape_alone])
def test_keyed_connection_gets_its_key_only(mock: str, start: Starter) -> None:
    report = delivered(mock, Shape.KEYED, 50, Traffic(2000, keys=50, per_key=True), start)
    assert (report.records, report.flaws()) == (2000, {})


def test_keyed_batch_of_more_records_than_pieces(mock: str) -> None:
    report = delivered(mock, Shape.KEYED, 1, Traffic(1000, keys=1, per_key=True))
    assert (report.records, report.flaws()) == (1000, {})


def test_rate_is_kept(mock: str) -> None:
    started = time.monotonic()
    assert delivered(mock, Shape.VALUE, 1, Traffic(50, rate=100)).flaws() == {}
    assert time.monotonic() - started > 0.49


@contextmanager
def late_reader(address: str) -> Iterator[socket.socket]:
    """A client with a small receive buffer that has not read anything yet."""
    host, port = address.split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.connect((host, int(port)))
    client.settimeout(60)
    yield client
    client.close()


@pytest.mark.parametrize("shape", [Shape.VALUE, Shape.KEYED])
def test_late_reader_misses_nothing(mock: str, shape: Shape) -> None:
    # The mock forgets after 5 MB, this narrow socket's buffers take less: however late the gateway is, it finds all.
    traffic = Traffic(9_000, rate=3_000, bytes=500, keys=1, per_key=True)
    with limit(mock, (TOPIC,), shape) as gateway, late_reader(gateway.address) as client:
        with connect(f"ws://{gateway.address}/?key=k000000", sock=client, close_timeout=0.1) as websocket:
            with Producer(mock, TOPIC, traffic) as producer:
                producer.wait_acknowledged(60)
            numbers = [json.loads(websocket.recv(60))["n"] for _ in range(traffic.records)]
        assert numbers == list(range(traffic.records))
        assert ended(gateway.child)["partial"] > 0


def ended(gateway: Child) -> dict[str, int]:
    """What the gateway counted, told when it ends."""
    gateway.terminate()
    return gateway.wait_event("ended", 30)
