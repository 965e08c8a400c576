"""Snapshots through the whole gateway, on the real broker: what a client builds from them is the topic's true state."""

import itertools
import random
import time
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from confluent_kafka import Producer
from tests.gateway import DEADLINE_SECONDS, JSON, MSGPACK, Client, Gateway, running, until
from tests.kafka_broker import Broker

from tailrace.config import Catchup, Topic
from tailrace.gateway import scanning, topics
from tailrace.gateway.snapshots import Lease

COMPACTED = {"cleanup_policy": "compact"}
MADE_ANEW = "topic was deleted and created again"  # in the log, once it has been seen
Log = list[tuple[str, str | None]]


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


def changes(keys: int, count: int, seed: int, deletes: float = 0.2) -> Log:
    chance = random.Random(seed)
    return [
        (f"k{chance.randrange(keys)}", None if chance.random() < deletes else str(chance.random()))
        for _ in range(count)
    ]


def state(log: Log) -> dict[str, str]:
    return {key: value for key, value in dict(log).items() if value is not None}


class Writer:
    """Knows what it has written; each key always to the same partition. Idempotent, or a retry could change the order
    (a new topic's leader is not there at once)."""

    def __init__(self, kafka: Broker, partitions: int = 1) -> None:
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "linger.ms": 0})
        self.topic = kafka.topic(partitions, **COMPACTED)
        self.logs: list[Log] = [[] for _ in range(partitions)]
        self.ends = dict.fromkeys(range(partitions), 0)  # acknowledged

    def write(self, records: Log) -> None:
        for key, value in records:
            partition = int(key[1:]) % len(self.logs)
            self.logs[partition].append((key, value))  # first: a client may have it before this thread goes on
            self.producer.produce(self.topic, value, key, partition)
        assert self.producer.flush(30) == 0
        self.ends = {partition: len(log) for partition, log in enumerate(self.logs)}

    async def run(self, seconds: float, keys: int) -> None:
        """In a thread, so that the loop has its turns."""
        end = trio.current_time() + seconds
        for seed in itertools.count():
            await trio.to_thread.run_sync(self.write, changes(keys, 40, seed))
            if trio.current_time() > end:
                return

    def state(self, ends: Mapping[int, int]) -> dict[str, str]:
        """The truth as of these ends."""
        return state([record for partition, log in enumerate(self.logs) for record in log[: ends[partition]]])


async def until_at(client: Client, found: Map, ends: Mapping[int, int]) -> Map:
    while any(found.next[partition] < end for partition, end in ends.items()):
        found.take(await client.receive())
    return found


async def follow(gateway: Gateway, writer: Writer, done: trio.Event) -> None:
    """A snapshot, then whatever comes until everything written has: right when it is live, and in the end."""
    async with gateway.client() as client:
        ends = writer.ends
        found = await until_live(client, await begin(client, writer.topic))
        assert all(found.next[partition] >= end for partition, end in ends.items()), "as of now"
        assert found.values == as_received(writer.state(found.next))
        await done.wait()
        await until_at(client, found, writer.ends)
    assert found.values == as_received(writer.state(writer.ends))


def as_received(state: dict[str, str]) -> dict[str, float]:
    """JSON numbers."""
    return {key: float(value) for key, value in state.items()}


async def test_clients_that_come_while_it_is_written_have_the_true_state(kafka: Broker, gateway: Gateway) -> None:
    writer, done = Writer(kafka, 3), trio.Event()
    writer.write(changes(300, 3000, seed=99))
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as writing:
            writing.start_soon(writer.run, 2.0, 300)
            for number in range(8):
                clients.start_soon(follow, gateway, writer, done)
                await trio.sleep(0.02 * number)
        done.set()
    assert gateway.topics.snapshots.statistics().scans <= 8


