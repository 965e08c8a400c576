"""A partition's broker goes down while the partition is caught up with: the others are read to their end and live,
and it comes later, whole."""

import trio
from confluent_kafka import Producer
from tests.gateway import Client, running, until
from tests.mock_cluster import set_leader, turn

from tailrace._fanout import LIVE
from tailrace.config import Topic
from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.embedded import EmbeddedKafka

RECORDS = 300
SIZE = 10_000  # 3 MB a partition: more than is read ahead for who does not read


class TwoBrokers(EmbeddedKafka):
    """A partition that has no leader at all crashes librdkafka's mock cluster in a fetch, so a broker is taken down."""

    def _start(self) -> None:
        producer = Producer(
            {"test.mock.num.brokers": 2, "linger.ms": 1}, error_cb=self._error_callback, logger=BrokerLog()
        )
        brokers = producer.list_topics(timeout=30).brokers.values()
        self.bootstrap = ",".join(f"{each.host}:{each.port}" for each in brokers)
        self._producer = producer


async def test_the_others_are_live_while_one_cannot_be_read() -> None:
    async with TwoBrokers() as kafka:
        kafka.create("orders", 3)
        for partition, leader in enumerate((1, 2, 1)):
            set_leader(kafka, "orders", partition, leader)
            for _ in range(RECORDS):
                kafka.produce("orders", b'"%s"' % (b"." * SIZE), partition=partition)
        await kafka.flush()
        topics = {"orders": Topic()}
        async with (
            running(kafka.bootstrap, kafka=kafka.settings, topics=topics) as gateway,
            gateway.client(max_queue=1) as client,
        ):
            await client.send(type="subscribe", id=1, topic="orders", from_="earliest")
            await client.expect("subscribed")
            turn(kafka, 2, up=False)
            had = await _until_at(client, {0: RECORDS, 2: RECORDS})
            assert had.get(1, 0) < RECORDS
            (held,) = gateway.topics.held
            (reading,) = held.readings
            await until(lambda: reading.cursor.state == LIVE, "the step into the tail")
            for number in range(3):
                kafka.produce("orders", b"%d" % number, partition=0)
            await kafka.flush()
            had = await _until_at(client, {0: RECORDS + 3}, had)
            assert had.get(1, 0) < RECORDS
            turn(kafka, 2, up=True)
            had = await _until_at(client, {1: RECORDS}, had)
            kafka.produce("orders", b"3", partition=1)
            await _until_at(client, {1: RECORDS + 1}, had)
            await until(lambda: reading.cursor.state == LIVE and not reading._apart, "both to be one again")


async def _until_at(client: Client, wanted: dict[int, int], had: dict[int, int] | None = None) -> dict[int, int]:
    """Records, in order within a partition and none left out, until these offsets are the next."""
    had = dict(had or {})
    with trio.fail_after(60):
        while any(had.get(partition, 0) < offset for partition, offset in wanted.items()):
            message = await client.receive()
            if message["type"] == "record":
                assert had.get(message["partition"], 0) == message["offset"], message
                had[message["partition"]] = message["offset"] + 1
    return had
