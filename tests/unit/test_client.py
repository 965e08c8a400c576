"""One client on `/ws`: what is done for its commands while Kafka is slow, silent or gone, and what it is told last."""

import contextlib
import json
from typing import Any

import msgpack
import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import MSGPACK, Raw, handshake, masked, until
from tests.plain_door import house
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.config import Limits
from tailrace.disconnect import SHUTDOWN, WRITE_TIMEOUT
from tailrace.errors import ErrorCode
from tailrace.gateway.away import WORDS


async def say(raw: Raw, type: str, id: int = 1, **fields: Any) -> None:
    await raw.send(masked(1, json.dumps({"type": type, "id": id} | fields).encode()))


async def told(raw: Raw, *types: str) -> list[dict[str, Any]]:
    """The next messages, which must be of these types."""
    messages = [await raw.message() for _ in types]
    assert [message["type"] for message in messages] == list(types), messages
    return messages


async def subscribe(raw: Raw, topic: str = "orders", id: int = 1, **fields: Any) -> dict[str, Any]:
    await say(raw, "subscribe", id, topic=topic, **fields)
    subscribed, _ = await told(raw, "subscribed", "live")
    return subscribed


async def test_a_subscription() -> None:
    async with house(orders=[5, 0]) as place, place.visit() as raw:
        subscribed = await subscribe(raw, id=7)
        assert subscribed == {
            "id": 7,
            "type": "subscribed",
            "topic": "orders",
            "topic_id": "id-of-orders",
            "compacted": False,
            "positions": {"0": 5, "1": 0},
        }
        await place.produce("orders", b"1")
        (record,) = await told(raw, "record")
        assert (record["id"], record["offset"]) == (7, 5)
        await say(raw, "unsubscribe", 7)
        position, _ = await told(raw, "position", "unsubscribed")
        assert position["positions"] == {"0": 6}
        assert place.users("orders") == 0


async def test_the_reader_never_waits_for_kafka() -> None:
    """Commands are answered, and WebSocket pings, while a subscribe is pending."""
    async with house(orders=[0]) as place, place.visit() as raw:
        with place.kafka.hold():
            await say(raw, "subscribe", topic="orders")
            await say(raw, "ping", 2)
            await told(raw, "pong")
            await raw.send(masked(9, b"?"))
            assert await raw.frame() == (0xA, b"?")
            await say(raw, "ping", 1)
            (error,) = await told(raw, "error")
            assert (error["code"], error["id"]) == ("id_in_use", 1)
        await told(raw, "subscribed", "live")


async def test_pending_ones_are_answered_as_kafka_does() -> None:
    async with house(orders=[0], prices=[0]) as place, place.visit() as raw:
        await subscribe(raw, "prices", 3)
        with place.kafka.hold():
            for id, topic in enumerate(["orders", "gone", "hidden", "prices"], 10):
                await say(raw, "subscribe", id, topic=topic)
            (error,) = await told(raw, "error")  # needs nobody's answer
            assert (error["id"], error["code"]) == (12, "unknown_topic")
        answers = {}
        for _ in range(5):
            message = await raw.message()
            answers.setdefault(message["id"], []).append(message.get("code", message["type"]))
        assert answers == {10: ["subscribed", "live"], 11: ["unknown_topic"], 13: ["subscribed", "live"]}


async def test_no_kafka() -> None:
    async with house(orders=[0]) as place, place.visit() as raw:
        place.kafka.down = True
        await say(raw, "subscribe", topic="orders")
        (error,) = await told(raw, "error")
        assert (error["code"], error["command"], error["id"]) == ("kafka_unavailable", "subscribe", 1)
        assert error["message"] == WORDS  # and not where the broker is
        place.kafka.down = False
        await subscribe(raw)


async def test_a_position_that_cannot_be() -> None:
    async with house(orders=[0]) as place, place.visit() as raw:
        await say(raw, "subscribe", topic="orders", **{"from": {"offsets": {"7": 0}}})
        (error,) = await told(raw, "error")
        assert (error["code"], error["id"]) == ("bad_position", 1)
        assert place.users("orders") == 0


async def test_a_pending_subscribe_is_given_up() -> None:
    """`unsubscribed` at once; the id is free for another, which is another."""
    async with house(orders=[0], prices=[4]) as place, place.visit() as raw:
        with place.kafka.hold():
            await say(raw, "subscribe", topic="orders")
            await say(raw, "unsubscribe")
            await told(raw, "unsubscribed")
            await say(raw, "subscribe", topic="prices")
            await wait_all_tasks_blocked()
        subscribed, _ = await told(raw, "subscribed", "live")
        assert subscribed["topic"] == "prices"
        assert (place.users("orders"), place.users("prices")) == (0, 1)


async def test_a_topic_is_opened_once_though_those_who_want_it_take_that_back(mock_clock: MockClock) -> None:
    async with house(orders=[0]) as place, place.visit() as raw:
        with place.kafka.hold():
            for _ in range(3):
                await say(raw, "subscribe", topic="orders")
                await say(raw, "unsubscribe")
                await told(raw, "unsubscribed")
        await subscribe(raw)
        assert place.kafka.questions.count("describe") == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_gives_everything_back(reset: bool) -> None:
    async with house(orders=[0], prices=[0]) as place:
        with capture_logs() as log:
            async with place.visit() as raw:
                await subscribe(raw, "orders", 1)
                await subscribe(raw, "orders", 2, keys=["a"])
                with place.kafka.hold():
                    await say(raw, "subscribe", 3, topic="prices")
                    await wait_all_tasks_blocked()
                    if reset:
                        await raw.reset()
                    else:
                        await raw.stream.aclose()
                    await wait_all_tasks_blocked()
                    assert not place.door.connections
        assert (place.users("orders"), place.users("prices")) == (0, 0)
        assert [entry["event"] for entry in log if entry["log_level"] == "error"] == []


