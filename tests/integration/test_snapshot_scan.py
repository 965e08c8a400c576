"""kafka/scan on the real broker, with all that makes a log differ from a list of records."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio
from tests.kafka_broker import Broker

from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka import scan as scanning
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.scan import Range, Truncated, scan

DEADLINE_SECONDS = 60.0


@pytest.fixture
def taken(kafka: Broker) -> Callable[..., Any]:
    async def taken(topic: str, *ranges: Range) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}

        def take(partition: int, records: Iterable[Any]) -> None:
            found.setdefault(partition, []).extend(record.offset() for record in records)

        with trio.fail_after(DEADLINE_SECONDS):
            await scan({"bootstrap.servers": kafka.bootstrap}, topic, ranges, take)
        return found

    return taken


async def test_many_partitions_each_to_its_end(kafka: Broker, taken: Callable[..., Any]) -> None:
    topic = kafka.topic(20)
    for partition in range(20):
        kafka.produce(topic, [b"x"] * (partition + 3), partition)
    found = await taken(topic, *(Range(each, 1, each + 2) for each in range(20)))
    assert found == {each: list(range(1, each + 2)) for each in range(20)}


async def test_offsets_without_records_are_crossed(kafka: Broker, taken: Callable[..., Any]) -> None:
    topic = kafka.topic()
    with kafka.transaction() as committed:
        committed.produce(topic, [b"1", b"2"], 0)
    with kafka.transaction(abort=True) as aborted:
        aborted.produce(topic, [b"3", b"4"], 0)
    cluster = Cluster({"bootstrap.servers": kafka.bootstrap})
    with trio.fail_after(DEADLINE_SECONDS):
        while (end := (await cluster.ends(topic, [0]))[0]) < 6:  # 2 and a marker, 2 and a marker
            pass
    assert await taken(topic, Range(0, 0, end)) == {0: [0, 1]}
    assert await taken(topic, Range(0, 2, end)) == {}, "and where there is no record at all"


async def test_what_retention_took_is_passed_over(kafka: Broker, taken: Callable[..., Any]) -> None:
    topic = kafka.topic(2)
    kafka.produce(topic, [b"x"] * 10, 0)
    kafka.produce(topic, [b"x"] * 10, 1)
    kafka.delete_records(topic, {0: 4, 1: 10})
    assert await taken(topic, Range(0, 0, 10), Range(1, 0, 10)) == {0: [4, 5, 6, 7, 8, 9]}


async def test_a_log_that_is_shorter_than_it_was(kafka: Broker, taken: Callable[..., Any]) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [b"x"] * 10, 0)
    with pytest.raises(Truncated):
        await taken(topic, Range(0, 0, 20))
    with pytest.raises(Truncated):
        await taken(topic, Range(0, 15, 20))


async def test_nobody_there(kafka: Broker, taken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "PATIENCE_SECONDS", 0.5)
    with pytest.raises((UnknownTopic, KafkaUnavailable)):
        await taken("topic-that-is-not-there", Range(0, 0, 10))
    kafka.bootstrap, bootstrap = "127.0.0.1:1", kafka.bootstrap
    try:
        with pytest.raises(KafkaUnavailable):
            await taken("topic", Range(0, 0, 10))
    finally:
        kafka.bootstrap = bootstrap
