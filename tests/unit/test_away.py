"""What clients and the log are told of a Kafka that does not answer."""

import json

import trio
from structlog.testing import capture_logs
from tests.gateway import handshake, masked
from tests.plain_door import PlainKafka, house
from trio.testing import MockClock

from tailrace.config import Publish
from tailrace.errors import KafkaUnavailable
from tailrace.gateway.away import QUIET_SECONDS, WORDS, Away

WHY = KafkaUnavailable("no broker answers (10.0.0.7:9092/1: Connection refused)")


async def test_a_line_a_minute(autojump_clock: MockClock) -> None:
    away = Away()
    with capture_logs() as lines:
        assert [away.told("orders", WHY) for _ in range(3)] == [WORDS] * 3
        await trio.sleep(QUIET_SECONDS + 1)
        away.told("prices", WHY)
        await trio.sleep(QUIET_SECONDS + 1)
        away.told("prices", WHY)
    assert [(line["topic"], line.get("suppressed")) for line in lines] == [
        ("orders", None),
        ("prices", 2),
        ("prices", None),
    ]
    assert all(line["reason"] == str(WHY) and line["log_level"] == "warning" for line in lines)


async def test_no_client_learns_where_the_brokers_are() -> None:
    """Subscribing and publishing on `/ws`, and `/topics`; and the log has it once for each of Topics and Publishing."""
    subscribe = {"type": "subscribe", "id": 1, "topic": "orders"}
    publish = {"type": "publish", "id": 2, "topic": "orders", "value": 1}
    async with house(publish=Publish(), orders=[0]) as place:
        with capture_logs() as lines:
            place.kafka.down = True
            async with place.knock(handshake("/topics/orders")) as raw:
                said = (await raw.end_of_file()).decode()
            async with place.visit() as raw:
                for command in (subscribe, publish):
                    await raw.send(masked(1, json.dumps(command).encode()))
                    said += json.dumps(await raw.message())
    assert said.count(WORDS) == 3
    assert "10.0.0.7" not in said
    reasons = [line["reason"] for line in lines if "told" in line["event"]]
    assert reasons == [PlainKafka({}).reason] * 2
