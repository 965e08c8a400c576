"""The clock of a subscription's place, told every ten seconds where it moved without a record; a topic that is made
anew between two questions; and what one topic, or one subscription, may cost the others: nothing.

What becomes of open topics under their subscribers is driven at random in tests/unit/test_catchup_model.py.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import Raw
from tests.plain_door import House, house
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.errors import KafkaUnavailable
from tailrace.gateway.reading import Reading
from tailrace.gateway.tending import PLACE_SECONDS, SLOW_SECONDS, WATCH_SECONDS, Tending
from tailrace.kafka.batch import Batch, Fault
from tailrace.kafka.topic import Change, TopicDescription

Message = dict[str, Any]


@asynccontextmanager
async def tended(query: str, *ends: int) -> AsyncIterator[tuple[House, Raw]]:
    """A stream's client that is live."""
    async with house(orders=list(ends)) as place, trio.open_nursery() as nursery:
        nursery.start_soon(Tending(place.topics, 1 << 20).run)
        async with place.visit(f"/topics/orders{query}") as raw:
            assert [(await raw.message())["type"] for _ in range(2)] == ["subscribed", "live"]
            yield place, raw
        nursery.cancel_scope.cancel()


async def look(clock: MockClock) -> None:
    """It is time to tell places."""
    clock.jump(PLACE_SECONDS)
    await wait_all_tasks_blocked()


async def told(place: House, raw: Raw) -> list[Message]:
    """What the client has heard, up to a record that is written now, behind everything."""
    await place.produce("orders", b'"end"', key=b"a")
    messages: list[Message] = []
    while (message := await raw.message()).get("value") != "end":
        messages.append(message)
    return messages


def position(*positions: int) -> Message:
    return {"type": "position", "id": 0, "positions": {str(partition): at for partition, at in enumerate(positions)}}


async def test_a_rare_key(mock_clock: MockClock) -> None:
    async with tended("?key=a", 0) as (place, raw):
        await place.produce("orders", b"1", b"2", key=b"b")
        await look(mock_clock)
        await look(mock_clock)
        assert await told(place, raw) == [position(2)], "once: what has not moved is not told again"


async def test_records_of_one_partition_tell_nothing_of_the_others(mock_clock: MockClock) -> None:
    """Else a client whose key is busy would resume at the beginning of every partition that has other keys."""
    async with tended("?key=a", 0, 0) as (place, raw):
        for turn in range(1, 4):
            await place.produce("orders", b"1", b"2", key=b"b", partition=1)
            await place.produce("orders", b"mine", key=b"a")
            await look(mock_clock)
            record, *others = await told(place, raw)
            assert (record["value"], others) == ("mine", [position(2 * turn - 1, 2 * turn)])


@pytest.mark.parametrize("query", ["", "?key=a"])
async def test_what_no_record_tells(mock_clock: MockClock, query: str) -> None:
    """Transactions that were aborted, to a subscription of the whole topic too."""
    async with tended(query, 0) as (place, raw):
        await place.pass_over("orders", 5)
        await look(mock_clock)
        place.kafka.ends_of["orders"] = [5]
        assert await told(place, raw) == [position(5)]


async def test_whoever_wants_all_is_told_by_the_records(mock_clock: MockClock) -> None:
    async with tended("", 0, 0) as (place, raw):
        for _ in range(3):
            await place.produce("orders", b"1", partition=1)
            await look(mock_clock)
            assert [message["type"] for message in await told(place, raw)] == ["record"]


