"""Where subscriptions begin on the real broker, with all that makes its offsets differ from a list of records.

What a position is worth is measured by a plain read_committed consumer that reads from it: `rest`.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from confluent_kafka import Consumer, KafkaError, TopicPartition
from tests.kafka_broker import Broker

from tailrace.core.begin import Beginning, Verdict
from tailrace.core.protocol import Earliest, From, Last, Latest, Offsets, Timestamp
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway.begin import Beginnings
from tailrace.kafka.cluster import Cluster, Listing

DEADLINE_SECONDS = 120.0  # a broker that was stopped has to be let in by its controller again
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


class CountingCluster(Cluster):
    """The real one, with its requests counted."""

    requests = 0

    async def listed(self, name: str, partitions: Any, *wanted: Listing) -> list[dict[int, int]]:
        self.requests += len(wanted)
        return await super().listed(name, partitions, *wanted)

    async def changes(self, known: Any) -> Any:
        self.requests += 1
        return await super().changes(known)


@pytest.fixture
def cluster(kafka: Broker) -> CountingCluster:
    return CountingCluster({"bootstrap.servers": kafka.bootstrap})


@pytest.fixture
def beginnings(cluster: CountingCluster) -> Beginnings:
    return Beginnings(cluster)


def rest(kafka: Broker, topic: str, positions: dict[int, int]) -> dict[int, list[int]]:
    """The offsets of all committed records from these positions to the ends."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "rest",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in positions.items()])
    try:
        return _read_to_the_ends(consumer, positions)
    finally:
        consumer.close()


