"""Catching up as a client sees it, on the real broker: what is named, what is told of the place, what it may cost."""

import json

import pytest
from tests.gateway import Client, Gateway, masked, running, until
from tests.kafka_broker import Broker

from tailrace.config import Catchup, Topic
from tailrace.gateway import tending

FOREIGN = 5_000


@pytest.fixture
def _watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are looked at ten times a second."""
    monkeypatch.setattr(tending, "WATCH_SECONDS", 0.1)


async def test_what_retention_took_is_named(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [b"1"] * 100)
    kafka.delete_records(topic, {0: 40})
    async with gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, from_={"offsets": {"0": 10}})
        await client.expect("subscribed", positions={"0": 40})
        gap = {"from": 10, "to": 40, "next": 40, "reason": "retention", "partition": 0, "topic": topic, "id": 1}
        await client.expect("gap", **gap)
        assert [record["offset"] for record in await client.records(60)] == list(range(40, 100))
        await client.expect("position", positions={"0": 100})
        await client.expect("live", id=1)


@pytest.mark.usefixtures("_watchful")
async def test_a_topic_made_anew_is_told_to_who_is_live_and_to_who_resumes(kafka: Broker) -> None:
    topic = kafka.topic()
    async with running(kafka) as gateway, gateway.client() as client:
        before = await client.subscribe(topic)
        kafka.produce(topic, [b"1"] * 3)
        await client.records(3)
        kafka.delete(topic)
        kafka.topic(name=topic)
        kafka.produce(topic, [b"2"] * 2)
        gap = await client.expect("gap", to=None, next=0, reason="topic_recreated", **{"from": 3})
        assert gap["topic_id"] != before["topic_id"]
        assert [(record["offset"], record["value"]) for record in await client.records(2)] == [(0, 2), (1, 2)]
        resume = {"offsets": {"0": 3}, "topic_id": before["topic_id"]}
        await client.send(type="subscribe", id=2, topic=topic, from_=resume)
        await client.expect("subscribed", id=2, topic_id=gap["topic_id"], positions={"0": 0})
        await client.expect("gap", id=2, reason="topic_recreated", to=None, next=0, topic_id=gap["topic_id"])
        assert [record["offset"] for record in await client.records(2)] == [0, 1]


async def test_who_wants_a_rare_key_resumes_behind_what_it_need_not_read(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [("z", b"1")])
    kafka.produce(topic, [("a", b"%0200d" % 0)] * FOREIGN)
    async with gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, from_="earliest", keys=["z"])
        await client.expect("subscribed", positions={"0": 0})
        await client.expect("record", offset=0)
        place = await client.expect("position", id=1)
        assert place["positions"] == {"0": FOREIGN + 1}
        await client.expect("live", id=1)
        read = gateway.topics.blocks.statistics().read_records
        assert (await client.ask("unsubscribe", id=1))["type"] == "unsubscribed"
        resume = {"offsets": place["positions"]}
        await client.subscribe(topic, id=1, from_=resume, keys=["z"])
        assert gateway.topics.blocks.statistics().read_records == read


async def test_many_scans_of_one_client_are_bounded(kafka: Broker) -> None:
    """Two hundred subscriptions for keys that are not there: four at a time, and Kafka is read about once."""
    topic = kafka.topic()
    kafka.produce(topic, [("a", b"%0200d" % 0)] * FOREIGN)
    async with running(kafka, catchup=Catchup(max_per_connection=4)) as gateway, gateway.client() as client:
        for id in range(1, 201):
            await client.send(type="subscribe", id=id, topic=topic, from_="earliest", keys=[f"rare-{id}"])
        most, live = 0, set()
        while len(live) < 200:
            message = await client.receive()
            assert message["type"] in ("subscribed", "position", "live"), message
            live |= {message["id"]} if message["type"] == "live" else set()
            most = max(most, gateway.topics.blocks.statistics().waiting)
        assert most <= 4
        assert gateway.topics.blocks.statistics().read_bytes <= 1.5 * 200 * FOREIGN


async def test_a_scan_ends_with_its_client(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [("a", b"%0200d" % 0)] * FOREIGN)
    async with running(kafka, catchup=Catchup(bytes_per_second=100_000)) as gateway:
        blocks = gateway.topics.blocks
        async with gateway.raw() as raw:
            command = {"type": "subscribe", "id": 1, "topic": topic, "from": "earliest", "keys": ["rare"]}
            await raw.message()
            await raw.send(masked(1, json.dumps(command).encode()))
            await until(lambda: blocks.statistics().read_records, "the scan's begin")
            await raw.reset()
        await gateway.until_all_left()
        await until(lambda: not any(blocks.statistics().readers), "the readers' rest")
        assert blocks.statistics().read_records < FOREIGN


@pytest.mark.parametrize("replay", [False, "24h"])
async def test_replay_bounds_what_may_be_asked_for(kafka: Broker, replay: bool | str) -> None:
    """What is older is not there for clients: refused, or named."""
    topic = kafka.topic()
    kafka.produce(topic, [{"value": b"1", "timestamp": 1_700_000_000_000}] * 3)
    kafka.produce(topic, [b"2"] * 3)
    topics = {topic: Topic(replay=False if replay is False else 86_400.0)}
    async with running(kafka, topics=topics) as gateway, gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, from_={"offsets": {"0": 1}})
        if replay is False:
            await client.expect("error", code="forbidden")
            await client.subscribe(topic, id=2)
            return
        await client.expect("subscribed", positions={"0": 3})
        await client.expect("gap", to=3, next=3, reason="retention", **{"from": 1})
        await _until_live(client, [3, 4, 5])
        await client.send(type="subscribe", id=2, topic=topic, from_="earliest")
        await client.expect("subscribed", positions={"0": 3})
        await _until_live(client, [3, 4, 5])


async def test_a_browser_is_told_that_a_topic_is_not_replayed(kafka: Broker) -> None:
    """It cannot read the answer to a handshake, and would come again and again."""
    topic = kafka.topic()
    async with running(kafka, topics={topic: Topic(replay=False)}) as gateway:
        path = f"/topics/{topic}?from=earliest"
        assert (await gateway.refused(path)).status == 403
        async with gateway.stream(path, origin=f"http://{gateway.public}") as client:
            await client.expect("closing", code=4501)
            assert await client.closed() == (4501, "forbidden")


async def test_a_snapshot_is_forbidden_like_any_replay(kafka: Broker) -> None:
    """Of a topic that has none, too: what it is is not asked first."""
    topic = kafka.topic()
    async with running(kafka, topics={topic: Topic(replay=False)}) as gateway, gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, from_="snapshot")
        await client.expect("error", id=1, code="forbidden")


async def _until_live(client: Client, offsets: list[int]) -> None:
    assert [record["offset"] for record in await client.records(len(offsets))] == offsets
    await client.expect("position", positions={"0": offsets[-1] + 1})
    await client.expect("live")