async def test_fifty_share_one_scan(kafka: Broker, gateway: Gateway) -> None:
    writer, done = Writer(kafka, 2), trio.Event()
    writer.write(changes(300, 3000, seed=1))
    done.set()
    async with trio.open_nursery() as clients:
        for _ in range(50):
            clients.start_soon(follow, gateway, writer, done)
    assert gateway.topics.snapshots.statistics().scans == 1
    writer.write(changes(300, 10, seed=2))
    await follow(gateway, writer, done)
    after = gateway.topics.snapshots.statistics()
    assert (after.scans, after.read_records) == (2, 3010), "only what was written since"


async def test_who_leaves_in_the_middle_goes_on_with_the_log(kafka: Broker, gateway: Gateway) -> None:
    writer = Writer(kafka, 2)
    writer.write(changes(400, 3000, seed=3))
    for left_after in (0, 1, 100, 200):
        async with gateway.client(max_queue=None) as client:  # else the library hangs in close(), with the queue full
            found = await begin(client, writer.topic)
            for _ in range(left_after):
                found.take(await client.receive())
        writer.write(changes(400, 50, seed=left_after))
        async with gateway.client() as client:
            found.live = True  # from here on it is the log, with all it has
            offsets = {str(partition): offset for partition, offset in found.next.items()}
            await client.send(type="subscribe", id=1, topic=writer.topic, **{"from": {"offsets": offsets}})
            await client.expect("subscribed", positions=offsets)
            while any(found.next[partition] < end for partition, end in writer.ends.items()):
                message = await client.receive()
                if message["type"] != "live":
                    found.take(message)
        assert found.values == as_received(writer.state(writer.ends))


async def test_keys_are_chosen_from_it(kafka: Broker, gateway: Gateway) -> None:
    writer = Writer(kafka, 3)
    writer.write(changes(50, 500, seed=4, deletes=0.4))
    wanted = [f"k{number}" for number in range(20)]
    async with gateway.client() as client:
        found = await until_live(client, await begin(client, writer.topic, keys=[*wanted, "absent"]))
        right = as_received(writer.state(writer.ends))
        assert found.values == {key: right[key] for key in wanted if key in right}
        writer.write([("k1", "1"), ("k30", "2"), ("k2", "3")])
        received = [record["key"] for record in await client.records(2)]
    assert sorted(received) == ["k1", "k2"]


@pytest.mark.parametrize("tail", [True, False], ids=["in the tail", "read back"])
async def test_what_a_tail_has_too_is_compacted_all_the_same(kafka: Broker, gateway: Gateway, tail: bool) -> None:
    topic = kafka.topic(1, **COMPACTED)
    records: Log = [("a", "1"), ("a", "2"), ("b", None), ("c", "3")]
    if not tail:
        kafka.produce(topic, records, 0)
    async with gateway.client() as client, gateway.client() as other:
        await other.subscribe(topic)
        if tail:
            kafka.produce(topic, records, 0)
            await other.records(4)
        found = await until_live(client, await begin(client, topic))
    assert (found.values, found.records) == ({"a": 2, "c": 3}, 2)


async def test_an_empty_topic_is_live_at_once(kafka: Broker, gateway: Gateway) -> None:
    topic = kafka.topic(2, **COMPACTED)
    async with gateway.client() as client:
        await client.subscribe(topic, from_="snapshot")
        kafka.produce(topic, [("a", "1")], 0)
        await client.expect("record", key="a")
    assert gateway.topics.snapshots.statistics().scans == 0


async def test_one_of_tombstones_only_is_live_without_a_record(kafka: Broker, gateway: Gateway) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [("a", "1"), ("a", None)], 0)
    async with gateway.client() as client:
        found = await until_live(client, await begin(client, topic))
    assert (found.records, found.next) == (0, {0: 2})


# --- /topics ---


async def test_as_a_stream_of_records(kafka: Broker, gateway: Gateway) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [("a", "1"), ("b", "2"), ("a", "3")], 0)
    async with gateway.stream(f"/topics/{topic}?from=snapshot&key=a") as client:
        found = await until_live(client, Map(await client.expect("subscribed", id=0)))
        assert found.values == {"a": 3}


