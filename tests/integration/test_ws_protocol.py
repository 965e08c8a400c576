"""`/ws` end to end: what a client sends and is answered, in both subprotocols, on the real broker."""

import base64
import json

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, JSON, MSGPACK, Client, Gateway, masked
from tests.kafka_broker import Broker

import tailrace

BOTH = pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])


def key_of(message: dict, subprotocol: str) -> bytes | None:
    """A record's key as it stands in Kafka."""
    key = message["key"]
    if subprotocol == MSGPACK or key is None:
        return key
    return base64.b64decode(key) if message.get("key_encoding") == "base64" else key.encode()


@pytest.mark.parametrize("offers", [None, [JSON], ["unheard.of", JSON]])
async def test_welcome_in_json(gateway: Gateway, offers: list[str] | None) -> None:
    async with gateway.stream("/ws", subprotocols=offers) as client:
        assert client.connection.subprotocol == (JSON if offers else None)
        welcome = await client.receive()
        (connection,) = gateway.door.connections
        assert welcome == {
            "type": "welcome",
            "server": f"tailrace/{tailrace.__version__}",
            "connection": connection.id,
            "protocol": JSON,
            "ping_interval_ms": 25_000,
            "max_message_bytes": 65_536,
        }


async def test_welcome_in_msgpack(gateway: Gateway) -> None:
    async with gateway.stream("/ws", subprotocols=[MSGPACK, JSON]) as client:
        welcome = await client.expect("welcome", protocol=MSGPACK)
        assert welcome["max_message_bytes"] == 65_536


@BOTH
async def test_subscribe_begins_at_the_end(gateway: Gateway, kafka: Broker, subprotocol: str) -> None:
    topic = kafka.topic(partitions=2)
    kafka.produce(topic, ["old"] * 3, partition=0)
    async with gateway.client(subprotocol) as client:
        subscribed = await client.subscribe(topic, id=7)
        partitions = (0, 1) if subprotocol == MSGPACK else ("0", "1")
        assert subscribed["positions"] == dict(zip(partitions, (3, 0), strict=True))
        assert isinstance(subscribed["topic_id"], str)
        assert subscribed["compacted"] is False
        kafka.produce(topic, [("A", '{"total":5}')], partition=0)
        record = await client.expect("record", id=7, topic=topic, partition=0, offset=3)
        assert key_of(record, subprotocol) == b"A"
        assert record["value"] == (b'{"total":5}' if subprotocol == MSGPACK else {"total": 5})
        assert isinstance(record["timestamp"], int)