async def test_a_topic_made_anew_right_behind_a_look(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look still sees the old one, the fetch that fails and the listing are the new one's: no log was truncated."""
    async with tended("", 3) as (place, raw):
        ask, new = place.kafka.changes, TopicDescription("orders", "another-id", (0,), False)

        async def changes(known: list[TopicDescription]) -> list[Change]:
            if place.topics.held[0].lost:
                return [Change(each, new) for each in known if each.topic_id != new.topic_id]
            found = await ask(known)
            place.kafka.ends_of["orders"] = [1]
            fault = Fault("orders", 0, "_AUTO_OFFSET_RESET", "out of range")
            place.topics.arrived(Batch(faults=[fault], generation=dict(place.kafka.assigned)))
            return found

        monkeypatch.setattr(place.kafka, "changes", changes)
        for _ in range(2):
            mock_clock.jump(WATCH_SECONDS)
            await wait_all_tasks_blocked()
        gap = await raw.message()
        assert (gap["type"], gap["reason"], gap["from"], gap["next"]) == ("gap", "topic_recreated", 3, 0)


async def test_a_topic_that_cannot_be_asked_about_holds_up_no_other(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `lost` the next offset is gone, and a partition without a leader answers nothing; `gone` is deleted."""
    async with house(lost=[0], gone=[0]) as place, trio.open_nursery() as nursery:
        nursery.start_soon(Tending(place.topics, 1 << 20).run)
        async with place.visit("/topics/lost"), place.visit("/topics/gone") as raw:
            place.topics.held[0].lost.add(0)
            del place.kafka.ends_of["gone"]
            monkeypatch.setattr(place.kafka, "listed", unanswered)
            for _ in range(10):
                mock_clock.jump(WATCH_SECONDS)
                await wait_all_tasks_blocked()
            assert [(held.open.name, held.lost) for held in place.topics.held] == [("lost", {0})]
            assert await raw.close_frame() == (4503, "topic_deleted")
        nursery.cancel_scope.cancel()


async def unanswered(*_: object) -> NoReturn:
    await trio.lowlevel.checkpoint()
    raise KafkaUnavailable("no leader")


async def test_a_fault_of_ours_in_a_verdict_ends_one_subscription(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tended("", 0) as (place, raw), place.visit("/topics/orders") as other:
        held = place.topics.held[0]
        unlucky = next(iter(held.readings))
        rebase = Reading.rebase

        def fail_for_one(reading: Reading, *verdict: Any) -> None:
            if reading is unlucky:
                raise KeyError("why")
            rebase(reading, *verdict)

        monkeypatch.setattr(Reading, "rebase", fail_for_one)
        held.lost.add(0)
        with capture_logs() as log:
            mock_clock.jump(WATCH_SECONDS)
            await wait_all_tasks_blocked()
        assert await raw.close_frame() == (4006, "internal")
        assert [entry["event"] for entry in log if entry["log_level"] == "error"] == [
            "a subscription failed, by a fault of ours"
        ]
        await place.produce("orders", b"1")
        assert [(await other.message())["type"] for _ in range(3)] == ["subscribed", "live", "record"]


class Looked:
    """In place of a reading whose policy is not to wait: each look takes long."""

    topic = "orders"

    def __init__(self, rounds: list[int]) -> None:
        self._rounds = rounds
        self.seen: int | None = None

    def give_up_if_slow(self, slow_bytes: int) -> None:
        self.seen = self._rounds[0]


async def test_others_have_their_turn_between_looks(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read may have a thousand subscriptions to be looked at, four times a second."""
    monkeypatch.setattr("tailrace.gateway.tending.time.perf_counter", itertools.count().__next__)
    rounds = [0]

    async def others() -> None:
        while True:
            rounds[0] += 1
            await trio.lowlevel.checkpoint()

    async with tended("", 0) as (place, _), trio.open_nursery() as nursery:
        impatient: Any = {Looked(rounds): None for _ in range(20)}
        place.topics.held[0].impatient = impatient
        place.topics.impatience.set()
        await wait_all_tasks_blocked()
        nursery.start_soon(others)
        mock_clock.jump(SLOW_SECONDS)
        while any(each.seen is None for each in impatient):
            await trio.lowlevel.checkpoint()
        assert len({each.seen for each in impatient}) >= 10, "a round may run either of two tasks first"
        nursery.cancel_scope.cancel()


async def test_nobody_is_woken_while_all_are_patient() -> None:
    async with tended("", 0) as (place, _):
        await wait_all_tasks_blocked()
        assert place.topics.impatience.statistics().tasks_waiting == 1
        async with place.visit("/topics/orders?slow=skip"):
            assert place.topics.impatience.is_set()