async def test_as_a_stream_of_values(kafka: Broker, gateway: Gateway) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [("a", "1"), ("b", "2"), ("a", "3"), ("b", None), ("c", "4")], 0)
    async with gateway.stream(f"/topics/{topic}?from=snapshot&format=value") as client:
        assert [await client.bare() for _ in range(2)] == ["3", "4"]
        kafka.produce(topic, [("a", None)], 0)
        assert await client.bare() == b""


# --- what cannot be had ---


async def refusal(gateway: Gateway, topic: str, code: str) -> str:
    """The error on `/ws`, which `/topics` gives too."""
    async with gateway.client() as client:
        error = await client.ask("subscribe", topic=topic, **{"from": "snapshot"})
    assert (error["type"], error.get("code")) == ("error", code), error
    answer = await gateway.refused(f"/topics/{topic}?from=snapshot")
    assert (answer.status, answer.json["code"]) == ({"forbidden": 403}.get(code, 400), code)
    assert answer.json["message"] == error["message"]
    return str(error["message"])


async def test_a_topic_that_is_not_compacted(kafka: Broker, gateway: Gateway) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [("a", "1")], 0)
    assert "not compacted" in await refusal(gateway, topic, "snapshot_unavailable")
    async with gateway.client() as client, gateway.client() as other:
        await other.subscribe(topic)  # it stays open
        kafka.configure(topic, **COMPACTED)
        found = await until_live(client, await begin(client, topic))
        assert found.values == {"a": 1}


async def test_a_topic_that_is_not_replayed(kafka: Broker) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [("a", "1")], 0)
    async with running(kafka, topics={"topic-*": Topic(replay=False)}) as gateway:
        assert "latest" in await refusal(gateway, topic, "forbidden")


async def test_a_topic_that_is_replayed_for_an_hour(kafka: Broker) -> None:
    topic, now = kafka.topic(1, **COMPACTED), int(time.time() * 1000)
    old = {"key": "old", "value": "1", "timestamp": now - 7_200_000}
    kafka.produce(topic, [old, {"key": "new", "value": "2", "timestamp": now}], 0)
    async with running(kafka, topics={"topic-*": Topic(replay=3600.0)}) as gateway, gateway.client() as client:
        found = await begin(client, topic)
        assert found.next == {0: 1}
        assert (await until_live(client, found)).values == {"new": 2}


async def test_one_that_is_too_large_is_not_read_again_and_again(kafka: Broker) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [(f"k{number}", "1" * 1000) for number in range(200)], 0)
    async with running(kafka, catchup=Catchup(snapshot_bytes=100_000)) as gateway:
        assert "too large" in await refusal(gateway, topic, "snapshot_unavailable")
        after = gateway.topics.snapshots.statistics()
        assert (after.scans, after.snapshots, after.memory_bytes) == (1, 0, 0)
        async with gateway.client() as client:  # whatever else may be asked of it
            await client.send(type="subscribe", id=1, topic=topic, **{"from": "earliest"})
            await client.expect("subscribed")


async def test_room_is_made_by_what_nobody_reads(kafka: Broker) -> None:
    async with running(kafka, catchup=Catchup(snapshot_bytes=600_000)) as gateway:
        for _ in range(3):
            writer = Writer(kafka)
            writer.write([(f"k{number}", "1" * 900) for number in range(150)])
            async with gateway.client() as client:
                found = await until_live(client, await begin(client, writer.topic))
            assert len(found.values) == 150
        assert gateway.topics.snapshots.statistics().memory_bytes < 450_000


async def test_a_build_that_takes_long_comes_after_the_answer(kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "BUILD_SECONDS", 0.0)
    writer = Writer(kafka)
    writer.write(changes(50, 500, seed=5))
    async with running(kafka, catchup=Catchup(bytes_per_second=20_000)) as gateway, gateway.client() as client:
        found = await begin(client, writer.topic)
        writer.write([("k1", "1"), ("k1", "2")])
        await until_live(client, found)
        assert found.values == as_received(writer.state(found.next))
        await until_at(client, found, writer.ends)
        assert found.values == as_received(writer.state(writer.ends))


