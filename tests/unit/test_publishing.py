"""Publishes on their way, over a Kafka made of dicts: order, bounds, who is answered what, and that nothing is left.

What the real one acknowledges: tests/integration/test_publish_kafka.py."""

import json
from typing import Any

import pytest
import trio
from tests.gateway import Raw, masked, until
from tests.plain_door import House, house
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.config import Publish as Limits
from tailrace.core.commands import Publish
from tailrace.core.lifecycle import State, Ticket
from tailrace.core.publishing import RECORD_BYTES
from tailrace.disconnect import SHUTDOWN
from tailrace.gateway.publisher import Publisher, Settled
from tailrace.kafka.producer import Fate
from tailrace.websocket.outlet import Outlet

SMALL = RECORD_BYTES + 1


class Asking:
    """A connection's publisher without the connection."""

    def __init__(self, place: House) -> None:
        self.place = place
        self.told: list[Settled] = []
        self.publisher: Publisher = place.publishing.publisher(self.told.extend)

    def publish(self, number: int, topic: str = "orders", value: bytes = b"1", partition: int | None = None) -> None:
        self.publisher.publish(Ticket(number, State.PRODUCING), Publish(number, topic, value, partition=partition))

    @property
    def codes(self) -> list[tuple[int, str | None]]:
        return [(each.ticket.id, each.code) for each in self.told]


def values(place: House) -> list[bytes]:
    return [record[1] for producer in place.kafka.producers for record in producer.taken]


async def test_the_producer_is_made_for_the_first_publish() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        asking = Asking(place)
        assert place.kafka.producers == []
        asking.publish(1)
        asking.publish(2)
        await wait_all_tasks_blocked()
        assert len(place.kafka.producers) == 1
        assert place.kafka.questions.count("describe") == 1
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        assert [(each.partition, each.offset, each.timestamp_ms) for each in asking.told] == [(0, 0, 7), (0, 1, 7)]
        assert asking.codes == [(1, None), (2, None)]
        assert place.publishing.statistics().published == 2


async def test_the_delay_is_from_the_command_to_the_acknowledgement(autojump_clock: MockClock) -> None:
    """Late ones are part of it, those that were not written are not."""
    async with house(publish=Limits(timeout=10.0), orders=[0]) as place:
        asking = Asking(place)
        for number, seconds in ((1, 2.0), (2, 12.0)):
            asking.publish(number)
            await trio.sleep(seconds)
            place.kafka.producers[0].report()
            await wait_all_tasks_blocked()
        asking.publish(3, partition=7)
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, None), (2, "publish_timeout"), (3, "publish_failed")]
        delay = place.publishing.delay
        assert delay.total == pytest.approx(14.0, abs=0.1)
        assert [delay.counts[delay.bounds.index(2.5)], delay.counts[-1], sum(delay.counts)] == [1, 1, 2]


async def test_who_waits_for_a_topic_keeps_his_place_and_holds_up_no_other() -> None:
    async with house(publish=Limits(), orders=[0], prices=[0]) as place:
        asking = Asking(place)
        asking.publish(1, "prices")
        await wait_all_tasks_blocked()
        with place.kafka.hold():
            for number in range(2, 5):
                asking.publish(number, value=b"%d" % number)
            asking.publish(5, "prices", b"beside")
            await wait_all_tasks_blocked()
            assert values(place) == [b"1", b"beside"]
            assert place.publishing.statistics().waiting == 3
        await wait_all_tasks_blocked()
        assert values(place) == [b"1", b"beside", b"2", b"3", b"4"]


async def test_a_topic_that_does_not_exist() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        asking = Asking(place)
        asking.publish(1, "gone")
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, "unknown_topic")]
        assert place.publishing._gates == {}


async def test_no_kafka_is_told_before_anything_is_sent() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        place.kafka.down = True
        asking = Asking(place)
        asking.publish(1)
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, "kafka_unavailable")]
        place.kafka.down = False
        asking.publish(2)
        await wait_all_tasks_blocked()
        assert values(place) == [b"1"]
        statistics = place.publishing.statistics()
        assert (statistics.failed, statistics.bytes, statistics.on_their_way) == (1, SMALL, 1)


