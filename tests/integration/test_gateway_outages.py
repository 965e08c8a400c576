"""Kafka goes away, comes back, or changes under its subscribers: the gateway stays, says so, and loses nothing."""

import pytest
import trio
from tests.gateway import Gateway, running
from tests.kafka_broker import Broker

from tailrace.gateway import tending, topics


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unanswered command waits for a second, not for ten."""
    monkeypatch.setattr(topics, "START_SECONDS", 1.0)


@pytest.fixture
def _watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are looked at ten times a second."""
    monkeypatch.setattr(tending, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(tending, "MISSING_SECONDS", 0.5)


@pytest.mark.usefixtures("_impatient")
async def test_no_broker_at_the_start(own_kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are let in and told; once it is there, they are served."""
    topic = own_kafka.topic()
    own_kafka.kill()
    async with running(own_kafka) as gateway:
        answer = await gateway.until_ready(False)
        assert answer.json["ready"] is False
        assert answer.json["reason"]
        assert (await gateway.get("/livez", admin=True)).status == 200
        refused = await gateway.refused(f"/topics/{topic}")
        assert (refused.status, refused.json["code"]) == (503, "kafka_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        async with gateway.client() as client:
            error = await client.ask("subscribe", topic=topic)
            assert (error["code"], error["id"]) == ("kafka_unavailable", 1)
            assert (await client.ask("ping"))["type"] == "pong"
            monkeypatch.undo()
            await trio.to_thread.run_sync(own_kafka.start)
            await gateway.until_ready()
            await client.subscribe(topic)
            await trio.to_thread.run_sync(own_kafka.produce, topic, ["1"])
            await client.expect("record", offset=0)


async def test_a_broker_that_dies_and_returns(own_kafka: Broker) -> None:
    """Who was subscribed gets what follows, without a hole and without a word."""
    topic = own_kafka.topic(partitions=2)
    async with running(own_kafka) as gateway, gateway.client() as client:
        await gateway.until_ready()
        async with gateway.stream(f"/topics/{topic}?format=value") as values:
            await client.subscribe(topic)
            await trio.to_thread.run_sync(own_kafka.produce, topic, ["1", "2"], 0)
            await client.records(2)
            own_kafka.kill()
            assert (await gateway.until_ready(False)).json["reason"]
            assert (await client.ask("ping", id=2))["type"] == "pong"
            await trio.to_thread.run_sync(own_kafka.start)
            await trio.to_thread.run_sync(own_kafka.produce, topic, ["3", "4"], 0)
            assert [record["offset"] for record in await client.records(2)] == [2, 3]
            assert [await values.bare() for _ in range(4)] == ["1", "2", "3", "4"]
            await gateway.until_ready()
        told = [entry["event"] for entry in gateway.log if entry["event"].startswith("kafka is")]
        assert told == ["kafka is available", "kafka is not available", "kafka is available"]


async def test_a_broker_that_hangs(own_kafka: Broker) -> None:
    """Its connections stay open and nobody answers."""
    topic = own_kafka.topic()
    async with running(own_kafka) as gateway, gateway.client() as client:
        await gateway.until_ready()
        await client.subscribe(topic)
        with own_kafka.frozen():
            await gateway.until_ready(False)
            assert (await client.ask("ping", id=2))["type"] == "pong"
        await trio.to_thread.run_sync(own_kafka.wait_until_up)
        await gateway.until_ready()
        await trio.to_thread.run_sync(own_kafka.produce, topic, ["1"])
        await client.expect("record", offset=0)


@pytest.mark.usefixtures("_watchful")
async def test_a_new_partition_is_read_from_its_beginning(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    async with gateway.client() as client, gateway.stream(f"/topics/{topic}?format=value") as values:
        await client.subscribe(topic)
        await client.subscribe(topic, id=2, keys=["A"])
        kafka.add_partitions(topic, 3)
        for value in ("1", "2"):  # one after the other: a client may turn two round that it sends to a new partition
            kafka.produce(topic, [("A", value)], partition=2)
        found = [(record["id"], record["partition"], record["offset"]) for record in await client.records(4)]
        assert sorted(found) == [(1, 2, 0), (1, 2, 1), (2, 2, 0), (2, 2, 1)]
        assert [await values.bare(), await values.bare()] == ["1", "2"]
        await client.send(type="unsubscribe", id=1)
        assert (await client.expect("position", id=1))["positions"]["2"] == 2
        await client.expect("unsubscribed", id=1)
        later = await client.subscribe(topic, id=3)
        assert later["positions"] == {"0": 0, "1": 0, "2": 2}


@pytest.mark.usefixtures("_watchful")
async def test_a_deleted_topic(gateway: Gateway, kafka: Broker) -> None:
    """Subscriptions end with a code, streams with 4503; then there is no such topic; other topics go on."""
    topic, other = kafka.topic(), kafka.topic()
    async with (
        gateway.client() as client,
        gateway.stream(f"/topics/{topic}") as stream,
        gateway.stream(f"/topics/{topic}?format=value") as values,
    ):
        await client.subscribe(topic, id=1)
        await client.subscribe(other, id=2)
        kafka.produce(topic, ["1"])
        await client.expect("record", id=1)
        kafka.delete(topic)
        await client.expect("position", id=1)
        ended = await client.expect("unsubscribed", id=1, code="topic_deleted")
        assert ended["message"]
        for expected in ("subscribed", "live", "record", "position"):
            await stream.expect(expected)
        await stream.expect("closing", code=4503, reason="topic_deleted")
        assert await stream.closed() == (4503, "topic_deleted")
        assert await values.bare() == "1"
        assert await values.closed() == (4503, "topic_deleted")
        assert (await client.ask("subscribe", id=1, topic=topic))["code"] == "unknown_topic"
        kafka.produce(other, ["1"])
        await client.expect("record", id=2)
        assert (await gateway.get("/readyz", admin=True)).status == 200
