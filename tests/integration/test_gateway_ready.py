"""`/readyz` by partition and topic: a mock cluster that loses a leader, and a real one that refuses us."""

from collections.abc import AsyncIterator

import pytest
import trio
from confluent_kafka.admin import AclOperation
from tests.gateway import Gateway, running, until
from tests.kafka_broker import Broker
from tests.mock_cluster import set_leader

from tailrace.config import Admin, Topic
from tailrace.kafka.embedded import EmbeddedKafka


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedKafka]:
    async with EmbeddedKafka() as kafka:
        kafka.create("orders", 2)
        kafka.create("prices", 1)
        yield kafka


async def told(gateway: Gateway, faults: list[str], ready: bool = True) -> str:
    """The reason, once `/readyz` names just these faults."""
    with trio.fail_after(60):
        while True:
            answer = await gateway.get("/readyz", admin=True)
            if answer.json.get("unreadable", []) == faults and (answer.status == 200) == ready:
                return str(answer.json["reason"])
            await trio.sleep(0.05)


ONE = "partition 1 of orders has no leader"


async def test_a_partition_without_a_leader_holds_up_nobody_else(embedded: EmbeddedKafka) -> None:
    topics = {"orders": Topic(), "prices": Topic()}
    async with running(embedded.bootstrap, topics=topics, kafka=embedded.settings) as gateway:
        await told(gateway, [])
        async with gateway.client() as client:
            await client.subscribe("prices")  # nobody reads orders: the mock crashes on a fetch without a leader
            set_leader(embedded, "orders", 1, None)
            assert await told(gateway, [ONE]) == ""
            assert (await gateway.metrics())["tailrace_kafka_unreadable_partitions"] == 1
            embedded.produce("prices", b"2", partition=0)
            await client.expect("record", topic="prices")
            set_leader(embedded, "orders", 1, 1)
            assert await told(gateway, []) == ""
        assert [entry["reason"] for entry in gateway.logged("cannot be read")] == [ONE]
        assert len(gateway.logged("can be read again")) == 1


async def test_strict_it_is_not_ready(embedded: EmbeddedKafka) -> None:
    admin = Admin(address="127.0.0.1:0", ready="all")
    async with running(embedded.bootstrap, topics={"orders": Topic()}, kafka=embedded.settings, admin=admin) as gateway:
        await gateway.until_ready()
        set_leader(embedded, "orders", 1, None)
        assert await told(gateway, [ONE], ready=False) == ONE
        set_leader(embedded, "orders", 1, 1)
        await gateway.until_ready()


async def test_a_topic_that_is_missing_is_named_until_it_is_there(kafka: Broker) -> None:
    name = "topic-that-comes-later"
    async with running(kafka, topics={name: Topic()}) as gateway:
        why = f"topic {name}: there is no such topic"
        assert await told(gateway, [why], ready=False) == why
        kafka.topic(name=name)
        await told(gateway, [])
        assert len(gateway.logged("cannot be read")) == 1


@pytest.mark.parametrize("operation", [AclOperation.DESCRIBE, AclOperation.READ])
async def test_a_topic_that_we_may_not_read_is_named(kafka: Broker, operation: AclOperation) -> None:
    topic, other = kafka.topic(), kafka.topic()
    kafka.deny(topic, operation)
    exposed = {topic: Topic(), other: Topic()}
    async with running(kafka, topics=exposed, kafka=kafka.credentials()) as gateway:
        await gateway.until_ready()
        async with gateway.client() as client:
            await client.subscribe(other)
            await client.send(type="subscribe", id=2, topic=topic)  # a fetch is what is refused
            await until(lambda: gateway.logged("cannot be read"), "the refusal")
            answer = await gateway.get("/readyz", admin=True)
            assert answer.status == 200
            [fault] = answer.json["unreadable"]
            assert fault.startswith(f"topic {topic}: our credentials are not allowed to")
        assert len(gateway.logged("cannot be read")) == 1
        assert not gateway.logged("trouble with a topic")


async def test_the_only_topic_refused_is_not_ready(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.deny(topic, AclOperation.DESCRIBE)
    async with running(kafka, topics={topic: Topic()}, kafka=kafka.credentials()) as gateway:
        await until(lambda: gateway.parts.survey.topics and gateway.parts.health.ready, "both answers")
        answer = await gateway.get("/readyz", admin=True)
        assert answer.status == 503
        assert "our credentials are not allowed to" in answer.json["reason"]


async def test_bad_credentials_are_the_reason(kafka: Broker) -> None:
    async with running(kafka, kafka=kafka.credentials("wrong")) as gateway:
        await until(lambda: "credentials" in gateway.parts.health.reason, "the broker's answer")
        answer = await gateway.get("/readyz", admin=True)
        assert (answer.status, answer.json["reason"].startswith("the broker refused our credentials")) == (503, True)
