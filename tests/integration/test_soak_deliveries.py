"""Ten million deliveries and more, each of them checked: live, read back, resumed in the midst, on the real broker.

The clients are the benchmarks' C sink, which holds every record's sequence number against the one before, on every
connection. Skipped without a C compiler.
"""

import pytest
from benchmarks.harness.gateways import Running, Shape, tailrace
from benchmarks.harness.load import Producer, Report, Sink, Traffic
from benchmarks.harness.programs import CannotCompile, program
from tests.kafka_broker import Broker

PATIENCE_SECONDS = 180.0

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _compiled() -> None:
    try:
        for name in ("sink", "producer"):
            program(name)
    except CannotCompile as reason:
        pytest.skip(str(reason))


def written(kafka: Broker, topic: str, records: int) -> None:
    with Producer(kafka.bootstrap, topic, Traffic(records)) as producer:
        producer.wait_acknowledged(PATIENCE_SECONDS)


def sink(running: Running, topic: str, shape: Shape, connections: int) -> Sink:
    return Sink(running.address, running.access(topic, shape), connections, resume=shape is Shape.RESUME)


def verdict(report: Report) -> tuple[int, dict[str, int]]:
    return report.records, report.flaws()


@pytest.mark.parametrize(
    ("shape", "connections", "records"),
    [(Shape.VALUE, 500, 12_000), (Shape.ENVELOPE, 200, 10_000)],
    ids=["6 million values", "2 million envelopes"],
)
def test_live(kafka: Broker, shape: Shape, connections: int, records: int) -> None:
    topic = kafka.topic()
    with (
        tailrace(kafka.bootstrap, (topic,), shape) as running,
        sink(running, topic, shape, connections) as clients,
    ):
        clients.expect(records)
        written(kafka, topic, records)
        assert verdict(clients.report(clients.wait_reached(PATIENCE_SECONDS))) == (connections * records, {})


def test_four_million_read_back(kafka: Broker) -> None:
    topic, records = kafka.topic(), 200_000
    written(kafka, topic, records)
    with (
        tailrace(kafka.bootstrap, (topic,), Shape.REPLAY) as running,
        sink(running, topic, Shape.REPLAY, 20) as clients,
    ):
        clients.say(f"expect {records}")  # no reset: some have come already
        assert verdict(clients.report(clients.wait_reached(PATIENCE_SECONDS))) == (20 * records, {})


def test_five_million_resumed_at_different_offsets(kafka: Broker) -> None:
    """Client number i wants what follows offset i."""
    topic, records, connections = kafka.topic(), 11_000, 500
    written(kafka, topic, records)
    with (
        tailrace(kafka.bootstrap, (topic,), Shape.RESUME) as running,
        sink(running, topic, Shape.RESUME, connections) as clients,
    ):
        clients.say(f"expect {records}")
        report = clients.report(clients.wait_reached(PATIENCE_SECONDS))
        assert verdict(report) == (sum(records - first for first in range(connections)), {})