async def test_a_partition_that_is_not_known_is_asked_for_once() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        asking = Asking(place)
        asking.publish(1)
        await wait_all_tasks_blocked()
        asking.publish(2, partition=1)
        await wait_all_tasks_blocked()
        assert (asking.codes, asking.told[0].message) == ([(2, "publish_failed")], "topic orders has no partition 1")
        assert place.kafka.questions.count("describe") == 2
        place.kafka.ends_of["orders"].append(0)
        asking.publish(3, value=b"new", partition=1)
        asking.publish(4, value=b"behind")
        await wait_all_tasks_blocked()
        assert values(place) == [b"1", b"new", b"behind"]


@pytest.mark.parametrize(
    ("fate", "code"), [(Fate.REJECTED, "publish_failed"), (Fate.UNKNOWN, "publish_timeout"), (Fate.WRITTEN, None)]
)
async def test_what_became_of_it(fate: Fate, code: str | None) -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        asking = Asking(place)
        asking.publish(1)
        await wait_all_tasks_blocked()
        place.kafka.producers[0].report(fate)
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, code)]
        assert ("may be in the log" in asking.told[0].message) is (fate is Fate.UNKNOWN)
        assert place.publishing.statistics().bytes == asking.publisher.bytes == 0


async def test_librdkafka_takes_no_more() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        asking = Asking(place)
        place.kafka.full = True
        asking.publish(1)
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, "publish_failed")]
        assert place.publishing.statistics().bytes == 0


async def test_a_timeout_is_answered_once_and_counts_until_it_is_reported(autojump_clock: MockClock) -> None:
    async with house(publish=Limits(timeout=3.0), orders=[0]) as place:
        asking = Asking(place)
        begin = trio.current_time()
        asking.publish(1)
        await wait_all_tasks_blocked()
        await until(lambda: asking.told)
        assert trio.current_time() - begin == pytest.approx(3.0, abs=0.2)
        assert asking.codes == [(1, "publish_timeout")]
        assert asking.publisher.bytes == SMALL
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, "publish_timeout")]
        statistics = place.publishing.statistics()
        assert (statistics.timed_out, statistics.too_late, statistics.published, statistics.bytes) == (1, 1, 0, 0)


async def test_what_was_not_handed_in_in_time_is_not_in_the_log(autojump_clock: MockClock) -> None:
    async with house(publish=Limits(timeout=3.0), orders=[0]) as place:
        asking = Asking(place)
        with place.kafka.hold():
            asking.publish(1)
            await trio.sleep(4.0)
        await wait_all_tasks_blocked()
        assert asking.codes == [(1, "publish_failed")]
        assert values(place) == []
        assert place.publishing.statistics().bytes == asking.publisher.bytes == 0


async def test_all_together_have_so_much_on_their_way() -> None:
    """Who finds no room waits in line, first come first served, and is read no further."""
    async with house(publish=Limits(max_bytes=2 * SMALL), orders=[0]) as place:
        first, second, third = Asking(place), Asking(place), Asking(place)
        for number, asking in enumerate((first, first, second, third, second)):
            asking.publish(number, value=b"%d" % number)
        await wait_all_tasks_blocked()
        assert values(place) == [b"0", b"1"]
        assert (first.publisher.full, second.publisher.full, third.publisher.full) == (False, True, True)
        place.kafka.producers[0].report(count=1)
        await wait_all_tasks_blocked()
        assert values(place) == [b"0", b"1", b"2"]
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        assert values(place) == [b"0", b"1", b"2", b"3", b"4"]
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        assert place.publishing.statistics().bytes == 0
        assert not second.publisher.full


async def test_those_who_left_make_room_and_are_not_written() -> None:
    async with house(publish=Limits(max_bytes=SMALL), orders=[0]) as place:
        here, gone = Asking(place), Asking(place)
        here.publish(1, value=b"1")
        gone.publish(2, value=b"2")
        here.publish(3, value=b"3")
        gone.publisher.close()
        await wait_all_tasks_blocked()
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        assert values(place) == [b"1", b"3"]
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        statistics = place.publishing.statistics()
        assert (statistics.dropped, statistics.on_their_way, statistics.bytes) == (1, 0, 0)
        assert gone.told == []


