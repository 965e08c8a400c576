"""Kafka in this process, read by the same clients as the real one."""

import pytest
import trio
from confluent_kafka import Message
from tests.gateway import until

from tailrace.errors import UnknownTopic
from tailrace.kafka.batch import Batch
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.embedded import EmbeddedKafka
from tailrace.kafka.hand_off import HandOff
from tailrace.kafka.health import Health
from tailrace.kafka.live import LiveConsumer
from tailrace.kafka.producer import RecordProducer, Report


async def test_topics_have_the_partitions_they_were_given() -> None:
    async with EmbeddedKafka() as kafka:
        kafka.create("orders", 4)
        kafka.create("chat", 1)
        cluster = Cluster(kafka.settings)
        orders = await cluster.describe("orders")
        assert (orders.partitions, orders.topic_id, orders.compacted) == ((0, 1, 2, 3), None, None)
        assert (await cluster.describe("chat")).partitions == (0,)
        assert await cluster.changes([orders]) == []
        with pytest.raises(UnknownTopic):
            await cluster.describe("nope")
        assert await cluster.topics() == {"orders", "chat"}
        with pytest.raises(ValueError, match="cannot create topic 'orders'"):
            kafka.create("orders", 4)


async def test_what_is_produced_is_read_in_order_and_fast() -> None:
    async with EmbeddedKafka() as kafka, trio.open_nursery() as nursery:
        kafka.create("t", 2)
        receive = HandOff[Batch](4)
        live = LiveConsumer(kafka.settings)
        nursery.start_soon(live.run, receive)
        live.assign("t", {0: 0, 1: 0})
        for number in range(500):
            kafka.produce("t", b"%d" % number, b"k", number % 2, headers=[("h", b"\xff")])
        await kafka.flush()
        got: dict[int, list[bytes]] = {0: [], 1: []}
        with trio.fail_after(60):
            while sum(map(len, got.values())) < 500:
                for record in (await receive.receive()).records.get("t", []):
                    got[record.partition()].append(record.value())
                    assert (record.key(), record.headers()) == (b"k", [("h", b"\xff")])
        assert got == {each: [b"%d" % number for number in range(each, 500, 2)] for each in (0, 1)}
        assert await Cluster(kafka.settings).ends("t", [0, 1]) == {0: 250, 1: 250}
        nursery.cancel_scope.cancel()


async def test_what_is_published_is_told_with_the_time_that_readers_see() -> None:
    """The cluster itself answers with a time of 1970."""
    reports: list[Report] = []
    async with EmbeddedKafka() as kafka, trio.open_nursery() as nursery:
        kafka.create("t", 1)
        receive = HandOff[Batch](4)
        live = LiveConsumer(kafka.settings)
        nursery.start_soon(live.run, receive)
        live.assign("t", {0: 0})
        producer = RecordProducer(kafka.settings, 10.0, reports.extend)
        nursery.start_soon(producer.run)
        await producer.started()
        assert producer.produce("token", "t", b"1", b"k", None, []) is None
        await until(lambda: reports, "the report")
        records: list[Message] = []
        with trio.fail_after(60):
            while not records:  # that there is none yet is told too
                records = (await receive.receive()).records.get("t", [])
        assert (reports[0].offset, reports[0].timestamp_ms) == (0, records[0].timestamp()[1])
        nursery.cancel_scope.cancel()


async def test_it_is_ready() -> None:
    async with EmbeddedKafka() as kafka:
        health = Health(Cluster(kafka.settings))
        await health.check()
        assert health.ready


async def test_two_live_side_by_side_and_end() -> None:
    async with EmbeddedKafka() as first, EmbeddedKafka() as second:
        assert first.bootstrap != second.bootstrap
    with pytest.raises(RuntimeError, match="not running"):
        first.produce("t", b"")
