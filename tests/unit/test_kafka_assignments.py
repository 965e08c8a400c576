"""kafka/assignments: what is wanted is made to hold, with a consumer that does as librdkafka does, or refuses.

How the real one behaves is tests/integration/test_kafka_live.py's.
"""

import itertools
import time
from collections.abc import Iterable
from typing import Any

import pytest
import trio
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from structlog.testing import capture_logs

from tailrace.kafka import assignments as assignments_module
from tailrace.kafka import live as live_module
from tailrace.kafka.assignments import RETRY_SECONDS, Assignments
from tailrace.kafka.batch import Batch
from tailrace.kafka.hand_off import HandOff
from tailrace.kafka.live import LiveConsumer

Place = tuple[str, int]


def refusal(code: int, text: str) -> KafkaException:
    return KafkaException(KafkaError(code, text))


class PlainConsumer:
    """Assigns all or nothing, as librdkafka does. refuse: of each kind of call, how many more fail, doing nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.offsets: dict[Place, int] = {}
        self.paused: set[Place] = set()
        self.refuse: dict[str, int] = {}
        self.calls: list[str] = []

    def incremental_assign(self, places: Iterable[TopicPartition]) -> None:
        wanted = {(each.topic, each.partition): each.offset for each in places}
        self._called("assign")
        if wanted.keys() & self.offsets.keys():
            raise refusal(KafkaError._CONFLICT, "already part of the current assignment")
        self.offsets |= wanted

    def incremental_unassign(self, places: Iterable[TopicPartition]) -> None:
        self._called("unassign")
        gone = {(each.topic, each.partition) for each in places}
        if not gone <= self.offsets.keys():
            raise refusal(KafkaError._INVALID_ARG, "not in the current assignment")
        for each in gone:
            del self.offsets[each]

    def pause(self, places: Iterable[TopicPartition]) -> None:
        self._called("pause")
        self.paused |= {(each.topic, each.partition) for each in places}

    def resume(self, places: Iterable[TopicPartition]) -> None:
        self._called("resume")
        self.paused -= {(each.topic, each.partition) for each in places}

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self.offsets]

    def list_topics(self, *_: Any, **__: Any) -> None: ...

    def _called(self, what: str) -> None:
        self.calls.append(what)
        self.refuse[what] = self.refuse.get(what, 0) - 1
        if self.refuse[what] >= 0:
            raise refusal(KafkaError._STATE, f"no {what} now")


class House:
    """Assignments, and a consumer that they are carried out by."""

    def __init__(self) -> None:
        self.now = 100.0
        self.consumer: Any = PlainConsumer()
        self.assignments = Assignments(clock=lambda: self.now)
        self._generations = itertools.count(1)

    def assign(self, topic: str, *partitions: int) -> int:
        """From offset 10 and the partition's number."""
        generation = next(self._generations)
        self.assignments.assign(topic, {each: 10 + each for each in partitions}, generation, self.consumer)
        return generation

    def extend(self, topic: str, *partitions: int) -> None:
        """From offset 20 and the partition's number."""
        self.assignments.extend(topic, {each: 20 + each for each in partitions}, self.consumer)

    def unassign(self, topic: str) -> None:
        self.assignments.unassign(topic, self.consumer)

    def pause(self, topic: str, pause: bool = True) -> None:
        self.assignments.pause(topic, pause, self.consumer)

    def retry(self, after_seconds: float = RETRY_SECONDS) -> None:
        self.now += after_seconds
        self.assignments.retry(self.consumer)

    @property
    def held(self) -> dict[Place, int]:
        found: dict[Place, int] = self.consumer.offsets
        return found


@pytest.fixture
def house() -> House:
    return House()


def test_what_is_wanted_is_assigned(house: House) -> None:
    first, second = house.assign("a", 0, 1), house.assign("b", 0)
    house.extend("a", 1, 2)
    house.extend("unheard", 0)
    assert house.held == {("a", 0): 10, ("a", 1): 21, ("a", 2): 22, ("b", 0): 10}
    assert house.assignments.generation_of == {"a": first, "b": second}
    assert house.assignments.size == (2, 4)
    third = house.assign("a", 0)
    house.unassign("b")
    house.unassign("unheard")
    assert house.held == {("a", 0): 10}
    assert house.assignments.generation_of == {"a": third}


def test_a_pause_holds_for_what_comes_and_not_for_what_comes_after(house: House) -> None:
    house.assign("a", 0, 1)
    house.pause("a")
    house.pause("a")
    house.extend("a", 1, 2)
    assert house.consumer.paused == {("a", 0), ("a", 1), ("a", 2)}
    house.pause("a", False)
    assert house.consumer.paused == set()
    house.pause("a")
    house.assign("a", 0)
    house.pause("unheard")
    assert house.consumer.paused == set()


