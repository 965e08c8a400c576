"""What reading back costs Kafka, counted at the consumers by librdkafka itself."""

import json
import random
from collections.abc import Callable

import trio
from confluent_kafka import Consumer, TopicPartition
from tests.kafka_broker import Broker
from tests.reading_back import Back, reading_back

RECORDS, RANGE, CLIENTS = 20_000, 10_000, 1_000
STATISTICS_MS = 50


class Received:
    """Bytes received by clients with `statistics.interval.ms`, as of their last statistics."""

    def __init__(self) -> None:
        self._bytes: dict[str, list[int]] = {}

    def take(self, statistics: str) -> None:
        told = json.loads(statistics)
        self._bytes.setdefault(told["name"], []).append(told["rx_bytes"])

    @property
    def total(self) -> int:
        return sum(each[-1] for each in self._bytes.values())

    @property
    def settled(self) -> bool:
        """The last five say the same."""
        return bool(self._bytes) and all(len(each) >= 5 and each[-5] == each[-1] for each in self._bytes.values())


async def settle(received: Received, poll: Callable[[], object] = lambda: None) -> int:
    with trio.fail_after(60):
        while not received.settled:
            poll()
            await trio.sleep(STATISTICS_MS / 1000)
    return received.total


def filled(kafka: Broker) -> str:
    topic = kafka.topic()
    kafka.produce(topic, [b"%0200d" % each for each in range(RECORDS)])
    return topic


async def received_by_one(kafka: Broker, topic: str) -> int:
    """Of a plain consumer that reads the range once."""
    received = Received()
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "one",
            "enable.partition.eof": True,
            "statistics.interval.ms": STATISTICS_MS,
            "fetch.wait.max.ms": 60_000,  # it is not to ask again at the end
        },
        stats_cb=received.take,
    )
    consumer.assign([TopicPartition(topic, 0, RECORDS - RANGE)])
    taken = 0
    while taken < RANGE:
        taken += len(consumer.consume(1_000, 0.05))
    try:
        return await settle(received, lambda: consumer.poll(0))
    finally:
        consumer.close()


async def test_a_thousand_who_resume_among_the_same_ten_thousand_cost_at_most_half_more(kafka: Broker) -> None:
    topic, received, chance = filled(kafka), Received(), random.Random(1)
    once = await received_by_one(kafka, topic)
    async with reading_back(
        kafka.bootstrap, on_statistics=received.take, **{"statistics.interval.ms": STATISTICS_MS}
    ) as blocks:
        back = Back(blocks, topic)
        async with trio.open_nursery() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(back.replay, chance.randrange(RECORDS - RANGE, RECORDS), RECORDS)
        seen = blocks.statistics()
        assert seen.read_records <= RANGE * 1.2
        assert await settle(received) <= once * 1.5