async def test_a_producer_that_has_ended_is_replaced() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        asking = Asking(place)
        asking.publish(1)
        await wait_all_tasks_blocked()
        place.kafka.producers[0].usable = False
        asking.publish(2)
        await wait_all_tasks_blocked()
        assert [len(producer.taken) for producer in place.kafka.producers] == [1, 1]


# ------------------------------------------------------------------------------------------------------ with a client


async def say(raw: Raw, id: int = 1, **fields: Any) -> None:
    await raw.send(masked(1, json.dumps({"type": "publish", "id": id, "topic": "orders"} | fields).encode()))


async def test_a_client_is_answered() -> None:
    async with house(publish=Limits(), orders=[0]) as place, place.visit() as raw:
        await say(raw, 7, value={"a": 1}, key="k", headers=[["h", "v"]])
        await wait_all_tasks_blocked()
        assert place.kafka.producers[0].taken == [("orders", b'{"a": 1}', b"k", None, (("h", b"v"),))]
        place.kafka.producers[0].report()
        assert await raw.message() == {
            "type": "published", "id": 7, "topic": "orders", "partition": 0, "offset": 0, "timestamp": 7,
        }  # fmt: skip
        await say(raw, 8, value=1, key="k" * 5000)
        message = await raw.message()
        assert (message["code"], message["id"], message["command"]) == ("too_large", 8, "publish")


async def test_a_client_with_too_much_on_its_way_is_read_no_further() -> None:
    limits = Limits(max_bytes_per_connection=2 * SMALL)
    async with house(publish=limits, orders=[0]) as place, place.visit() as raw, place.visit() as other:
        for id in range(1, 8):
            await say(raw, id, value=1)
        await until(lambda: sum(each.paused for each in place.door.connections) == 1)
        await wait_all_tasks_blocked()
        assert len(place.kafka.producers[0].taken) == 3
        await say(other, 1, value=2)
        await wait_all_tasks_blocked()
        assert len(place.kafka.producers[0].taken) == 4
        for _ in range(5):
            place.kafka.producers[0].report()
            await wait_all_tasks_blocked()
        assert [(await raw.message())["id"] for _ in range(7)] == list(range(1, 8))
        assert not any(each.paused for each in place.door.connections)


async def test_a_client_that_leaves_with_publishes_under_way_costs_nothing_in_the_end() -> None:
    async with house(publish=Limits(), orders=[0]) as place:
        async with place.visit() as raw:
            await say(raw, 1, value=1)
            await wait_all_tasks_blocked()
            await raw.reset()
        await until(lambda: not place.door.connections)
        assert place.publishing.statistics().on_their_way == 1
        place.kafka.producers[0].report()
        await wait_all_tasks_blocked()
        statistics = place.publishing.statistics()
        assert (statistics.on_their_way, statistics.bytes, statistics.waiting) == (0, 0, 0)


async def test_a_drain_waits_for_the_answers() -> None:
    async with house(publish=Limits(), orders=[0]) as place, place.visit() as raw:
        await say(raw, 1, value=1)
        await wait_all_tasks_blocked()
        (connection,) = place.door.connections
        connection.end(SHUTDOWN)
        await wait_all_tasks_blocked()
        assert place.door.connections
        place.kafka.producers[0].report()
        assert [(await raw.message())["type"] for _ in range(2)] == ["published", "closing"]
        assert (await raw.close_frame())[0] == 4000


async def test_answers_that_come_together_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(publish=Limits(), orders=[0]) as place, place.visit() as raw:
        for id in range(1, 51):
            await say(raw, id, value=id)
        await until(lambda: place.kafka.producers and len(place.kafka.producers[0].tokens) == 50)
        posts, post = [], Outlet.post

        def counted(outlet: Outlet, frames: bytes) -> None:
            posts.append(frames)
            post(outlet, frames)

        monkeypatch.setattr(Outlet, "post", counted)
        place.kafka.producers[0].report()
        assert [(await raw.message())["id"] for _ in range(50)] == list(range(1, 51))
        assert len(posts) == 1
