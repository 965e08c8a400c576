"""Which topics are open: opened once for all who ask, held by those who read, closed a while after the last has left.

What becomes of open topics under their subscribers is driven at random in tests/unit/test_catchup_model.py.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from tests.plain_door import House, house
from tests.plain_record import PlainRecord
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace._fanout import JSON, VALUE
from tailrace.core.commands import LATEST
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway.tending import LINGER_SECONDS, Tending
from tailrace.gateway.topic import PAUSE_BYTES, UNUSED_SECONDS
from tailrace.kafka.batch import Batch, Fault


def held(place: House, name: str) -> Any:
    (found,) = [held for held in place.topics.held if held.open.name == name]
    return found


async def test_it_is_opened_once_for_all_who_ask() -> None:
    async with house(orders=[3]) as place, trio.open_nursery() as nursery:
        with place.kafka.hold():
            for _ in range(10):
                nursery.start_soon(place.topics.hold, "orders")
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert place.kafka.questions == ["describe", "list"]
        assert place.users("orders") == 10
        assert held(place, "orders").open.positions == {0: 3}


async def test_who_fails_to_open_it_does_not_spoil_it_for_the_next() -> None:
    async with house(orders=[0]) as place:
        with pytest.raises(UnknownTopic):
            await place.topics.hold("prices")
        place.kafka.ends_of["prices"] = [1]
        await place.topics.hold("prices")
        place.kafka.down = True
        with pytest.raises(KafkaUnavailable):
            await place.topics.hold("orders")
        place.kafka.down = False
        await place.topics.hold("orders")
        assert (place.users("orders"), place.users("prices")) == (1, 1)


async def test_a_topic_that_its_leaders_do_not_know_yet(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """It was made a moment ago, or they have just started; whoever is told that there is no such topic gives up."""
    async with house(orders=[3]) as place:
        unlisted = 3
        ends = place.kafka.ends

        async def lagging(name: str, partitions: Iterable[int]) -> dict[int, int]:
            nonlocal unlisted
            unlisted -= 1
            if unlisted >= 0:
                raise UnknownTopic(name)
            return await ends(name, partitions)

        monkeypatch.setattr(place.kafka, "ends", lagging)
        assert (await place.topics.hold("orders")).open.positions == {0: 3}
        place.topics.shut(held(place, "orders"))
        unlisted = 10_000
        with trio.fail_after(5), pytest.raises(KafkaUnavailable, match="do not know it"):
            await place.topics.hold("orders")


async def test_a_start() -> None:
    async with house(orders=[3, 4]) as place:
        start = await place.topics.start("orders", LATEST, JSON)
        assert start.beginning.positions == {0: 3, 1: 4}
        assert start.beginning.live
        assert place.users("orders") == 1
        place.topics.give_up(start)
        assert place.users("orders") == 0


async def test_the_ends_are_listed_after_the_asking() -> None:
    """What was written before a command came is not "latest", even if the topic has been open for hours."""
    async with house(orders=[3]) as place:
        await place.topics.start("orders", LATEST, JSON)
        place.kafka.ends_of["orders"] = [9]
        assert (await place.topics.start("orders", LATEST, JSON)).beginning.positions == {0: 9}


async def test_a_start_that_is_cancelled_holds_nothing() -> None:
    async with house(orders=[3]) as place:
        await place.topics.hold("orders")
        with place.kafka.hold():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(place.topics.start, "orders", LATEST, JSON)
                await wait_all_tasks_blocked()
                assert place.users("orders") == 2
                nursery.cancel_scope.cancel()
        assert place.users("orders") == 1


async def test_an_answer_in_time(autojump_clock: MockClock) -> None:
    async with house(orders=[3]) as place:
        begin = trio.current_time()
        with place.kafka.hold(), pytest.raises(KafkaUnavailable):
            await place.topics.start("orders", LATEST, JSON)
        assert trio.current_time() - begin < 10.0
        await place.topics.start("orders", LATEST, JSON)


async def test_batches_are_sorted_to_their_topics() -> None:
    async with house(orders=[0], prices=[0]) as place:
        await place.topics.start("orders", LATEST, VALUE)
        await place.topics.start("prices", LATEST, VALUE)
        records = {name: [PlainRecord(0, 0, topic=name)] for name in ("orders", "prices", "unheard")}
        place.topics.arrived(Batch(records, [("prices", 0, 5)], [], dict(place.kafka.assigned)))
        for topic in list(place.topics.due):
            topic.turn()
        assert (held(place, "orders").open.positions, held(place, "prices").open.positions) == ({0: 1}, {0: 5})


@pytest.mark.parametrize("generation", [0, 2, None])
async def test_batches_of_another_assignment_are_dropped(generation: int | None) -> None:
    """They were under way when it changed: their offsets may be another log's."""
    async with house(orders=[0]) as place:
        await place.topics.start("orders", LATEST, VALUE)
        assert place.kafka.assigned == {"orders": 1}
        generations = {} if generation is None else {"orders": generation}
        records = {"orders": [PlainRecord(0, 0)]}
        faults = [Fault("orders", 0, "_AUTO_OFFSET_RESET", "")]
        place.topics.arrived(Batch(records, [("orders", 0, 5)], faults, generations))
        assert list(place.topics.due) == []
        assert held(place, "orders").lost == set()