async def test_compacted_is_told(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic(cleanup_policy="compact")
    async with gateway.client() as client:
        assert (await client.subscribe(topic))["compacted"] is True


@BOTH
async def test_keys(gateway: Gateway, kafka: Broker, subprotocol: str) -> None:
    """Strings, null and, base64-coded or as they are, any bytes; several subscriptions of one client overlap."""
    topic = kafka.topic()
    packed = subprotocol == MSGPACK
    async with gateway.client(subprotocol) as client:
        await client.subscribe(topic, id=1, keys=[b"A", b"B"] if packed else ["A", "B"])
        await client.subscribe(topic, id=2, keys=[None])
        if packed:
            await client.subscribe(topic, id=3, keys=[b"\xff\0", b"A"])
        else:
            await client.subscribe(topic, id=3, keys=["/wA=", "QQ=="], keys_encoding="base64")
        await client.subscribe(topic, id=4)
        keys = [b"A", None, b"C", b"\xff\0", b"B", None, b""]
        kafka.produce(topic, [(key, "1") for key in keys], partition=0)
        found: dict[int, list[tuple[int, bytes | None]]] = {1: [], 2: [], 3: [], 4: []}
        for record in await client.records(2 + 2 + 2 + 7):
            found[record["id"]].append((record["offset"], key_of(record, subprotocol)))
    assert found == {
        1: [(0, b"A"), (4, b"B")],
        2: [(1, None), (5, None)],
        3: [(0, b"A"), (3, b"\xff\0")],
        4: list(enumerate(keys)),
    }


@BOTH
async def test_unsubscribe_tells_the_position(gateway: Gateway, kafka: Broker, subprotocol: str) -> None:
    """`position` comes before `unsubscribed` when the place moved, nothing after it, and the id is free again."""
    topic = kafka.topic(partitions=2)
    zero, one = (0, 1) if subprotocol == MSGPACK else ("0", "1")
    async with gateway.client(subprotocol) as client:
        await client.subscribe(topic)
        assert await client.ask("unsubscribe") == {"id": 1, "type": "unsubscribed"}
        await client.subscribe(topic)
        kafka.produce(topic, ["1", "2"], partition=1)
        await client.records(2)
        await client.send(type="unsubscribe", id=1)
        assert (await client.expect("position", id=1))["positions"] == {one: 2}
        await client.expect("unsubscribed", id=1)
        kafka.produce(topic, ["3"], partition=1)
        assert (await client.subscribe(topic))["positions"] == {zero: 0, one: 3}


async def test_a_position_counts_what_did_not_match(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    async with gateway.client() as client:
        await client.subscribe(topic, id=1, keys=["rare"])
        await client.subscribe(topic, id=2)
        kafka.produce(topic, [("common", "1")] * 5)
        await client.records(5)
        await client.send(type="unsubscribe", id=1)
        assert (await client.expect("position", id=1))["positions"] == {"0": 5}
        await client.expect("unsubscribed", id=1)


async def test_one_unsubscribes_and_the_others_go_on(gateway: Gateway, kafka: Broker) -> None:
    topic, other = kafka.topic(), kafka.topic()
    async with gateway.client() as client:
        await client.subscribe(topic, id=1)
        await client.subscribe(topic, id=65_535)
        await client.subscribe(other, id=3)
        await client.send(type="unsubscribe", id=1)
        await client.expect("unsubscribed", id=1)
        kafka.produce(topic, ["1"])
        await client.expect("record", id=65_535, offset=0)
        kafka.produce(other, ["2"])
        await client.expect("record", id=3, topic=other, offset=0)


@BOTH
async def test_ping(gateway: Gateway, subprotocol: str) -> None:
    async with gateway.client(subprotocol) as client:
        assert await client.ask("ping", id=65_535) == {"id": 65_535, "type": "pong"}


async def test_a_pong_stands_in_line_with_the_records(gateway: Gateway, kafka: Broker) -> None:
    """A WebSocket ping is answered whatever else flows."""
    topic = kafka.topic()
    async with gateway.client() as client:
        await client.subscribe(topic)
        kafka.produce(topic, ["1"] * 100)
        answered = await client.connection.ping(b"still there?")
        await client.records(100)
        with trio.fail_after(DEADLINE_SECONDS):
            await answered.wait()


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ({"type": "subscribe", "id": 1, "topic": "hidden"}, "unknown_topic", {"id": 1, "command": "subscribe"}),
        ({"type": "subscribe", "id": 1, "topic": "topic-none"}, "unknown_topic", {"id": 1, "command": "subscribe"}),
        ({"type": "subscribe", "id": 1, "topic": "no/topic"}, None, {"id": 1, "command": "subscribe"}),
        ({"type": "subscribe", "id": 1}, "bad_request", {"id": 1, "command": "subscribe"}),
        ({"type": "subscribe", "id": 1, "topic": "topic-x", "keys": []}, "bad_request", {"id": 1}),
        ({"type": "subscribe", "id": 1, "topic": "topic-x", "partitions": [0]}, "bad_request", {"id": 1}),
        ({"type": "subscribe", "id": 1, "topic": "topic-x", "from": "yesterday"}, "bad_request", {"id": 1}),
        ({"type": "subscribe", "id": 1, "topic": "topic-x", "interval_ms": 5}, "bad_request", {"id": 1}),
        ({"type": "unsubscribe", "id": 1}, "unknown_id", {"id": 1, "command": "unsubscribe"}),
        ({"type": "publish", "id": 1, "topic": "topic-x", "value": 1}, "forbidden", {"id": 1, "command": "publish"}),
        ({"type": "publish", "id": 1, "topic": "hidden", "value": 1}, "unknown_topic", {"id": 1, "command": "publish"}),
        ({"type": "dance", "id": 1}, "unknown_type", {"id": 1, "command": "dance"}),
        ({"type": "ping", "id": 1, "more": 1}, "bad_request", {"id": 1, "command": "ping"}),
        ({"type": "ping", "id": 0}, "bad_request", {"command": "ping"}),
        ({"type": "ping", "id": 65_536}, "bad_request", {"command": "ping"}),
        ({"type": "ping", "id": True}, "bad_request", {"command": "ping"}),
        ({"type": "ping", "id": "1"}, "bad_request", {"command": "ping"}),
        ({"type": "ping"}, "bad_request", {"command": "ping"}),
        ({"id": 1}, "bad_request", {"id": 1}),
        ({}, "bad_request", {}),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
@BOTH
async def test_errors(gateway: Gateway, subprotocol: str, command: dict, code: str | None, told: dict) -> None:
    """Every fault is answered, with the id and the command as far as they could be read; the connection lives."""
    if subprotocol == MSGPACK and "value" in command:
        command = command | {"value": b"1"}  # the record's bytes
    async with gateway.client(subprotocol) as client:
        await client.send(**command)
        error = await client.expect("error", **told)
        assert error["code"] == (code or error["code"])
        assert error["message"]
        assert ("id" in error) == ("id" in told)
        await client.send(type="ping", id=9)
        await client.expect("pong", id=9)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"ping"', "\x00", "[" * 5000, '{"id":1,"id":2}'])
async def test_broken_json_is_answered(gateway: Gateway, text: str) -> None:
    async with gateway.client() as client:
        await client.raw(text)
        error = await client.expect("error", code="bad_request")
        assert "id" not in error or text == '{"id":1,"id":2}'
        assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80\x80", b"\x81\xa4type", b"\x91" * 5000])
async def test_broken_msgpack_is_answered(gateway: Gateway, data: bytes) -> None:
    async with gateway.client(MSGPACK) as client:
        await client.raw(data)
        await client.expect("error", code="bad_request")
        assert (await client.ask("ping"))["type"] == "pong"


async def test_an_id_in_use(gateway: Gateway, kafka: Broker) -> None:
    """That of a live subscription."""
    topic = kafka.topic()
    async with gateway.client() as client:
        await client.subscribe(topic, id=5)
        for command in ({"type": "ping"}, {"type": "subscribe", "topic": topic}):
            await client.send(**command, id=5)
            await client.expect("error", id=5, code="id_in_use", command=command["type"])
        kafka.produce(topic, ["1"])
        await client.expect("record", id=5)


def together(*commands: dict) -> bytes:
    """Frames for one write: no answer comes between them, however quick Kafka is."""
    return b"".join(masked(1, json.dumps(command).encode()) for command in commands)


async def test_the_id_of_a_pending_command_is_in_use(gateway: Gateway, kafka: Broker) -> None:
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(together({"type": "subscribe", "id": 6, "topic": kafka.topic()}, {"type": "ping", "id": 6}))
        error = await raw.message()
        assert (error["type"], error["id"], error["code"], error["command"]) == ("error", 6, "id_in_use", "ping")
        answers = [await raw.message() for _ in range(2)]
        assert [(each["type"], each["id"]) for each in answers] == [("subscribed", 6), ("live", 6)]


async def test_unsubscribing_a_pending_subscribe(gateway: Gateway, kafka: Broker) -> None:
    """It answers `unsubscribed` only, and the id is free at once."""
    subscribe = {"type": "subscribe", "id": 1, "topic": kafka.topic()}
    async with gateway.raw() as raw:
        await raw.message()
        await raw.send(together(subscribe, {"type": "unsubscribe", "id": 1}))
        assert await raw.message() == {"id": 1, "type": "unsubscribed"}
        await raw.send(together(subscribe))
        assert [(await raw.message())["type"] for _ in range(2)] == ["subscribed", "live"]
        kafka.produce(subscribe["topic"], ["1"])
        record = await raw.message()
        assert (record["type"], record["id"], record["offset"]) == ("record", 1, 0)


async def test_too_many_subscriptions(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    async with gateway.client() as client:
        for id in range(1, 1025):
            await client.send(type="subscribe", id=id, topic=topic, keys=["never"])
        await client.send(type="subscribe", id=2000, topic=topic)
        answers = [await client.receive() for _ in range(2 * 1024 + 1)]
        (error,) = [answer for answer in answers if answer["type"] == "error"]
        assert (error["id"], error["code"]) == (2000, "too_many_subscriptions")
        await client.send(type="unsubscribe", id=512)
        await client.expect("unsubscribed", id=512)
        await client.subscribe(topic, id=2000)


async def faults(client: Client, count: int) -> None:
    for _ in range(count):
        assert (await client.ask("dance"))["code"] == "unknown_type"


async def test_twenty_errors_in_a_row_end_it(gateway: Gateway) -> None:
    async with gateway.client() as client:
        await faults(client, 20)
        await client.expect("closing", code=4504, reason="too_many_errors")
        assert await client.closed() == (4504, "too_many_errors")
    await gateway.until_all_left()


async def test_another_answer_begins_the_count_anew(gateway: Gateway) -> None:
    async with gateway.client() as client:
        for _ in range(3):
            await faults(client, 19)
            assert (await client.ask("ping"))["type"] == "pong"
            await faults(client, 19)
            assert (await client.ask("unsubscribe"))["code"] == "unknown_id"


@pytest.mark.parametrize(("subprotocol", "wrong"), [(JSON, b"{}"), (MSGPACK, "{}")])
async def test_the_wrong_frame_type(gateway: Gateway, subprotocol: str, wrong: str | bytes) -> None:
    async with gateway.client(subprotocol) as client:
        await client.raw(wrong)
        await client.expect("closing", code=1003)
        assert (await client.closed())[0] == 1003
    await gateway.until_all_left()


async def test_a_large_message_and_one_too_large(gateway: Gateway) -> None:
    async with gateway.client() as client:
        await client.raw('{"type":"ping","id":1}'.ljust(65_536))
        await client.expect("pong", id=1)
        await client.raw('{"type":"ping","id":1}'.ljust(65_537))
        await client.expect("closing", code=1009)
        assert (await client.closed())[0] == 1009


async def test_the_client_closes(gateway: Gateway, kafka: Broker) -> None:
    """Its code comes back, and its subscriptions are gone."""
    topic = kafka.topic()
    async with gateway.client() as client:
        await client.subscribe(topic)
        assert gateway.users(topic) == 1
        await client.connection.aclose(4321, "bye")
        assert (client.connection.close_code, client.connection.close_reason) == (4321, "bye")
    await gateway.until_all_left()
    assert gateway.users(topic) == 0
