"""The poll thread on the real broker: order, completeness, and what comes and goes while records flow."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
import trio
from confluent_kafka import Message
from confluent_kafka.admin import AclOperation
from tests.kafka_broker import Broker

from tailrace.kafka.batch import Batch, Fault
from tailrace.kafka.hand_off import HandOff
from tailrace.kafka.live import BEGINNING, LiveConsumer

DEADLINE_SECONDS = 60.0


class Reader:
    """Takes batches in and keeps what they said, by (topic, generation)."""

    def __init__(self, receive: HandOff[Batch]) -> None:
        self._receive = receive
        self.records: dict[tuple[str, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.values: dict[str, list[bytes | None]] = defaultdict(list)
        self.ends: dict[tuple[str, int], int] = {}
        self.faults: list[Fault] = []

    def count(self, topic: str) -> int:
        return len(self.values[topic])

    def offsets(self, topic: str, generation: int) -> dict[int, list[int]]:
        return dict(self.records[topic, generation])

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            while not condition():
                self._take(await self._receive.receive())

    async def more(self, topic: str, wanted: int = 1) -> None:
        """So many more records of the topic."""
        total = self.count(topic) + wanted
        await self.until(lambda: self.count(topic) >= total)

    async def silence(self, seconds: float) -> None:
        """Takes in what comes until nothing has come for so long."""
        with contextlib.suppress(trio.TooSlowError):
            while True:
                with trio.fail_after(seconds):
                    self._take(await self._receive.receive())

    def _take(self, batch: Batch) -> None:
        for topic, records in batch.records.items():
            for record in records:
                assert record.topic() == topic
                self.records[topic, batch.generation[topic]][record.partition()].append(record.offset())
                self.values[topic].append(record.value())
        self.ends.update({(topic, partition): offset for topic, partition, offset in batch.ends})
        self.faults += batch.faults


@contextlib.asynccontextmanager
async def reading(
    kafka: Broker, capacity: int = 4, settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[LiveConsumer, Reader]]:
    receive = HandOff[Batch](capacity)
    live = LiveConsumer(settings or {"bootstrap.servers": kafka.bootstrap})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.run, receive)
        yield live, Reader(receive)
        nursery.cancel_scope.cancel()


async def moment(condition: Callable[[], bool], within_seconds: float = DEADLINE_SECONDS) -> None:
    """Waits for something that another thread does, and tells nobody of."""
    with trio.fail_after(within_seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.0005)


def complete(total: int, partitions: int = 1) -> dict[int, list[int]]:
    """The offsets of a topic that was given `total` records in turn."""
    return {each: list(range(total // partitions)) for each in range(partitions)}


def fill(kafka: Broker, topic: str, total: int, partitions: int = 1, size_bytes: int = 20) -> None:
    for partition in range(partitions):
        kafka.produce(topic, [b"%0*d" % (size_bytes, each) for each in range(total // partitions)], partition)


async def test_several_topics_and_partitions_come_complete_and_in_order(kafka: Broker) -> None:
    topics = [kafka.topic(4) for _ in range(3)]
    async with reading(kafka) as (live, reader):
        generations = {topic: live.assign(topic, dict.fromkeys(range(4), 0)) for topic in topics}
        for topic in topics:
            fill(kafka, topic, 2_000, partitions=4)
        await reader.until(lambda: all(reader.count(topic) == 2_000 for topic in topics))
        for topic, generation in generations.items():
            assert reader.offsets(topic, generation) == complete(2_000, partitions=4)
    assert not reader.faults


async def test_topics_that_come_and_go_do_not_disturb_what_flows(kafka: Broker) -> None:
    steady, others = kafka.topic(2), [kafka.topic() for _ in range(5)]
    for topic in others:
        fill(kafka, topic, 100)
    async with reading(kafka) as (live, reader):
        generation = live.assign(steady, {0: 0, 1: 0})
        for round_, topic in enumerate(others, 1):
            fill(kafka, steady, 400, partitions=2)
            live.assign(topic, {0: 0})
            await reader.until(
                lambda topic=topic, n=400 * round_: reader.count(topic) == 100 and reader.count(steady) == n
            )
            live.unassign(topic)
        assert reader.offsets(steady, generation) == complete(2_000, partitions=2)


async def test_a_partition_is_read_from_the_offset_given(kafka: Broker) -> None:
    topic = kafka.topic(2)
    fill(kafka, topic, 20, partitions=2)
    async with reading(kafka) as (live, reader):
        generation = live.assign(topic, {0: 7, 1: BEGINNING})
        await reader.until(lambda: reader.count(topic) == 13)
        assert reader.offsets(topic, generation) == {0: [7, 8, 9], 1: list(range(10))}


async def test_pause_and_resume_lose_and_repeat_nothing(kafka: Broker) -> None:
    topic, other = kafka.topic(2), kafka.topic()
    fill(kafka, topic, 20_000, partitions=2, size_bytes=500)
    fill(kafka, other, 10)
    async with reading(kafka, capacity=1) as (live, reader):
        generation = live.assign(topic, {0: 0, 1: 0})
        for wanted in (1, 5_000, 12_000):
            await reader.until(lambda n=wanted: reader.count(topic) >= n)
            live.pause(topic)
            await reader.silence(0.2)
            assert reader.count(topic) < 20_000
            live.assign(other, {0: 0})
            await reader.more(other, 10)
            live.resume(topic)
        await reader.until(lambda: reader.count(topic) >= 20_000)
        assert reader.offsets(topic, generation) == complete(20_000, partitions=2)


async def test_a_topic_assigned_anew_is_not_paused(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 10)
    async with reading(kafka) as (live, reader):
        live.assign(topic, {0: 0})
        live.pause(topic)
        generation = live.assign(topic, {0: 0})
        await reader.until(lambda: len(reader.offsets(topic, generation).get(0, [])) == 10)


async def test_records_of_a_former_assignment_carry_its_generation(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 20_000)
    starts = [each * 613 % 15_000 for each in range(25)]
    async with reading(kafka, capacity=2) as (live, reader):
        generations = []
        for start in starts:
            generations.append(live.assign(topic, {0: start}))
            # Not waited for: many assignments are replaced while their records are under way.
            await reader.more(topic)
        await reader.until(lambda: len(reader.offsets(topic, generations[-1]).get(0, [])) > 2_000)
        for start, generation in zip(starts, generations, strict=True):
            read = reader.offsets(topic, generation).get(0, [])
            assert read == list(range(start, start + len(read)))


async def test_after_unassign_nothing_comes(kafka: Broker) -> None:
    topic = kafka.topic()
    async with reading(kafka) as (live, reader):
        live.assign(topic, {0: 0})
        fill(kafka, topic, 100)
        await reader.until(lambda: reader.count(topic) == 100)
        live.unassign(topic)
        fill(kafka, topic, 100)
        await reader.silence(0.7)
        assert reader.count(topic) == 100
        assert live.statistics().topics == 0


async def test_partitions_are_added_in_the_same_generation(kafka: Broker) -> None:
    topic = kafka.topic(1)
    async with reading(kafka) as (live, reader):
        generation = live.assign(topic, {0: 0})
        fill(kafka, topic, 50)
        kafka.add_partitions(topic, 3)
        live.extend(topic, {1: BEGINNING, 2: BEGINNING})
        kafka.produce(topic, [b"x"] * 50, 1)
        kafka.produce(topic, [b"x"] * 50, 2)
        await reader.until(lambda: reader.count(topic) == 150)
        assert reader.offsets(topic, generation) == complete(150, partitions=3)


@pytest.mark.parametrize("offset", [3, 99])
async def test_an_offset_that_is_gone_is_a_fault_and_can_be_mended(kafka: Broker, offset: int) -> None:
    """Below the beginning (retention) and above the end (truncated)."""
    topic = kafka.topic(2)
    fill(kafka, topic, 20, partitions=2)
    kafka.delete_records(topic, {0: 5})
    async with reading(kafka) as (live, reader):
        generation = live.assign(topic, {0: offset, 1: 0})
        await reader.until(lambda: bool(reader.faults) and reader.count(topic) == 10)
        assert [(each.topic, each.partition, each.name) for each in reader.faults] == [(topic, 0, "_AUTO_OFFSET_RESET")]
        live.extend(topic, {0: 5})
        await reader.until(lambda: reader.count(topic) == 15)
        assert reader.offsets(topic, generation) == {0: list(range(5, 10)), 1: list(range(10))}


async def test_a_topic_that_does_not_exist_does_not_disturb_the_others(kafka: Broker) -> None:
    topic = kafka.topic()
    async with reading(kafka) as (live, reader):
        live.assign("no-such-topic", {0: 0})
        live.assign(topic, {0: 0})
        fill(kafka, topic, 10)
        await reader.until(lambda: reader.count(topic) == 10)


async def test_a_topic_that_we_may_not_read_is_a_fault(kafka: Broker) -> None:
    topic, other = kafka.topic(), kafka.topic()
    kafka.deny(topic, AclOperation.READ)
    fill(kafka, other, 10)
    async with reading(kafka, settings=kafka.credentials()) as (live, reader):
        live.assign(topic, {0: 0})
        live.assign(other, {0: 0})
        await reader.until(lambda: bool(reader.faults) and reader.count(other) == 10)
    assert {(each.topic, each.partition, each.name) for each in reader.faults} == {
        (topic, 0, "TOPIC_AUTHORIZATION_FAILED")
    }


async def test_a_topic_opens_at_once_while_others_are_idle(kafka: Broker) -> None:
    """librdkafka by itself takes 1.1 s: it looks for new leaders once a second, and waits for the empty fetch. One
    topic of thirty shows it, whatever else the machine is at."""
    quiet, waits = kafka.topic(), []
    async with reading(kafka) as (live, reader):
        live.assign(quiet, {0: 0})
        await reader.until(lambda: (quiet, 0) in reader.ends)
        while len(waits) < 30 and min(waits, default=1.0) >= 0.6:
            topic = kafka.topic()
            fill(kafka, topic, 1)
            begun = trio.current_time()
            live.assign(topic, {0: 0})
            await reader.more(topic)
            waits.append(trio.current_time() - begun)
    assert min(waits) < 0.6, waits


async def test_aborted_records_are_not_delivered_and_the_end_crosses_the_markers(kafka: Broker) -> None:
    topic = kafka.topic()
    with kafka.transaction() as transaction:
        transaction.produce(topic, [b"kept"] * 3)
    with kafka.transaction(abort=True) as transaction:
        transaction.produce(topic, [b"aborted"] * 4)
    async with reading(kafka) as (live, reader):
        generation = live.assign(topic, {0: 0})
        await reader.until(lambda: reader.ends.get((topic, 0)) == 9)
        assert reader.values[topic] == [b"kept"] * 3
        assert reader.offsets(topic, generation) == {0: [0, 1, 2]}


async def test_an_open_transaction_is_not_shown(kafka: Broker) -> None:
    topic = kafka.topic()
    async with reading(kafka) as (live, reader):
        live.assign(topic, {0: 0})
        with kafka.transaction() as transaction:
            transaction.produce(topic, [b"x"] * 3)
            await reader.silence(0.7)
            assert reader.count(topic) == 0
        await reader.until(lambda: reader.count(topic) == 3)


async def test_a_receiver_that_does_not_take_holds_the_thread_up(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 5_000)
    async with reading(kafka, capacity=1) as (live, reader):
        generation = live.assign(topic, {0: 0})
        await moment(lambda: live.statistics().batches == 1)  # it lies there, and another is in the thread's hands
        with pytest.raises(trio.TooSlowError):
            await moment(lambda: live.statistics().batches > 1, within_seconds=0.3)
        await reader.until(lambda: reader.count(topic) == 5_000)
        assert reader.offsets(topic, generation) == complete(5_000)


async def test_a_command_ends_the_wait_for_records(kafka: Broker) -> None:
    quiet = kafka.topic()
    async with reading(kafka) as (live, reader):
        live.assign(quiet, {0: 0})
        await reader.until(lambda: (quiet, 0) in reader.ends)
        waits: list[float] = []
        while len(waits) < 100 and sum(each < 0.1 for each in waits) < 20:
            waits += [await _taken(live, quiet, each) for each in (live.pause, live.resume)]
    assert sum(each < 0.1 for each in waits) >= 20, "one that nothing ends is 0.5 s"


async def _taken(live: LiveConsumer, topic: str, command: Callable[[str], None]) -> float:
    begun = trio.current_time()
    command(topic)
    await moment(lambda: not live.statistics().commands)
    return trio.current_time() - begun


async def test_without_the_bell_commands_are_still_taken(kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.kafka.native.handle", lambda client, callback: None)
    topic = kafka.topic()
    fill(kafka, topic, 10)
    async with reading(kafka) as (live, reader):
        live.assign(topic, {0: 0})
        await reader.until(lambda: reader.count(topic) == 10)


async def test_a_crash_of_the_thread_comes_out_of_run(kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Batch:
        raise ZeroDivisionError

    monkeypatch.setattr("tailrace.kafka.live.batch", broken)
    topic = kafka.topic()
    fill(kafka, topic, 1)
    receive = HandOff[Batch](1)
    live = LiveConsumer({"bootstrap.servers": kafka.bootstrap})
    live.assign(topic, {0: 0})
    with trio.fail_after(DEADLINE_SECONDS), pytest.RaisesGroup(ZeroDivisionError):
        await live.run(receive)
    with pytest.raises(trio.EndOfChannel):
        await receive.receive()


@pytest.mark.parametrize("capacity", [1, 4])
async def test_cancelling_ends_it_at_once_also_while_there_is_no_room(kafka: Broker, capacity: int) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 5_000)
    async with reading(kafka, capacity) as (live, reader):
        live.assign(topic, {0: 0})
        await reader.until(lambda: reader.count(topic) > 0)
        begun = trio.current_time()
    assert trio.current_time() - begun < DEADLINE_SECONDS


async def taken(kafka: Broker, topic: str, total: int) -> list[Message]:
    """The first so many records of partition 0, as they are handed on."""
    receive = HandOff[Batch](4)
    live = LiveConsumer({"bootstrap.servers": kafka.bootstrap})
    records: list[Message] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.run, receive)
        live.assign(topic, {0: 0})
        with trio.fail_after(DEADLINE_SECONDS):
            while len(records) < total:
                records += (await receive.receive()).records.get(topic, [])
        nursery.cancel_scope.cancel()
    return records


async def test_bytes_of_any_kind_come_as_they_were_written(kafka: Broker) -> None:
    topic = kafka.topic()
    every = bytes(range(256))
    headers: Sequence[tuple[str, bytes | None]] = [("h", every), ("h", b""), ("\N{SNOWMAN}", None)]
    kafka.produce(topic, [{"key": every[::-1], "value": every, "headers": headers}, {"key": b"", "value": None}])
    records = await taken(kafka, topic, 2)
    assert [(each.key(), each.value(), each.headers()) for each in records] == [
        (every[::-1], every, headers),
        (b"", None, None),
    ]


async def test_a_header_name_that_is_not_utf8_spoils_only_the_headers(kafka: Broker) -> None:
    """The binding's fault, pinned: the first call raises, later ones hold a null pointer in place of the name."""
    topic = kafka.topic()
    kafka.produce_raw(topic, b"\xff value", [(b"good", b"1"), (b"\xff\xfe", b"2")])
    kafka.produce(topic, [b"next"])
    spoilt, following = await taken(kafka, topic, 2)
    assert (spoilt.value(), spoilt.offset(), following.value()) == (b"\xff value", 0, b"next")
    with pytest.raises(SystemError):
        spoilt.headers()