async def test_troubles_are_logged_once_each() -> None:
    async with house(orders=[0]) as place:
        await place.topics.start("orders", LATEST, VALUE)
        faults = [Fault("orders", 0, "UNKNOWN_LEADER_EPOCH", "no"), Fault("unheard", 0, "_FAIL", "")]
        with capture_logs() as log:
            place.topics.arrived(Batch({}, [], faults, dict(place.kafka.assigned)))
        assert [(entry["topic"], entry["error"]) for entry in log] == [("orders", "UNKNOWN_LEADER_EPOCH")]


async def test_a_refusal_is_logged_once_and_lasts_until_something_arrives() -> None:
    """librdkafka tries again and again, and is refused each time."""
    async with house(orders=[0]) as place:
        await place.topics.start("orders", LATEST, VALUE)
        fault = Fault("orders", 0, "TOPIC_AUTHORIZATION_FAILED", "no")
        with capture_logs() as log:
            for _ in range(20):
                place.topics.arrived(Batch({}, [], [fault], dict(place.kafka.assigned)))
        assert [entry["event"] for entry in log] == ["cannot be read"]
        assert held(place, "orders").refused == "our credentials are not allowed to (no)"
        place.topics.arrived(Batch({}, [("orders", 0, 0)], [], dict(place.kafka.assigned)))
        assert held(place, "orders").refused == ""


async def test_too_much_that_waits_pauses_the_topic() -> None:
    async with house(orders=[0]) as place:
        told = []
        place.kafka.pause = lambda name: told.append(("pause", name))  # type: ignore[method-assign]
        place.kafka.resume = lambda name: told.append(("resume", name))  # type: ignore[method-assign]
        await place.topics.start("orders", LATEST, VALUE)
        half = PlainRecord(0, 0, b"x" * (PAUSE_BYTES // 2 + 1))
        batch = Batch({"orders": [half]}, [], [], dict(place.kafka.assigned))
        place.topics.arrived(batch)
        assert told == []
        place.topics.arrived(batch)
        assert told == [("pause", "orders")]
        for topic in list(place.topics.due):
            topic.turn()
            topic.turn()
            place.topics.regulate(topic)
        assert told == [("pause", "orders"), ("resume", "orders")]


async def test_a_topic_is_closed_a_while_after_the_last_has_left(autojump_clock: MockClock) -> None:
    """A page that is reloaded finds it open; later it is opened anew, at its end of then."""
    async with house(orders=[0], prices=[0]) as place, trio.open_nursery() as nursery:
        nursery.start_soon(Tending(place.topics, 1 << 20).run)
        start = await place.topics.start("orders", LATEST, JSON)
        await place.topics.start("prices", LATEST, JSON)
        await trio.sleep(10 * LINGER_SECONDS)
        assert place.kafka.assigned.keys() == {"orders", "prices"}
        place.topics.give_up(start)
        await trio.sleep(LINGER_SECONDS - 3)
        place.topics.give_up(await place.topics.start("orders", LATEST, JSON))
        await trio.sleep(LINGER_SECONDS - 3)
        assert place.kafka.assigned.keys() == {"orders", "prices"}
        await trio.sleep(10)
        assert place.kafka.assigned.keys() == {"prices"}
        place.kafka.ends_of["orders"] = [7]
        assert (await place.topics.start("orders", LATEST, JSON)).beginning.positions == {0: 7}
        nursery.cancel_scope.cancel()


async def test_bytes_are_counted_to_the_last(autojump_clock: MockClock) -> None:
    """Of tails that grow, that nobody reads any more, and of topics that are closed."""
    async with house(orders=[0]) as place, trio.open_nursery() as nursery:
        nursery.start_soon(Tending(place.topics, 1 << 20).run)
        async with place.visit("/topics/orders"):
            async with place.visit("/topics/orders?format=value"):
                await place.produce("orders", b"x" * 10_000, b"y" * 10_000)
                assert place.topics.tail_bytes == sum(tail.memory_bytes for tail in place.topics.tails) > 40_000
            await trio.sleep(UNUSED_SECONDS + 10)
            await place.produce("orders", b"z")
            assert place.topics.tail_bytes == sum(tail.memory_bytes for tail in place.topics.tails)
            assert [tail.format for tail in place.topics.tails] == [JSON]
        await trio.sleep(LINGER_SECONDS + 10)
        assert (place.topics.tail_bytes, place.topics.held) == (0, [])
        nursery.cancel_scope.cancel()
