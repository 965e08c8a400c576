"""kafka/cluster: what is said of topics while brokers restart, with an admin client that answers from a script."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from trio.testing import MockClock

from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka import cluster as module
from tailrace.kafka.cluster import Cluster

UNKNOWN = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
NO_LEADERS = KafkaException(KafkaError(KafkaError._NOENT, "Failed to query partition leaders: No leaders found"))


class ScriptedAdmin:
    """Describes every topic and lists 7, unless an error is still due; as librdkafka does, it tells of lost
    connections when it is polled."""

    def __init__(self, *_: Any, error_cb: Callable[[KafkaError], None], **__: Any) -> None:
        self._error_cb = error_cb
        self.lost = False
        self.described = 0
        self.missing: Iterable[bool] = iter(())  # of each description, whether the topic is said to be missing
        self.leaderless: Iterable[bool] = iter(())  # of each listing, whether no leader is known

    def poll(self, _: float) -> None:
        if self.lost:
            self.lost = False
            self._error_cb(KafkaError(KafkaError._TRANSPORT))

    def list_topics(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(controller_id=1, brokers={1: None})

    def describe_configs(self, resources: list[Any], **_: Any) -> dict[Any, Future[Any]]:
        return {each: answered({"cleanup.policy": SimpleNamespace(value="delete")}) for each in resources}

    def describe_topics(self, topics: TopicCollection, **_: Any) -> dict[str, Future[Any]]:
        self.described += 1
        missing = next(self.missing, False)  # type: ignore[call-overload]
        return {name: answered(UNKNOWN if missing else description(name)) for name in topics.topic_names}

    def list_offsets(self, asked: dict[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        leaderless = next(self.leaderless, False)  # type: ignore[call-overload]
        return {each: answered(NO_LEADERS if leaderless else SimpleNamespace(offset=7)) for each in asked}


def description(name: str) -> Any:
    return SimpleNamespace(name=name, topic_id="A", partitions=[SimpleNamespace(id=0)])


def answered(what: Any) -> Future[Any]:
    answer: Future[Any] = Future()
    (answer.set_exception if isinstance(what, Exception) else answer.set_result)(what)
    return answer


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(module, "AdminClient", ScriptedAdmin)
    return Cluster({})


@pytest.fixture
def admin(cluster: Cluster) -> ScriptedAdmin:
    found: ScriptedAdmin = cluster._admin  # type: ignore[assignment]
    return found


def forever() -> Iterable[bool]:
    return iter(lambda: True, None)


async def test_a_topic_that_nobody_has_heard_of_is_missing_at_once(cluster: Cluster, admin: ScriptedAdmin) -> None:
    admin.missing = forever()
    with pytest.raises(UnknownTopic):
        await cluster.describe("orders")
    assert admin.described == 1


@pytest.mark.parametrize("by", ["describe", "changes"])
async def test_a_topic_that_was_there_a_moment_ago(
    cluster: Cluster, admin: ScriptedAdmin, by: str, autojump_clock: MockClock
) -> None:
    """A broker that has just started does not know it yet."""
    before = await cluster.describe("orders")
    if by == "changes":
        cluster._sightings = type(cluster._sightings)()
        await cluster.changes([before])
    admin.missing = iter([True] * 5)
    assert await cluster.describe("orders") == before


async def test_a_topic_that_was_deleted(cluster: Cluster, admin: ScriptedAdmin, autojump_clock: MockClock) -> None:
    """The first who asks waits until it is sure, the next one does not."""
    await cluster.describe("orders")
    admin.missing = forever()
    with trio.fail_after(9.5), pytest.raises(UnknownTopic):
        await cluster.describe("orders")
    asked = admin.described
    with pytest.raises(UnknownTopic):
        await cluster.describe("orders")
    assert admin.described == asked + 1


async def test_a_topic_of_which_nothing_is_remembered_while_a_broker_restarts(
    cluster: Cluster, admin: ScriptedAdmin, autojump_clock: MockClock
) -> None:
    admin.missing, admin.lost = iter([True] * 5), True
    assert (await cluster.describe("orders")).partitions == (0,)
    admin.missing, admin.lost = forever(), True
    with trio.fail_after(9.5), pytest.raises(UnknownTopic):
        await cluster.describe("prices")


async def test_while_no_leader_is_known_the_ends_are_waited_for(
    cluster: Cluster, admin: ScriptedAdmin, autojump_clock: MockClock
) -> None:
    """librdkafka says so of any topic while no broker can be reached: it is no word about the topic."""
    admin.leaderless = iter([True] * 5)
    assert await cluster.ends("orders", [0]) == {0: 7}
    admin.leaderless = forever()
    with trio.fail_after(9.5), pytest.raises(KafkaUnavailable, match="No leaders"):
        await cluster.ends("orders", [0])


async def test_no_leader_is_known_of_a_topic_that_does_not_exist(cluster: Cluster, admin: ScriptedAdmin) -> None:
    admin.leaderless, admin.missing = forever(), forever()
    with pytest.raises(UnknownTopic):
        await cluster.ends("orders", [0])
