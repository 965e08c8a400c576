"""The thread that reads back: begins, goes on, turns elsewhere, rests and ends, over a consumer made of a list."""

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from confluent_kafka import KafkaError, TopicPartition
from tests.plain_log import ENCODER
from tests.plain_record import PlainRecord

from tailrace._fanout import VALUE, first_event
from tailrace.core.cutting import Block, Cutter
from tailrace.core.lane import Partition, Plan
from tailrace.kafka import settings
from tailrace.kafka.reader import Reader
from tailrace.kafka.run import Arrived, Ended, Event, Failed, Idle, Run

ORDERS, PRICES = Partition("orders", 1, 0), Partition("prices", 1, 0)


class PlainMessage(PlainRecord):
    def __init__(self, topic: str, offset: int, error: KafkaError | None = None) -> None:
        super().__init__(0, offset, topic=topic)
        self._error = error

    def error(self) -> KafkaError | None:
        return self._error


class PlainConsumer:
    """Offsets 0..END of any topic, then the end; remembers what it was asked. `leader` of every partition."""

    END = 5_000
    made: list["PlainConsumer"] = []
    leader = 1

    def __init__(self, settings: object, **callbacks: object) -> None:
        self.made.append(self)
        self.asked: list[tuple[object, ...]] = []
        self.closed_in: threading.Thread | None = None
        self._at: TopicPartition | None = None

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.asked.append(("list_topics", topic))
        partitions = {0: SimpleNamespace(leader=self.leader)}
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=partitions)})

    def assign(self, partitions: list[TopicPartition]) -> None:
        [self._at] = partitions
        self.asked.append(("assign", self._at.topic, self._at.offset))

    def unassign(self) -> None:
        self._at = None
        self.asked.append(("unassign",))

    def poll(self, timeout: float) -> None: ...

    def consume(self, count: int, timeout: float) -> list[PlainMessage]:
        if self._at is None:
            time.sleep(timeout)
            return []
        offsets = range(self._at.offset, min(self._at.offset + count, self.END))
        self._at.offset = offsets.stop
        found = [PlainMessage(self._at.topic, each) for each in offsets]
        return found or [PlainMessage(self._at.topic, self.END, KafkaError(KafkaError._PARTITION_EOF))]

    def close(self) -> None:
        self.closed_in = threading.current_thread()


class Heard:
    """Events, and a moment to wait for."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    def blocks(self) -> list[tuple[Partition, int, int]]:
        return [
            (each.run.place, each.block.start, each.block.next)
            for each in self.events
            if isinstance(each, Arrived | Ended) and each.block is not None
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not condition():  # noqa: ASYNC110  a thread tells
                await trio.sleep(0.001)


@pytest.fixture(autouse=True)
def consumers(monkeypatch: pytest.MonkeyPatch) -> list[PlainConsumer]:
    monkeypatch.setattr("tailrace.kafka.reader.Consumer", PlainConsumer)
    monkeypatch.setattr(PlainConsumer, "made", [])
    return PlainConsumer.made


@asynccontextmanager
async def reading() -> AsyncIterator[tuple[Reader, Heard]]:
    heard = Heard()
    reader = Reader({}, heard.events.append, threading.Lock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        yield reader, heard
        nursery.cancel_scope.cancel()


def run(place: Partition = ORDERS, start: int = 0, until: int = 2_048) -> Run:
    return Run(place, start, Plan(until, 1024, frozenset({VALUE})), ENCODER)


async def test_it_reads_blocks_up_to_where_it_may_and_then_waits(consumers: list[PlainConsumer]) -> None:
    async with reading() as (reader, heard):
        mine = run(start=100)
        reader.read(mine)
        await heard.until(lambda: len(heard.blocks) == 2)
        await heard.until(lambda: isinstance(heard.events[-1], Idle))
        assert heard.blocks == [(ORDERS, 100, 1_024), (ORDERS, 1_024, 2_048)]
        mine.plan = Plan(3_072, 1024, frozenset({VALUE}))
        reader.read(mine)
        await heard.until(lambda: len(heard.blocks) == 3)
    assert [each for each in consumers[0].asked if each[0] == "assign"] == [("assign", "orders", 100)], "and no seek"
    assert reader.read_records >= 2_972


async def test_who_leaves_while_records_are_fetched_takes_none_of_them_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan ends between the question and the answer: the records lie there for who comes back."""
    mine = run(until=1_024)
    wanted, consume = mine.plan, PlainConsumer.consume

    def withdrawn(consumer: PlainConsumer, count: int, timeout: float) -> list[PlainMessage]:
        mine.plan = Plan(0, 1024)
        return consume(consumer, count, timeout)

    monkeypatch.setattr(PlainConsumer, "consume", withdrawn)
    async with reading() as (reader, heard):
        reader.read(mine)
        await heard.until(lambda: [type(each) for each in heard.events] == [Idle])
        monkeypatch.setattr(PlainConsumer, "consume", consume)
        mine.plan = wanted
        reader.read(mine)
        await heard.until(lambda: heard.blocks == [(ORDERS, 0, 1_024)])
    [block] = [each.block for each in heard.events if isinstance(each, Arrived)]
    assert block.stretches[VALUE].records == 1_024


