"""Publishing to the real broker: what stands in the log, byte for byte, and what is said when it does not.

The log is read by `kafka.read`, a consumer that knows nothing of ours."""

import ctypes
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AclOperation
from tests.gateway import MSGPACK, Client, Gateway, running, until
from tests.kafka_broker import Broker

from tailrace.config import Limits, Publish, Topic
from tailrace.kafka.native import c_function, handle

TOPICS = {"topic-*": Topic(publish=True), "read-*": Topic()}
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
FREE = Limits(commands_per_second=None)


@pytest.fixture
async def gateway(kafka: Broker) -> AsyncIterator[Gateway]:
    async with running(kafka, topics=TOPICS, limits=FREE) as gateway:
        yield gateway


def log(kafka: Broker, topic: str, count: int, partition: int = 0) -> list[Message]:
    """The first records of a partition, by an independent consumer."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "x", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        found: list[Message] = []
        while len(found) < count:
            more = consumer.consume(count - len(found), 60)
            assert more, f"{len(found)} of {count} records"
            found += more
        assert not consumer.consume(1, 0.2), "more than that"
        return found
    finally:
        consumer.close()


async def read(kafka: Broker, topic: str, count: int, partition: int = 0) -> list[Message]:
    return await trio.to_thread.run_sync(log, kafka, topic, count, partition)


async def published(client: Client, id: int, topic: str, **fields: Any) -> dict[str, Any]:
    await client.send(type="publish", id=id, topic=topic, **fields)
    return await client.expect("published", id=id, topic=topic)


async def failed(client: Client, code: str, id: int, topic: str, **fields: Any) -> dict[str, Any]:
    await client.send(type="publish", id=id, topic=topic, **fields)
    return await client.expect("error", code=code, id=id, command="publish")


# The value's text in the message, and what must stand in the log.
VALUES = [
    (b'"value":{"a": [1,  2],\t"b":1.50e0}', b'{"a": [1,  2],\t"b":1.50e0}'),
    (b'"value":   {\n "z":1, "a":2, "z":3 }  ', b'{\n "z":1, "a":2, "z":3 }'),
    (b'"value":"\\u00e9 \xc3\xa9"', b'"\\u00e9 \xc3\xa9"'),
    (b'"value":12345678901234567890', b"12345678901234567890"),
    (b'"value":null', b"null"),
    (b'"value":"","encoding":"json"', b'""'),
    (b'"value":"\xc3\xa9\\n","encoding":"text"', b"\xc3\xa9\n"),
    (b'"value":"","encoding":"text"', b""),
    (b'"value":"AP8K","encoding":"base64"', b"\x00\xff\n"),
    (b'"encoding":"tombstone"', None),
]


async def test_the_bytes_are_those_that_were_sent(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    async with gateway.client() as client:
        for id, (value, _) in enumerate(VALUES, 1):
            command = b'{"type":"publish","id":%d,"topic":"%s",%s}' % (id, topic.encode(), value)
            await client.raw(command.decode())
        for id in range(1, len(VALUES) + 1):
            await client.expect("published", id=id, partition=0, offset=id - 1)
    assert [message.value() for message in await read(kafka, topic, len(VALUES))] == [value for _, value in VALUES]


async def test_keys_and_headers(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    headers = [["a", "é"], ["a", "AP8=", "base64"], ["null", None], ["", ""]]
    async with gateway.client() as client:
        await published(client, 1, topic, value=1, key="é", headers=headers)
        await published(client, 2, topic, value=1, key="AP8=", key_encoding="base64")
        await published(client, 3, topic, value=1, key="")
        answer = await published(client, 4, topic, value=1)
        message = await failed(client, "bad_request", 5, topic, value=1, headers=[["a\0b", "c"]])
        assert "U+0000" in message["message"]
    records = await read(kafka, topic, 4)
    assert [record.key() for record in records] == ["é".encode(), b"\0\xff", b"", None]
    assert records[0].headers() == [("a", "é".encode()), ("a", b"\0\xff"), ("null", None), ("", b"")]
    assert records[3].timestamp()[1] == answer["timestamp"]
    assert records[3].headers() is None


async def test_message_pack(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    async with gateway.client(MSGPACK) as client:
        await published(client, 1, topic, value=b"\0\xff", key=b"\xff", headers=[["h", b"\xfe"], ["n", None]])
        await published(client, 2, topic, value=None)
        await published(client, 3, topic, encoding="tombstone")
        await failed(client, "bad_request", 4, topic, value="text")
    first, *rest = await read(kafka, topic, 3)
    assert (first.key(), first.value(), first.headers()) == (b"\xff", b"\0\xff", [("h", b"\xfe"), ("n", None)])
    assert [record.value() for record in rest] == [None, None]


# org.apache.kafka.common.utils.UtilsTest.testMurmur2, of Kafka 4.1: what Java's partitioner computes of a key.
MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


async def test_a_keys_partition_is_javas(gateway: Gateway, kafka: Broker) -> None:
    """BuiltInPartitioner.partitionForKey: toPositive(murmur2(key)) % partitions."""
    topic = kafka.topic(partitions=7)
    async with gateway.client() as client:
        found = {key: (await published(client, 1, topic, value=1, key=key))["partition"] for key in MURMUR2}
        assert found == {key: (hash & 0x7FFFFFFF) % 7 for key, hash in MURMUR2.items()}
        assert (await published(client, 1, topic, value=1, key="21", partition=6))["partition"] == 6


async def test_a_chat(gateway: Gateway, kafka: Broker) -> None:
    """One publishes, the other reads, and the order is the one in which it was sent."""
    topic = kafka.topic()
    async with gateway.client() as writer, gateway.client() as reader:
        await reader.subscribe(topic)
        for id in range(1, 301):
            await writer.send(type="publish", id=id, topic=topic, key="room", value={"text": f"line {id}"})
        records = await reader.records(300)
        assert [record["value"]["text"] for record in records] == [f"line {id}" for id in range(1, 301)]
        answers = [await writer.expect("published") for _ in range(300)]
        assert [(each["id"], each["offset"]) for each in answers] == [(id, id - 1) for id in range(1, 301)]


async def test_topics_that_are_not_for_publishing(gateway: Gateway, kafka: Broker) -> None:
    closed = kafka.topic(name="read-only")
    async with gateway.client() as client:
        await failed(client, "forbidden", 1, closed, value=1)
        await failed(client, "unknown_topic", 2, "elsewhere", value=1)
        await failed(client, "unknown_topic", 3, "topic-that-does-not-exist", value=1)
        await failed(client, "publish_failed", 4, kafka.topic(), value=1, partition=1)
        assert gateway.publishing.statistics().on_their_way == 0


async def test_a_topic_is_not_created_by_publishing(kafka: Broker) -> None:
    async with running(kafka, topics=TOPICS) as gateway, gateway.client() as client:
        await failed(client, "unknown_topic", 1, "topic-not-there", value=1)
    assert kafka.describe("topic-not-there") == []


async def test_a_record_that_the_broker_finds_too_large(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic(max_message_bytes="500")
    async with gateway.client() as client:
        await published(client, 1, topic, value="fits")
        message = await failed(client, "publish_failed", 2, topic, value="x" * 1000)
        assert "too large" in message["message"].lower()
        await published(client, 3, topic, value="fits")
    assert [record.value() for record in await read(kafka, topic, 2)] == [b'"fits"'] * 2


async def test_a_record_that_librdkafka_finds_too_large(kafka: Broker) -> None:
    settings = {"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 1000}
    topic = kafka.topic()
    async with running(kafka, topics=TOPICS, kafka=settings) as gateway, gateway.client() as client:
        message = await failed(client, "publish_failed", 1, topic, value="x" * 2000)
        assert "too large" in message["message"].lower()


async def test_credentials_that_may_not_write(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.deny(topic, AclOperation.WRITE)
    async with running(kafka, topics=TOPICS, kafka=kafka.credentials()) as gateway, gateway.client() as client:
        message = await failed(client, "publish_failed", 1, topic, value=1)
        assert "not allowed" in message["message"]
        await published(client, 2, kafka.topic(), value=1)


async def until_published(client: Client, id: int, topic: str, *codes: str, value: Any, **fields: Any) -> Any:
    """The first answer that is not an error with one of these codes. value: what is tried, or makes it each time."""
    with trio.fail_after(60):
        while True:
            tried = value() if callable(value) else value
            answer = await client.ask("publish", id, topic=topic, value=tried, **fields)
            if answer["type"] == "published":
                return answer
            assert answer["code"] in codes, answer
            await trio.sleep(0.1)


async def test_a_new_partition_is_written_to(kafka: Broker) -> None:
    """The gateway asks at once; librdkafka looks in its own time, and until then says that there is none."""
    settings = {"bootstrap.servers": kafka.bootstrap, "topic.metadata.refresh.interval.ms": 500}
    topic = kafka.topic()
    async with running(kafka, topics=TOPICS, kafka=settings) as gateway, gateway.client() as client:
        await published(client, 1, topic, value=1)
        await trio.to_thread.run_sync(kafka.add_partitions, topic, 2)
        answer = await until_published(client, 2, topic, "publish_failed", value=1, partition=1)
        assert answer["partition"] == 1


async def test_a_broker_that_does_not_answer(own_kafka: Broker) -> None:
    """Frozen, it may have the record: `publish_timeout`, and what follows is written, nothing twice. One that is known
    to be away before anything is sent: `kafka_unavailable`, and it is not in the log."""
    topic = own_kafka.topic()
    async with running(own_kafka, topics=TOPICS, publish=Publish(timeout=2.0)) as gateway, gateway.client() as client:
        await until_published(client, 1, topic, "publish_timeout", "kafka_unavailable", value="before")
        with own_kafka.frozen():
            begin = trio.current_time()
            message = await failed(client, "publish_timeout", 2, topic, value="meanwhile")
            assert trio.current_time() - begin < 10.0
            assert "may be in the log" in message["message"]
        answer = await until_published(client, 3, topic, "publish_timeout", "kafka_unavailable", value="after")
        await until(lambda: gateway.publishing.statistics().on_their_way == 0)
        records = await read(own_kafka, topic, answer["offset"] + 1)
        values = [record.value() for record in records]
        assert (values[0], values[-1]) == (b'"before"', b'"after"')
        assert values.count(b'"meanwhile"') <= 1
    own_kafka.kill()
    async with running(own_kafka, topics=TOPICS) as gateway, gateway.client() as client:
        begin = trio.current_time()
        await failed(client, "kafka_unavailable", 1, topic, value=1)
        assert trio.current_time() - begin < 10.0


async def test_a_broker_that_is_killed_between(own_kafka: Broker) -> None:
    """Every publish is answered once; what was acknowledged stands in the log once, in the order it was sent."""
    topic = own_kafka.topic()
    async with running(own_kafka, topics=TOPICS, limits=FREE) as gateway, gateway.client() as client:
        await published(client, 1, topic, value=0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say, client, topic, 400)
            answers = [await client.receive() for _ in range(100)]
            own_kafka.kill()
            await trio.to_thread.run_sync(own_kafka.start)
            answers += [await client.receive() for _ in range(300)]
        assert sorted(answer["id"] for answer in answers) == list(range(1, 401))
        acknowledged = {answer["id"]: answer["offset"] for answer in answers if answer["type"] == "published"}
        others = {answer.get("code") for answer in answers if answer["type"] != "published"}
        assert others <= {"publish_timeout", "publish_failed", "kafka_unavailable"}
        assert len(acknowledged) >= 100
        attempts = itertools.count()  # one that was late may be in the log, too
        codes = ("publish_timeout", "publish_failed", "kafka_unavailable")
        last = await until_published(client, 1, topic, *codes, value=lambda: f"last {next(attempts)}")
        records = await read(own_kafka, topic, last["offset"] + 1)
        values = [json.loads(record.value() or b"") for record in records]
        assert all(values[offset] == id for id, offset in acknowledged.items())
        assert len(set(map(str, values))) == len(values)
        numbers = [value for value in values if isinstance(value, int)]
        assert numbers == sorted(numbers)
        await until(lambda: gateway.publishing.statistics().bytes == 0)


async def _say(client: Client, topic: str, count: int) -> None:
    for id in range(1, count + 1):
        await client.send(type="publish", id=id, topic=topic, value=id)
        if id > 100:
            await trio.sleep(0.01)


async def test_a_producer_that_fails_for_good_is_replaced(gateway: Gateway, kafka: Broker) -> None:
    """As an idempotent one does that has lost its sequence."""
    topic = kafka.topic()
    fail = c_function("rd_kafka_test_fatal_error", ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
    async with gateway.client() as client:
        await published(client, 1, topic, value=1)
        first = gateway.publishing._producer
        assert first is not None
        client_of_librdkafka = first._producer  # held, or it would be freed by its thread while this one is still in it
        pointer = handle(client_of_librdkafka, first._error_callback)
        assert pointer is not None
        fail(ctypes.c_void_p(pointer), OUT_OF_ORDER_SEQUENCE_NUMBER, b"by the test")
        await until(lambda: not first.usable)
        await published(client, 2, topic, value=2)
        assert gateway.publishing._producer is not first
