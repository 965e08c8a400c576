"""`/topics/{topic}` end to end: the stream of messages, the stream of bare values, keys, and how they end."""

from typing import NoReturn

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, Gateway, handshake, running, until
from tests.kafka_broker import Broker

from tailrace.config import Topic
from tailrace.kafka.cluster import Cluster


async def test_messages(gateway: Gateway, kafka: Broker) -> None:
    """The handshake is answered once the positions are fixed: what is produced after it is not missed."""
    topic = kafka.topic(partitions=2)
    kafka.produce(topic, ["old"], partition=1)
    async with gateway.stream(f"/topics/{topic}") as client:
        kafka.produce(topic, [("A", "1")], partition=1)
        subscribed = await client.expect("subscribed", id=0, topic=topic, compacted=False)
        assert subscribed["positions"] == {"0": 0, "1": 1}
        await client.expect("live", id=0)
        await client.expect("record", id=0, topic=topic, partition=1, offset=1, key="A", value=1)


async def test_values(gateway: Gateway, kafka: Broker) -> None:
    """As they are: text where it is UTF-8, else binary; a tombstone is an empty binary frame; nothing else."""
    topic = kafka.topic()
    async with gateway.stream(f"/topics/{topic}?format=value") as client:
        kafka.produce(topic, ["1", "é {", b"\xff\0", (b"k", None), b"", b"\xed\xa0\x80"])
        assert [await client.bare() for _ in range(6)] == ["1", "é {", b"\xff\0", b"", "", b"\xed\xa0\x80"]


@pytest.mark.parametrize("format", ["value", "record"])
async def test_keys(gateway: Gateway, kafka: Broker, format: str) -> None:
    topic = kafka.topic()
    async with gateway.stream(f"/topics/{topic}?key=a+b&key=%FF&format={format}") as client:
        kafka.produce(topic, [("a b", "1"), ("c", "2"), (None, "3"), (b"\xff", "4"), ("a", "5"), ("a b", "6")])
        if format == "value":
            assert [await client.bare() for _ in range(3)] == ["1", "4", "6"]
        else:
            await client.expect("subscribed")
            await client.expect("live")
            assert [record["offset"] for record in await client.records(3)] == [0, 3, 5]


async def test_subprotocol_is_optional(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    async with gateway.stream(f"/topics/{topic}", subprotocols=["tailrace.v1.json"]) as client:
        assert client.connection.subprotocol == "tailrace.v1.json"
        await client.expect("subscribed")


@pytest.mark.parametrize("format", ["value", "record"])
@pytest.mark.parametrize("message", ["hello", b"hello", '{"type":"ping","id":1}'])
async def test_a_stream_takes_no_message(gateway: Gateway, kafka: Broker, format: str, message: str | bytes) -> None:
    topic = kafka.topic()
    async with gateway.stream(f"/topics/{topic}?format={format}") as client:
        if format == "record":
            await client.expect("subscribed")
            await client.expect("live")
        await client.raw(message)
        if format == "record":
            await client.expect("closing", code=1003)
        assert (await client.closed())[0] == 1003
    await gateway.until_all_left()
    assert gateway.users(topic) == 0


async def test_the_configured_value_form(kafka: Broker) -> None:
    topic = kafka.topic()
    async with running(kafka, topics={topic: Topic(value="text")}) as gateway, gateway.client() as client:
        await client.subscribe(topic)
        kafka.produce(topic, ["1"])
        await client.expect("record", value="1", encoding="text")


@pytest.mark.parametrize("exposed", [Topic(subscribe=False), Topic(subscribe=False, publish=True)])
async def test_a_topic_not_exposed_for_reading(kafka: Broker, exposed: Topic) -> None:
    topic = kafka.topic()
    async with running(kafka, topics={topic: exposed, "topic-*": Topic()}) as gateway:
        assert (await gateway.refused(f"/topics/{topic}")).status == (403 if exposed.publish else 404)
        async with gateway.client() as client:
            error = await client.ask("subscribe", topic=topic)
            assert error["code"] == ("forbidden" if exposed.publish else "unknown_topic")


async def test_values_and_messages_beside_each_other(gateway: Gateway, kafka: Broker) -> None:
    """One topic, three formats, each with its own tail."""
    topic = kafka.topic()
    async with (
        gateway.stream(f"/topics/{topic}?format=value") as values,
        gateway.client() as json,
        gateway.client("tailrace.v1.msgpack") as msgpack,
    ):
        await json.subscribe(topic, id=300)
        await msgpack.subscribe(topic, id=65_535)
        kafka.produce(topic, ["1", "2"])
        assert [await values.bare(), await values.bare()] == ["1", "2"]
        assert [record["value"] for record in await json.records(2)] == [1, 2]
        assert [record["value"] for record in await msgpack.records(2)] == [b"1", b"2"]


async def test_a_client_that_leaves_while_kafka_is_asked(
    gateway: Gateway, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for: another 9.5 s of a slot and of a question for nobody."""
    asked, left = trio.Event(), trio.Event()

    async def describe(self: Cluster, name: str) -> NoReturn:
        asked.set()
        try:
            await trio.sleep_forever()
        finally:
            left.set()
        raise AssertionError

    monkeypatch.setattr(Cluster, "describe", describe)
    with trio.fail_after(DEADLINE_SECONDS):
        async with gateway.reset_after(handshake(f"/topics/{kafka.topic()}")):
            await asked.wait()
        await left.wait()
    await gateway.until_all_left()


async def test_clients_that_leave_at_any_moment_of_the_start(gateway: Gateway, kafka: Broker) -> None:
    """Whatever is under way then, the topic is given back."""
    topic = kafka.topic()
    async with gateway.stream(f"/topics/{topic}"):
        for turns in range(40):
            async with gateway.reset_after(handshake(f"/topics/{topic}")):
                for _ in range(turns):
                    await trio.sleep(0.0005)
        await until(lambda: len(gateway.door.connections) == 1 and gateway.door._inside == 1)
        assert gateway.users(topic) == 1