async def test_no_consumer_is_made_before_there_is_something_to_read(consumers: list[PlainConsumer]) -> None:
    async with reading() as (reader, heard):
        reader.read(None)
        await trio.sleep(0.05)
        assert not consumers
        reader.read(run())
        await heard.until(lambda: len(heard.blocks) == 2)
        assert len(consumers) == 1


async def test_it_turns_to_another_place_at_once(consumers: list[PlainConsumer]) -> None:
    async with reading() as (reader, heard):
        for start in (4_000, 2_000, 0):
            reader.read(run(start=start, until=start + 1))
            await heard.until(lambda start=start: bool(heard.blocks) and heard.blocks[-1][1] == start)
        assert heard.blocks == [(ORDERS, 4_000, 4_096), (ORDERS, 2_000, 2_048), (ORDERS, 0, 1_024)]
        reader.read(run(PRICES))
        await heard.until(lambda: heard.blocks[-1][0] == PRICES)
    asked = [each for each in consumers[0].asked if each[0] == "list_topics"]
    assert asked == [("list_topics", "orders"), ("list_topics", "prices")], "once for each turn at a partition"


async def test_the_end_ends_the_run() -> None:
    async with reading() as (reader, heard):
        reader.read(run(start=4_096, until=100_000))
        await heard.until(lambda: bool(heard.events))
        [ended] = heard.events
        assert isinstance(ended, Ended)
        assert (ended.end, heard.blocks) == (5_000, [(ORDERS, 4_096, 5_000)])
        reader.read(run(until=1))
        await heard.until(lambda: len(heard.events) > 1)
        assert heard.blocks[1:] == [(ORDERS, 0, 1_024)], "and is forgotten by the next"


async def test_a_partition_without_a_leader_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainConsumer, "leader", -1)
    async with reading() as (reader, heard):
        reader.read(run())
        await heard.until(lambda: bool(heard.events))
        assert isinstance(heard.events[0], Failed)


async def test_nothing_is_read_any_more_when_it_is_told_so(consumers: list[PlainConsumer]) -> None:
    async with reading() as (reader, heard):
        reader.read(run(until=10**9))
        await heard.until(lambda: bool(heard.blocks))
        reader.read(None)
        await heard.until(lambda: consumers[0].asked[-1] == ("unassign",))


async def test_its_thread_and_consumer_end_with_it(consumers: list[PlainConsumer]) -> None:
    async with reading() as (reader, heard):
        reader.read(run())
        await heard.until(lambda: len(heard.blocks) == 2)
    assert consumers[0].closed_in is not None
    assert consumers[0].closed_in is not threading.current_thread()


async def test_a_crash_of_the_thread_comes_out_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainConsumer, "assign", None)
    reader = Reader({}, Heard().events.append, threading.Lock())
    reader.read(run())
    with pytest.raises(ExceptionGroup) as crash:
        await reader.run()
    assert crash.group_contains(TypeError, depth=None)


def test_how_much_is_fetched_is_not_the_users_to_set() -> None:
    """Nor do the aliases of librdkafka get through; everything else does."""
    given = {"fetch.message.max.bytes": 10**8, "max.partition.fetch.bytes": 10**8, "security.protocol": "ssl"}
    built = settings.reader(given)
    assert built["fetch.message.max.bytes"] == 512 * 1024
    assert "max.partition.fetch.bytes" not in built
    assert built["security.protocol"] == "ssl"
    assert built["isolation.level"] == "read_committed"


async def test_it_pauses_by_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every half a millisecond of the thread's CPU, not after each piece; the clock here is one of pieces."""
    worked, pauses, sleep, take = [0.0], list[float](), time.sleep, Cutter.take

    def taken(cutter: Cutter, records: deque[Any], at_most: int) -> Block | None:
        worked[0] += 0.25
        return take(cutter, records, at_most)

    def paused(seconds: float) -> None:
        pauses.append(worked[0]) if seconds < 0.001 else sleep(seconds)

    monkeypatch.setattr("tailrace.kafka.reader.WORK_SECONDS", 1.0)
    monkeypatch.setattr(Cutter, "take", taken)
    monkeypatch.setattr(
        "tailrace.kafka.reader.time",
        SimpleNamespace(sleep=paused, thread_time=lambda: worked[0], monotonic=time.monotonic),
    )
    async with reading() as (reader, heard):
        reader.read(run(until=4_096))
        await heard.until(lambda: len(heard.blocks) == 4)
    assert pauses
    assert pauses == [float(number) for number in range(1, len(pauses) + 1)]
    assert len(pauses) == int(worked[0])


def test_the_first_event_among_records() -> None:
    records = [PlainMessage("orders", offset) for offset in range(3)]
    end = PlainMessage("orders", 3, KafkaError(KafkaError._PARTITION_EOF))
    assert [first_event(each) for each in ([], records, [*records, end, *records, end], [end])] == [0, 3, 3, 0]
