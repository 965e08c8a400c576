"""Reading back while Kafka is in trouble: nothing is lost, nobody waits for ever, the others are served."""

import pytest
import trio
from tests.kafka_broker import Broker
from tests.mock_cluster import set_leader
from tests.reading_back import Back, reading_back

from tailrace.config import Catchup
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka.embedded import EmbeddedKafka


async def test_a_topic_that_is_not_there_is_unknown(kafka: Broker) -> None:
    topic = kafka.topic()
    async with reading_back(kafka.bootstrap) as blocks, trio.open_nursery() as nursery:
        for back, partition in [(Back(blocks, "no-such-topic"), 0), (Back(blocks, topic), 7)]:

            async def ask(back: Back = back, partition: int = partition) -> None:
                with pytest.raises(UnknownTopic):
                    await back.get(0, partition)

            nursery.start_soon(ask)


async def test_a_broker_that_is_killed_while_it_is_read_and_comes_back(own_kafka: Broker) -> None:
    topic = own_kafka.topic(2)
    for partition in (0, 1):
        own_kafka.produce(topic, [b"%0200d" % each for each in range(10_000)], partition)
    counted = {}
    async with reading_back(own_kafka.bootstrap, Catchup(bytes_per_second=1_000_000)) as blocks:
        back = Back(blocks, topic)

        async def count(partition: int) -> None:
            records = offset = 0
            while offset < 10_000:
                try:
                    block = await back.get(offset, partition)
                except KafkaUnavailable:
                    continue
                records, offset = records + block.records, block.next
            counted[partition] = records

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count, 0)
            nursery.start_soon(count, 1)
            with trio.fail_after(60):
                while blocks.statistics().read_records < 2_000:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            own_kafka.kill()
            assert not counted
            await trio.to_thread.run_sync(own_kafka.start)
    assert counted == {0: 10_000, 1: 10_000}


async def test_a_broker_that_hangs_is_unavailable_within_ten_seconds(own_kafka: Broker) -> None:
    topic = own_kafka.topic()
    own_kafka.produce(topic, [b"x"] * 10)
    async with reading_back(own_kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        assert (await back.get(0)).records == 10
        with own_kafka.frozen():
            begun = trio.current_time()
            with pytest.raises(KafkaUnavailable):
                await back.get(10)
            assert 9 <= trio.current_time() - begun <= 30
        assert (await back.get(10)).records == 0


async def test_a_partition_without_a_leader_holds_up_nobody() -> None:
    async with EmbeddedKafka() as kafka:
        kafka.create("orders", 4)
        for partition in range(4):
            for each in range(100):
                kafka.produce("orders", b"%d" % each, partition=partition)
        await kafka.flush()
        set_leader(kafka, "orders", 0, None)
        async with reading_back(kafka.bootstrap, Catchup(readers=1), **kafka.settings) as blocks:
            back = Back(blocks, "orders")
            async with trio.open_nursery() as nursery:
                stuck: list[object] = []

                @nursery.start_soon
                async def ask() -> None:
                    stuck.append(await back.get(0))

                for partition in (1, 2, 3):
                    begun = trio.current_time()
                    assert (await back.get(0, partition)).records == 100
                    assert trio.current_time() - begun < 8  # held up, it would be 10
                assert not stuck
                set_leader(kafka, "orders", 0, 1)