async def test_a_subscription_that_the_gateway_ends() -> None:
    """Its place, then why; the others go on, and the id is free."""
    async with house(orders=[0], prices=[0]) as place, place.visit() as raw:
        await subscribe(raw, "orders", 1)
        await subscribe(raw, "prices", 2)
        await place.produce("orders", b"1")
        await told(raw, "record")
        place.end_all("orders", ErrorCode.TOPIC_DELETED)
        position, ended = await told(raw, "position", "unsubscribed")
        assert position["positions"] == {"0": 1}
        assert (ended["id"], ended["code"], ended["message"]) == (1, "topic_deleted", "why")
        assert (place.users("orders"), place.users("prices")) == (0, 1)
        await subscribe(raw, "prices", 1)


async def test_what_is_said_last() -> None:
    """Where every subscription stands that has moved, then `closing`, then the close frame."""
    async with house(orders=[0], prices=[0]) as place, place.visit() as raw:
        await subscribe(raw, "orders", 1)
        await subscribe(raw, "prices", 2)
        await place.produce("orders", b"1")
        await told(raw, "record")
        (connection,) = place.door.connections
        connection.end(SHUTDOWN, retry_after_ms=17)
        position, closing = await told(raw, "position", "closing")
        assert (position["id"], position["positions"]) == (1, {"0": 1})
        assert closing == {"type": "closing", "code": 4000, "reason": "shutdown", "retry_after_ms": 17}
        assert await raw.close_frame() == (4000, "shutdown")


async def test_nothing_is_begun_for_who_is_leaving() -> None:
    """A subscribe right before the end is not answered behind it."""
    async with house(orders=[0]) as place, place.visit() as raw:
        (connection,) = place.door.connections
        with place.kafka.hold():
            await say(raw, "subscribe", topic="orders")
            await wait_all_tasks_blocked()
            connection.end(SHUTDOWN)
            await told(raw, "closing")
        assert await raw.close_frame() == (4000, "shutdown")
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


async def test_one_that_asks_and_never_reads_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read no further until it has read; its time to do so ends nevertheless."""
    monkeypatch.setattr("tailrace.websocket.connection.CLOSE_SECONDS", 0.0)
    limits = Limits(commands_per_second=None, frames_per_second=None, bytes_per_second=None)
    async with house(limits=limits, orders=[0]) as place, place.visit() as raw, trio.open_nursery() as nursery:
        (connection,) = place.door.connections
        connection._socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4608)
        raw.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4608)
        asked = masked(1, b'{"type":"ping","id":1}')

        async def ask() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await raw.send(asked * 100)

        nursery.start_soon(ask)
        await until(lambda: connection.paused)
        connection.end(WRITE_TIMEOUT)
        await until(lambda: not place.door.connections)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("topic", "code"), [("orders", "forbidden"), ("x", "unknown_topic")])
async def test_publishing_where_it_is_not_allowed(topic: str, code: str) -> None:
    async with house(orders=[0]) as place, place.visit() as raw:
        await say(raw, "publish", topic=topic, value=1)
        (error,) = await told(raw, "error")
        assert (error["code"], error["command"]) == (code, "publish")


async def test_auth_is_not_asked_for() -> None:
    async with house(orders=[0]) as place, place.visit() as raw:
        await say(raw, "auth", token="x")
        (error,) = await told(raw, "error")
        assert error["code"] == "bad_request"


async def test_msgpack() -> None:
    asked = handshake("/ws", f"Sec-WebSocket-Protocol: {MSGPACK}")
    async with house(orders=[0]) as place, place.knock(asked) as raw:
        await raw.head()
        await raw.send(masked(2, msgpack.packb({"type": "subscribe", "id": 1, "topic": "orders"})))
        frames = [await raw.frame() for _ in range(3)]
        assert [opcode for opcode, _ in frames] == [2, 2, 2]
        welcome, subscribed, live = (msgpack.unpackb(payload, strict_map_key=False) for _, payload in frames)
        assert (welcome["type"], subscribed["type"], live["type"]) == ("welcome", "subscribed", "live")
        assert subscribed["positions"] == {0: 0}
        await place.produce("orders", b"\xff", key=b"\xfe")
        opcode, payload = await raw.frame()
        record = msgpack.unpackb(payload)
        assert (opcode, record["id"], record["key"], record["value"]) == (2, 1, b"\xfe", b"\xff")


async def test_many_connections_of_one_topic() -> None:
    """Each gets its own ids in its records, out of one shared block."""
    async with house(orders=[0]) as place, contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(place.visit()) for _ in range(20)]
        for number, raw in enumerate(raws, 1):
            await subscribe(raw, id=number * 3000)
        await place.produce("orders", b"1", b"2")
        for number, raw in enumerate(raws, 1):
            records = await told(raw, "record", "record")
            assert [record["id"] for record in records] == [number * 3000] * 2