def test_nothing_is_asked_for_that_holds(house: House) -> None:
    house.assign("a", 0)
    house.pause("a", False)
    house.retry()
    house.unassign("a")
    house.unassign("a")
    assert house.consumer.calls == ["assign", "unassign"]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("what", ["assign", "unassign", "resume", "pause"])
def test_what_is_refused_is_carried_out_later(house: House, what: str, times: int) -> None:
    """A topic that was grown, and is then another one with fewer partitions; it was paused both times."""
    house.assign("a", 0, 1)
    house.extend("a", 2)
    house.pause("a")
    house.consumer.refuse = {what: times}
    generation = house.assign("a", 0)
    house.pause("a")
    for _ in range(times):
        house.retry()
    assert house.held == {("a", 0): 10}
    assert house.consumer.paused == {("a", 0)}
    assert house.assignments.generation_of == {"a": generation}


def test_until_then_nothing_of_the_old_assignment_passes_for_the_new(house: House) -> None:
    house.assign("a", 0)
    house.consumer.refuse = {"unassign": 2}
    house.assign("a", 0)
    assert house.held == {("a", 0): 10}
    assert house.assignments.generation_of == {}


def test_what_flows_goes_on_while_more_is_refused(house: House) -> None:
    generation = house.assign("a", 0)
    house.consumer.refuse = {"assign": 1}
    house.extend("a", 1)
    assert house.held == {("a", 0): 10}
    assert house.assignments.generation_of == {"a": generation}
    house.retry()
    assert house.held == {("a", 0): 10, ("a", 1): 21}


def test_one_partition_that_is_not_assigned_keeps_no_other(house: House) -> None:
    house.assign("a", 0, 1)
    del house.held["a", 1]
    house.assign("a", 0)
    assert house.held == {("a", 0): 10}
    house.held.clear()
    house.unassign("a")
    house.assign("b", 0)
    assert house.held == {("b", 0): 10}


def test_one_that_is_assigned_already_is_moved(house: House) -> None:
    house.held["a", 1] = 77
    house.assign("a", 0, 1)
    assert house.held == {("a", 0): 10, ("a", 1): 11}


def test_it_is_logged_once_and_tried_once_a_second(house: House) -> None:
    house.consumer.refuse = {"assign": 4}
    with capture_logs() as log:
        house.assign("a", 0)
        for _ in range(3):
            house.retry(RETRY_SECONDS / 2)
            house.retry(RETRY_SECONDS / 2)
        assert house.consumer.calls == ["assign"] * 4
        house.retry()
        house.retry()
    assert [(entry["event"], entry["topic"]) for entry in log] == [("cannot assign", "a"), ("assigned after all", "a")]
    assert (log[0]["error"], log[0]["text"], log[1]["tries"]) == ("_STATE", "no assign now", 5)


def test_what_nobody_wants_any_more_is_not_tried(house: House) -> None:
    house.consumer.refuse = {"assign": 1000}
    house.assign("a", 0)
    house.unassign("a")
    asked = len(house.consumer.calls)
    house.retry()
    assert (house.held, len(house.consumer.calls), house.assignments.size) == ({}, asked, (0, 0))


class Live(PlainConsumer):
    """One that also has a record for each partition, at the offset it was assigned from."""

    made: list["Live"] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.made.append(self)
        self._told: set[tuple[Place, int]] = set()

    def consume(self, _: int, timeout: float) -> list[Message]:
        news = [place for place in self.offsets.items() if place not in self._told]
        self._told |= set(news)
        if not news:
            time.sleep(min(timeout, 0.001))
        return [Message(topic=name, partition=each, offset=at, value=b"v") for (name, each), at in news]

    def close(self) -> None: ...


class SilentBell:
    """Of a consumer that has none."""

    works = False
    more = True  # it cannot tell

    def __init__(self, *_: Any) -> None: ...

    def ring(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("what", ["assign", "unassign"])
async def test_a_topic_is_read_after_all(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """In the poll thread. It would stand still for ever if a refusal were the end of it."""
    monkeypatch.setattr(live_module, "Consumer", Live)
    monkeypatch.setattr(live_module, "Doorbell", SilentBell)
    monkeypatch.setattr(assignments_module, "RETRY_SECONDS", 0.0)
    batches = HandOff[Batch](4)
    live = LiveConsumer({})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.run, batches)
        live.assign("a", {0: 5, 1: 5})
        with trio.fail_after(60):
            await batches.receive()
            Live.made[-1].refuse = {what: 2}
            generation = live.assign("a", {0: 0})
            arrived = await batches.receive()
        assert arrived.generation == {"a": generation}
        assert [record.offset() for record in arrived.records["a"]] == [0]
        nursery.cancel_scope.cancel()
