"""gateway/begin: what is asked of Kafka, when, and for how many; the answers come from a cluster that keeps a diary."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.core.begin import Beginning
from tailrace.core.protocol import Earliest, From, Last, Latest, Offsets, Timestamp
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.begin import LAG_SECONDS, LOOK_UPS, Beginnings
from tailrace.kafka.cluster import Listing
from tailrace.kafka.topic import Change, TopicDescription

TOPIC = TopicDescription("orders", "A", (0, 1))
NOW_MS = 1_000_000_000
HOUR = 3600.0


class DiaryCluster:
    """A topic whose logs begin at 10 and end at 100 (read_uncommitted: 110), found at 50 for any time. Answers wait
    for `gate`, those about times then for `times_gate`."""

    def __init__(self) -> None:
        self.diary: list[Any] = []
        self.now: TopicDescription | None = TOPIC
        self.absent = 0  # so many answers yet that there is no such topic, though there is
        self.slow_seconds = 0.0  # until it tells what became of a topic
        self.unlisted = 0  # so many listings fail yet
        self.looking_up = 0
        self.gate, self.times_gate = trio.Event(), trio.Event()
        self.gate.set()
        self.times_gate.set()
        self.times: dict[int, int] | None = {0: 50, 1: 50}
        self.error: Exception | None = None

    async def changes(self, known: Iterable[TopicDescription]) -> list[Change]:
        [before] = known
        await self._asked("changes")
        await trio.sleep(self.slow_seconds)
        self.absent -= 1
        now = None if self.absent >= 0 else self.now
        return [] if now == before else [Change(before, now)]

    async def describe(self, name: str) -> TopicDescription:
        await self._asked("describe")
        if self.now is None:
            raise UnknownTopic(name)
        return self.now

    async def listed(self, name: str, partitions: Iterable[int], *wanted: Listing) -> list[dict[int, int]]:
        await self._asked(*(each.name for each in wanted))
        assert name == TOPIC.name
        self.unlisted -= 1
        if self.unlisted >= 0 or self.now is None or not set(partitions) <= set(self.now.partitions):
            raise UnknownTopic(name)
        offsets = {Listing.BEGINNINGS: 10, Listing.ENDS: 100, Listing.HIGH_ENDS: 110}
        return [dict.fromkeys(partitions, offsets[each]) for each in wanted]

    async def at(self, name: str, partitions: Iterable[int], time_ms: int) -> dict[int, int] | None:
        await self._asked(time_ms)
        self.looking_up += 1
        await self.times_gate.wait()
        return self.times

    async def _asked(self, *what: Any) -> None:
        self.diary.append(what)
        await self.gate.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def cluster() -> DiaryCluster:
    return DiaryCluster()


@pytest.fixture
def beginnings(cluster: DiaryCluster) -> Beginnings:
    return Beginnings(cluster, now_ms=lambda: NOW_MS)  # type: ignore[arg-type]


# --- what is asked ---


@pytest.mark.parametrize(
    ("from_", "replay", "diary"),
    [
        (Latest(), True, [("ENDS",)]),
        (Latest(), False, [("ENDS",)]),
        (Latest(), HOUR, [("ENDS",)]),
        (Earliest(), True, [("ENDS", "BEGINNINGS")]),
        (Last(5), True, [("ENDS", "BEGINNINGS")]),
        (Timestamp(7), True, [("ENDS",), (7,)]),
        (Offsets({0: 20}), True, [("changes",), ("ENDS", "BEGINNINGS", "HIGH_ENDS")]),
        (Earliest(), HOUR, [("ENDS", "BEGINNINGS"), (NOW_MS - 3_600_000,)]),
        (Timestamp(7), HOUR, [("ENDS",), (7,), (NOW_MS - 3_600_000,)]),
        (Earliest(), 10.0**9, [("ENDS", "BEGINNINGS"), (0,)]),  # before 1970
    ],
)
async def test_what_is_asked_and_in_which_order(
    cluster: DiaryCluster, beginnings: Beginnings, from_: From, replay: bool | float, diary: list[Any]
) -> None:
    await beginnings.find(TOPIC, from_, replay)
    assert cluster.diary == diary


async def test_what_is_forbidden_asks_nothing(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    with pytest.raises(CommandError):
        await beginnings.find(TOPIC, Earliest(), False)
    assert cluster.diary == []


async def test_the_answers_reach_the_judge(beginnings: Beginnings) -> None:
    begun = await beginnings.find(TOPIC, Offsets({0: 5, 1: 105}, "A"), HOUR)
    assert (begun.topic_id, begun.positions, begun.goal) == ("A", {0: 50, 1: 105}, {0: 100, 1: 100})
    assert [(each.partition, each.reason) for each in begun.verdicts] == [(0, "retention")]


async def test_a_cluster_without_times(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.times = None
    with pytest.raises(CommandError) as caught:
        await beginnings.find(TOPIC, Timestamp(7), True)
    assert caught.value.code == ErrorCode.BAD_POSITION


# --- a topic that is no longer as it was described ---


async def test_a_topic_made_anew_since_is_judged_by_its_new_id(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.now = TopicDescription("orders", "B", (0,))
    begun = await beginnings.find(TOPIC, Offsets({0: 20, 1: 20}, "A"), True)
    assert (begun.topic_id, begun.positions) == ("B", {0: 10})
    assert [each.reason for each in begun.verdicts] == ["topic_recreated"]
    assert (await beginnings.find(TOPIC, Offsets({0: 20}, "B"), True)).verdicts == []


async def test_a_partition_that_came_since_may_be_named(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.now = TopicDescription("orders", "A", (0, 1, 2))
    assert (await beginnings.find(TOPIC, Offsets({0: 20, 1: 20, 2: 20}), True)).positions == {0: 20, 1: 20, 2: 20}


async def test_a_partition_that_went_since_is_not_listed(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.now = TopicDescription("orders", "B", (0,))
    begun = await beginnings.find(TOPIC, Latest(), True)
    assert (begun.topic_id, begun.positions) == ("B", {0: 100})


@pytest.mark.parametrize("from_", [Latest(), Offsets({0: 20})])
async def test_a_topic_that_is_gone(cluster: DiaryCluster, beginnings: Beginnings, from_: From) -> None:
    cluster.now = None
    with pytest.raises(UnknownTopic):
        await beginnings.find(TOPIC, from_, True)


async def test_a_topic_that_its_leaders_do_not_know_yet(
    cluster: DiaryCluster, beginnings: Beginnings, autojump_clock: MockClock
) -> None:
    cluster.unlisted = 3
    assert (await beginnings.find(TOPIC, Latest(), True)).positions == {0: 100, 1: 100}
    assert cluster.diary == [("ENDS",), ("changes",)] * 3 + [("ENDS",)]


async def test_a_topic_that_its_leaders_never_know(
    cluster: DiaryCluster, beginnings: Beginnings, autojump_clock: MockClock
) -> None:
    cluster.unlisted = 10_000
    with trio.fail_after(5), pytest.raises(KafkaUnavailable, match="do not know it"):
        await beginnings.find(TOPIC, Latest(), True)


async def test_a_topic_that_is_not_there_for_a_moment(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    """A broker that has just started may not know its topics yet: a client that is told so would give up."""
    cluster.absent = 1
    assert (await beginnings.find(TOPIC, Offsets({0: 20}, "A"), True)).positions == {0: 20, 1: 10}
    assert cluster.diary[:2] == [("changes",), ("describe",)]


async def test_a_broker_that_is_away_longer_than_its_leaders_may_lag(
    cluster: DiaryCluster, beginnings: Beginnings, autojump_clock: MockClock
) -> None:
    """The listing failed at once, and the question what became of the topic was answered when the broker was back."""
    cluster.unlisted, cluster.slow_seconds = 1, LAG_SECONDS + 1
    with pytest.raises(KafkaUnavailable):
        await beginnings.find(TOPIC, Latest(), True)


# --- for how many ---


async def ask(
    beginnings: Beginnings, froms: Iterable[From], then: Callable[[], None], replay: float = True
) -> list[Beginning]:
    """All ask, `then` happens while they wait for Kafka, and the answers in the order of the questions."""
    found: dict[int, Beginning] = {}

    async def find(number: int, from_: From) -> None:
        found[number] = await beginnings.find(TOPIC, from_, replay)

    async with trio.open_nursery() as nursery:
        for number, from_ in enumerate(froms):
            nursery.start_soon(find, number, from_)
        await wait_all_tasks_blocked()
        then()
    return [found[number] for number in sorted(found)]


async def test_a_thousand_at_once_cost_two_requests_a_question(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    """One is under way when the others come; they share the next, which was sent after they came."""
    cluster.gate = trio.Event()
    found = await ask(beginnings, [Offsets({0: 10 + number % 90}, "A") for number in range(1000)], cluster.gate.set)
    assert [each.positions[0] for each in found] == [10 + number % 90 for number in range(1000)]
    assert len(cluster.diary) <= 4
    assert beginnings.waiting == 0


@pytest.mark.parametrize("from_", [Timestamp(7), Earliest()])
async def test_times_are_shared_too(cluster: DiaryCluster, beginnings: Beginnings, from_: From) -> None:
    cluster.gate = trio.Event()
    await ask(beginnings, [from_] * 1000, cluster.gate.set, HOUR)
    assert len(cluster.diary) <= 6


async def test_times_of_their_own_are_looked_up_a_few_at_once(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.times_gate = trio.Event()

    def let_them() -> None:
        assert cluster.looking_up == LOOK_UPS
        cluster.times_gate.set()

    await ask(beginnings, [Timestamp(number) for number in range(100)], let_them)
    assert {each for (each,) in cluster.diary if each != "ENDS"} == set(range(100))


async def test_nobody_is_answered_from_before_he_asked(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.gate = trio.Event()
    answers: list[str] = []

    async def find(name: str) -> None:
        await beginnings.find(TOPIC, Latest(), True)
        answers.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(find, "first")
        await wait_all_tasks_blocked()
        nursery.start_soon(find, "second")
        await wait_all_tasks_blocked()
        assert len(cluster.diary) == 1
        cluster.gate.set()
        cluster.gate = trio.Event()
        await wait_all_tasks_blocked()
        assert (answers, len(cluster.diary)) == (["first"], 2)
        cluster.gate.set()


async def test_who_leaves_takes_no_answer_with_him(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.gate = trio.Event()
    leaver = trio.CancelScope()

    async def leave() -> None:
        with leaver:
            await beginnings.find(TOPIC, Latest(), True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await wait_all_tasks_blocked()

        def both() -> None:
            leaver.cancel()
            cluster.gate.set()

        assert len(await ask(beginnings, [Latest()] * 3, both)) == 3
    assert leaver.cancelled_caught
    assert beginnings.waiting == 0


async def test_an_error_is_everyones_and_then_forgotten(cluster: DiaryCluster, beginnings: Beginnings) -> None:
    cluster.error = KafkaUnavailable("no broker answers")
    for _ in range(2):
        with pytest.raises(KafkaUnavailable):
            await beginnings.find(TOPIC, Latest(), True)
    cluster.error = None
    assert (await beginnings.find(TOPIC, Latest(), True)).live
    assert beginnings.waiting == 0