def _read_to_the_ends(consumer: Consumer, positions: dict[int, int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {partition: [] for partition in positions}
    reading, deadline = set(positions), time.monotonic() + DEADLINE_SECONDS
    while reading:
        assert time.monotonic() < deadline
        message = consumer.poll(0.1)
        if message is None:
            continue
        error = message.error()
        if error is None:
            found[message.partition()].append(message.offset())
            continue
        assert error.code() == KafkaError._PARTITION_EOF, error
        reading.discard(message.partition())
    return found


async def find(beginnings: Beginnings, cluster: Cluster, topic: str, from_: From, replay: float = True) -> Beginning:
    with trio.fail_after(DEADLINE_SECONDS):
        return await beginnings.find(await cluster.describe(topic), from_, replay)


async def wait_for_end(beginnings: Beginnings, cluster: Cluster, topic: str, end: int) -> None:
    """A transaction has ended when its marker, which takes an offset, is in the log."""
    with trio.fail_after(DEADLINE_SECONDS):
        while (await find(beginnings, cluster, topic, Latest())).positions != {0: end}:
            pass


def timed(*times_ms: int) -> list[dict[str, Any]]:
    """A record for each time."""
    return [{"value": b"x", "timestamp": each} for each in times_ms]


# --- a plain log ---


async def test_every_form(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic, now = kafka.topic(3), int(time.time() * 1000)
    kafka.produce(topic, timed(*range(now, now + 10)), 0)
    kafka.produce(topic, timed(*range(now, now + 4)), 1)
    expected: list[tuple[From, dict[int, int]]] = [
        (Latest(), {0: 10, 1: 4, 2: 0}),
        (Earliest(), {0: 0, 1: 0, 2: 0}),
        (Last(6), {0: 4, 1: 0, 2: 0}),
        (Timestamp(now + 2), {0: 2, 1: 2, 2: 0}),
        (Timestamp(now + 4), {0: 4, 1: 4, 2: 0}),
        (Timestamp(now + DAY_MS), {0: 10, 1: 4, 2: 0}),
        (Timestamp(0), {0: 0, 1: 0, 2: 0}),
        (Timestamp(2**63 - 1), {0: 10, 1: 4, 2: 0}),
        (Offsets({0: 3, 1: 4}), {0: 3, 1: 4, 2: 0}),
        (Offsets({}), {0: 0, 1: 0, 2: 0}),
    ]
    for from_, positions in expected:
        begun = await find(beginnings, cluster, topic, from_)
        assert (from_, begun.positions, begun.verdicts) == (from_, positions, [])
        assert begun.goal == {0: 10, 1: 4, 2: 0}
        assert begun.live is (positions == begun.goal)


async def test_times_out_of_order(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    """The first record at or after the time, and all behind it, whatever theirs."""
    topic, now = kafka.topic(), int(time.time() * 1000)
    for each in (now + 5, now + 1, now + 9, now + 3):
        kafka.produce(topic, timed(each))
    times = [now, now + 5, now + 6, now + 9, now + 10]
    found = [(await find(beginnings, cluster, topic, Timestamp(each))).positions[0] for each in times]
    assert found == [0, 0, 2, 2, 4]


async def test_what_retention_took(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic, now = kafka.topic(2), int(time.time() * 1000)
    kafka.produce(topic, timed(*range(now, now + 10)), 0)
    kafka.produce(topic, [b"x"] * 5, 1)
    kafka.delete_records(topic, {0: 6, 1: 5})  # partition 1 has nothing left

    begun = await find(beginnings, cluster, topic, Offsets({0: 2, 1: 5}))
    assert begun.verdicts == [Verdict(0, 2, 6, 6, "retention")]
    assert begun.positions == {0: 6, 1: 5}

    begun = await find(beginnings, cluster, topic, Offsets({0: 7}))
    assert begun.verdicts == [Verdict(1, 0, 5, 5, "retention")]
    assert begun.positions == {0: 7, 1: 5}

    for from_, first in [(Earliest(), 6), (Last(9), 6), (Last(2), 8), (Timestamp(now), 6), (Offsets({}), 6)]:
        begun = await find(beginnings, cluster, topic, from_)
        assert (from_, begun.positions, begun.verdicts) == (from_, {0: first, 1: 5}, [])
        assert rest(kafka, topic, begun.positions) == {0: list(range(first, 10)), 1: []}


async def test_how_far_back(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic, now = kafka.topic(2), int(time.time() * 1000)
    kafka.produce(topic, timed(*(now - hours * HOUR_MS for hours in (5, 4, 3, 2, 1))), 0)
    kafka.produce(topic, timed(now - 5 * HOUR_MS), 1)
    replay = 2.5 * 3600

    for from_ in (Earliest(), Last(4), Timestamp(now - 4 * HOUR_MS), Offsets({})):
        begun = await find(beginnings, cluster, topic, from_, replay)
        assert (from_, begun.positions, begun.verdicts) == (from_, {0: 3, 1: 1}, [])

    begun = await find(beginnings, cluster, topic, Offsets({0: 1, 1: 0}), replay)
    assert begun.verdicts == [Verdict(0, 1, 3, 3, "retention"), Verdict(1, 0, 1, 1, "retention")]
    assert (await find(beginnings, cluster, topic, Offsets({0: 4, 1: 1}), replay)).verdicts == []
    assert (await find(beginnings, cluster, topic, Last(1), replay)).positions == {0: 4, 1: 1}


# --- transactions ---


async def test_an_open_transaction_is_waited_at(
    kafka: Broker, cluster: CountingCluster, beginnings: Beginnings
) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [b"x"] * 3)
    with kafka.transaction() as transaction:
        transaction.produce(topic, [b"open"] * 4)
        kafka.produce(topic, [b"behind it"])  # offset 7: the log ends at 8, what may be read at 3
        for from_, place in [(Latest(), 3), (Last(1), 2), (Timestamp(0), 0), (Timestamp(2**62), 3)]:
            begun = await find(beginnings, cluster, topic, from_)
            assert (from_, begun.positions, begun.goal) == (from_, {0: place}, {0: 3})
        for wanted in range(9):
            begun = await find(beginnings, cluster, topic, Offsets({0: wanted}))
            assert (begun.positions, begun.verdicts, begun.live) == ({0: wanted}, [], wanted >= 3)
        begun = await find(beginnings, cluster, topic, Offsets({0: 9}))
        assert (begun.positions, begun.verdicts) == ({0: 8}, [Verdict(0, 8, 9, 8, "truncated")])
    await wait_for_end(beginnings, cluster, topic, 9)


async def test_aborted_records_and_markers_are_no_hole(
    kafka: Broker, cluster: CountingCluster, beginnings: Beginnings
) -> None:
    """From every offset and every time: what a reader gets is what was asked for, and no verdict is passed."""
    topic, now = kafka.topic(), int(time.time() * 1000) + MINUTE_MS  # later than the markers' own times
    kafka.produce(topic, timed(now, now + 10))
    with kafka.transaction(abort=True) as transaction:
        transaction.produce(topic, timed(now + 20, now + 30))
    await wait_for_end(beginnings, cluster, topic, 5)
    kafka.produce(topic, timed(now + 40))
    with kafka.transaction() as transaction:
        transaction.produce(topic, timed(now + 50))
    await wait_for_end(beginnings, cluster, topic, 8)
    records = {0: now, 1: now + 10, 5: now + 40, 6: now + 50}
    assert rest(kafka, topic, {0: 0}) == {0: list(records)}

    for wanted in range(9):
        begun = await find(beginnings, cluster, topic, Offsets({0: wanted}))
        assert (begun.positions, begun.verdicts, begun.live) == ({0: wanted}, [], wanted == 8)
    for time_ms in range(now, now + 51, 5):
        begun = await find(beginnings, cluster, topic, Timestamp(time_ms))
        assert rest(kafka, topic, begun.positions) == {0: [o for o, stamp in records.items() if stamp >= time_ms]}
    assert (await find(beginnings, cluster, topic, Last(3))).positions == {0: 5}


async def test_a_marker_has_a_time_too(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    """Records of an hour ago behind a transaction that ended now: Kafka finds the marker, and we begin there."""
    topic, now = kafka.topic(), int(time.time() * 1000)
    with kafka.transaction() as transaction:
        transaction.produce(topic, timed(now - 2 * HOUR_MS))
    await wait_for_end(beginnings, cluster, topic, 2)
    kafka.produce(topic, timed(now - 2 * HOUR_MS, now - HOUR_MS))
    assert (await find(beginnings, cluster, topic, Timestamp(now - HOUR_MS))).positions == {0: 1}


# --- compaction ---


async def test_what_compaction_removed_is_no_hole(
    kafka: Broker, cluster: CountingCluster, beginnings: Beginnings
) -> None:
    topic = kafka.topic(
        cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01", max_compaction_lag_ms="100"
    )
    kafka.produce(topic, [("key", b"old")] * 20)
    with trio.fail_after(DEADLINE_SECONDS):
        while len(rest(kafka, topic, {0: 0})[0]) > 10:
            kafka.produce(topic, [("key", b"new")])  # a segment is rolled by what comes after its time
            await trio.sleep(0.15)
    [end] = (await find(beginnings, cluster, topic, Latest())).positions.values()
    before = set(rest(kafka, topic, {0: 0})[0])
    for from_ in (Earliest(), Offsets({0: 0}), Offsets({0: 7}), Offsets({})):
        begun = await find(beginnings, cluster, topic, from_)
        assert begun.verdicts == []
        left = set(rest(kafka, topic, begun.positions)[0])
        after = set(rest(kafka, topic, {0: 0})[0])
        assert after <= left <= before, "the cleaner may have been at work meanwhile"
        before = after
    assert (await find(beginnings, cluster, topic, Last(5))).positions == {0: end - 5}


# --- a topic that changes ---


async def test_a_topic_made_anew(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic = kafka.topic(3)
    kafka.produce(topic, [b"x"] * 9, 0)
    before = await cluster.describe(topic)
    kafka.delete(topic)
    kafka.topic(2, name=topic)
    kafka.produce(topic, [b"y"] * 4, 0)
    kafka.delete_records(topic, {0: 1})
    after = await cluster.describe(topic)
    assert before.topic_id != after.topic_id

    for description in (before, after):  # whether or not the gateway has noticed
        begun = await beginnings.find(description, Offsets({0: 9, 2: 0}, before.topic_id), True)
        assert begun.verdicts == [Verdict(0, 9, None, 1, "topic_recreated", after.topic_id)]
        assert (begun.topic_id, begun.positions, begun.goal) == (after.topic_id, {0: 1, 1: 0}, {0: 4, 1: 0})

        begun = await beginnings.find(description, Offsets({0: 2, 1: 0}, after.topic_id), True)
        assert (begun.positions, begun.verdicts) == ({0: 2, 1: 0}, [])

        begun = await beginnings.find(description, Latest(), True)
        assert (begun.topic_id, begun.positions) == (after.topic_id, {0: 4, 1: 0})

    begun = await find(beginnings, cluster, topic, Offsets({0: 9}))
    assert begun.verdicts == [Verdict(0, 4, 9, 4, "truncated")]


async def test_a_partition_that_came_since(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic = kafka.topic(1)
    before = await cluster.describe(topic)
    kafka.add_partitions(topic, 3)
    kafka.produce(topic, [b"x"] * 2, 2)
    begun = await beginnings.find(before, Offsets({0: 0, 2: 1}, before.topic_id), True)
    assert (begun.positions, begun.verdicts) == ({0: 0, 1: 0, 2: 1}, [])


async def test_a_topic_that_is_gone(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic = kafka.topic()
    before = await cluster.describe(topic)
    kafka.delete(topic)
    for from_ in (Latest(), Earliest(), Offsets({0: 1}), Timestamp(7)):
        with pytest.raises(UnknownTopic):
            await beginnings.find(before, from_, True)


# --- many ---


async def test_many_partitions(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic = kafka.topic(200)
    for partition in (0, 77, 199):
        kafka.produce(topic, [b"x"] * 3, partition)
    ends = dict.fromkeys(range(200), 0) | dict.fromkeys((0, 77, 199), 3)
    assert (await find(beginnings, cluster, topic, Latest())).positions == ends
    assert (await find(beginnings, cluster, topic, Timestamp(2**62))).positions == ends
    begun = await find(beginnings, cluster, topic, Offsets({77: 4, 199: 2}))
    assert begun.verdicts == [Verdict(77, 3, 4, 3, "truncated")]
    assert begun.positions == dict.fromkeys(range(200), 0) | {77: 3, 199: 2}


def crowd(topic_id: str | None) -> Iterator[tuple[From, int]]:
    """A thousand clients, and where each begins in a log of a thousand."""
    for number in range(250):
        yield from ((Latest(), 1000), (Earliest(), 0), (Last(number), 1000 - number))
        yield Offsets({0: number}, topic_id), number


async def test_a_thousand_at_once(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [b"x"] * 1000)
    description = await cluster.describe(topic)
    found: list[tuple[int, int]] = []

    async def begin(from_: From, place: int) -> None:
        found.append(((await beginnings.find(description, from_, True)).positions[0], place))

    with trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            for from_, place in crowd(description.topic_id):
                nursery.start_soon(begin, from_, place)
    assert len(found) == 1000
    assert all(position == place for position, place in found)
    assert cluster.requests <= 2 * (1 + 2 + 1 + 3)  # twice for each of four questions: who is late shares the second
    assert beginnings.waiting == 0


async def test_a_hundred_times_at_once(kafka: Broker, cluster: CountingCluster, beginnings: Beginnings) -> None:
    topic, now = kafka.topic(), int(time.time() * 1000)
    kafka.produce(topic, timed(*range(now, now + 100)))
    description = await cluster.describe(topic)
    found: dict[int, int] = {}

    async def begin(number: int) -> None:
        found[number] = (await beginnings.find(description, Timestamp(now + number), True)).positions[0]

    with trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(begin, number)
    assert found == {number: number for number in range(100)}


# --- trouble ---


async def test_a_broker_that_freezes(own_kafka: Broker) -> None:
    cluster = Cluster({"bootstrap.servers": own_kafka.bootstrap})
    description, beginnings = await cluster.describe(own_kafka.topic()), Beginnings(cluster)
    refused: list[From] = []

    async def begin(from_: From) -> None:
        with pytest.raises(KafkaUnavailable):
            await beginnings.find(description, from_, True)
        refused.append(from_)

    with own_kafka.frozen(), trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            for from_ in (Latest(), Earliest(), Last(1), Offsets({0: 0}), Timestamp(7)):
                nursery.start_soon(begin, from_)
                nursery.start_soon(begin, from_)
    assert len(refused) == 10
    with trio.fail_after(DEADLINE_SECONDS):
        while True:
            try:
                assert (await beginnings.find(description, Offsets({0: 0}), True)).live
                break
            except KafkaUnavailable:
                continue