async def test_a_build_that_fails_after_the_answer_ends_the_subscription(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "BUILD_SECONDS", 0.0)
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [(f"k{number}", "1" * 1000) for number in range(200)], 0)
    limits = Catchup(bytes_per_second=150_000, snapshot_bytes=100_000)
    async with running(kafka, catchup=limits) as gateway, gateway.client() as client:
        await begin(client, topic)
        ended = await client.expect("unsubscribed", code="snapshot_unavailable")
        assert "too large" in ended["message"]
        await client.subscribe(topic)  # the connection goes on, and the id is free


async def test_a_scan_ends_with_its_last_client(kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "BUILD_SECONDS", 0.0)
    writer = Writer(kafka)
    writer.write(changes(50, 500, seed=5))
    async with running(kafka, catchup=Catchup(bytes_per_second=10)) as gateway:
        async with gateway.client() as client, gateway.client() as other:
            await begin(other, writer.topic)
            await begin(client, writer.topic)
            await client.ask("unsubscribe")
            assert gateway.topics.snapshots.statistics().building == 1
        await until(lambda: gateway.topics.snapshots.statistics().building == 0, "the end of the scan")
        assert gateway.topics.snapshots.statistics().memory_bytes == 0


async def test_a_topic_made_anew_before_the_answer(
    kafka: Broker, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic(1, **COMPACTED)
    kafka.produce(topic, [("a", "1"), ("b", "2")], 0)
    scan, scans = scanning.scan, itertools.count()
    until_built = topics.Topics._until_built

    async def first_never_ends(*arguments: Any) -> None:
        if not next(scans):
            await trio.sleep_forever()
        await scan(*arguments)

    async def until_seen(self: topics.Topics, lease: Lease) -> None:
        """In place of the 4 s after which an answer looks whether it is still the same topic."""
        if gateway.logged(MADE_ANEW):
            await until_built(self, lease)
        await until(lambda: gateway.logged(MADE_ANEW), "it to be seen")

    monkeypatch.setattr(scanning, "scan", first_never_ends)
    monkeypatch.setattr(topics.Topics, "_until_built", until_seen)
    monkeypatch.setattr(topics, "START_SECONDS", DEADLINE_SECONDS)
    async with gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, **{"from": "snapshot"})
        await until(lambda: gateway.topics.snapshots.statistics().building, "the first scan")
        kafka.delete(topic)
        kafka.topic(1, topic, **COMPACTED)
        kafka.produce(topic, [("a", "3")], 0)
        found = await until_live(client, Map(await client.expect("subscribed")))
        assert (found.values, found.next) == ({"a": 3}, {0: 1})
        kafka.produce(topic, [("a", "4")], 0)
        await client.expect("record", value=4)


@pytest.mark.parametrize("seen_first_by", ["the watch", "the scan"])
async def test_a_topic_made_anew_while_its_snapshot_is_built(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch, seen_first_by: str
) -> None:
    monkeypatch.setattr(topics, "BUILD_SECONDS", 0.0)
    made_anew, scan = trio.Event(), scanning.scan

    async def begun_late(*arguments: Any) -> None:
        await made_anew.wait()
        await scan(*arguments)

    if seen_first_by == "the scan":
        monkeypatch.setattr(scanning, "scan", begun_late)
    writer = Writer(kafka)
    writer.write(changes(50, 500, seed=6))
    async with running(kafka, catchup=Catchup(bytes_per_second=10)) as gateway, gateway.client() as client:
        found = await begin(client, writer.topic)
        kafka.delete(writer.topic)
        kafka.topic(1, writer.topic, **COMPACTED)
        kafka.produce(writer.topic, [("a", "1"), ("a", "2")], 0)
        made_anew.set()
        while (message := await client.receive())["type"] != "gap":
            found.take(message)
        assert (message["reason"], message["next"]) == ("topic_recreated", 0)
        while (message := await client.receive())["type"] != "record":
            assert message["type"] in ("position", "live")
        assert (message["offset"], message["value"]) == (0, 1), "it is the log from here on"
        await client.expect("record", offset=1, value=2)
        async with gateway.client() as other:
            again = await begin(other, writer.topic)
            assert again.next == {0: 0}
