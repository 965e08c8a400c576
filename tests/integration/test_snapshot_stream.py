"""Snapshots through the whole gateway, on the real broker: what a client builds from them is the topic's true state."""

from typing import Any

import pytest
from tests.gateway import JSON, MSGPACK, Client, Gateway
from tests.kafka_broker import Broker

COMPACTED = {"cleanup_policy": "compact"}


class Map:
    """What a client builds: the value of every key, by the records it receives. It also checks the promises: offsets
    rise, and nothing is deleted that was not there unless it is live."""

    def __init__(self, subscribed: dict[str, Any]) -> None:
        self.values: dict[Any, Any] = {}
        self.next = {int(partition): offset for partition, offset in subscribed["positions"].items()}
        self.live = False
        self.records = 0

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "live":
            assert not self.live
            self.live = True
        elif message["type"] == "position":
            self.next |= {int(partition): offset for partition, offset in message["positions"].items()}
        else:
            self.record(message)

    def record(self, message: dict[str, Any]) -> None:
        assert message["type"] == "record", message
        assert message["offset"] >= self.next[message["partition"]], message
        self.next[message["partition"]] = message["offset"] + 1
        self.records += 1
        if message.get("tombstone") or message.get("encoding") == "tombstone":
            assert self.live, f"a tombstone in the snapshot: {message}"
            self.values.pop(message["key"], None)
        else:
            assert self.live or message["key"] not in self.values, f"twice in the snapshot: {message}"
            self.values[message["key"]] = message["value"]


async def begin(client: Client, topic: str, **fields: Any) -> Map:
    await client.send(type="subscribe", id=1, topic=topic, **({"from_": "snapshot"} | fields))
    return Map(await client.expect("subscribed"))


async def until_live(client: Client, state: Map) -> Map:
    while not state.live:
        state.take(await client.receive())
    return state


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
async def test_the_newest_of_every_key_then_live_then_what_follows(
    kafka: Broker, gateway: Gateway, subprotocol: str
) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("c", None), ("d", "5")], 0)
    async with gateway.client(subprotocol) as client:
        await client.send(type="subscribe", id=1, topic=topic, **{"from": "snapshot"})
        subscribed = await client.expect("subscribed", compacted=True)
        assert list(subscribed["positions"].values()) == [0]
        assert [record["offset"] for record in await client.records(3)] == [1, 2, 5]
        await client.expect("position", positions={("0" if subprotocol == JSON else 0): 6})
        await client.expect("live")
        kafka.produce(topic, [("a", "6"), ("b", None)], 0)
        upsert, tombstone = await client.records(2)
        assert (upsert["offset"], tombstone["offset"]) == (6, 7)
        assert tombstone["value"] is None
