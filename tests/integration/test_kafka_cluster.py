"""Questions to the real cluster: positions, ids, policies, what changed, and what bad names and dead brokers give."""

import gc

import pytest
import trio
from confluent_kafka import Uuid
from confluent_kafka.admin import AclOperation
from tests.kafka_broker import Broker
from trio.testing import wait_all_tasks_blocked

from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka.cluster import Cluster

ANSWER_SECONDS = 10.0  # what the protocol gives a command
NOBODY = {"bootstrap.servers": "127.0.0.1:1"}


@pytest.fixture
def cluster(kafka: Broker) -> Cluster:
    return Cluster({"bootstrap.servers": kafka.bootstrap})


async def test_a_topic_is_described(kafka: Broker, cluster: Cluster) -> None:
    topic = kafka.topic(3)
    described = await cluster.describe(topic)
    assert (described.name, described.partitions, described.compacted) == (topic, (0, 1, 2), False)
    assert described.topic_id
    assert described == await cluster.describe(topic)


@pytest.mark.parametrize(("policy", "compacted"), [("compact", True), ("compact,delete", True), ("delete", False)])
async def test_whether_it_is_compacted(kafka: Broker, cluster: Cluster, policy: str, compacted: bool) -> None:
    assert (await cluster.describe(kafka.topic(cleanup_policy=policy))).compacted is compacted


@pytest.mark.parametrize("name", ["no-such-topic", "", ".", "a b", "a\0b", "\ud800", "x" * 300])
async def test_names_that_no_topic_has(cluster: Cluster, name: str) -> None:
    with pytest.raises(UnknownTopic):
        await cluster.describe(name)
    with pytest.raises(UnknownTopic):
        await cluster.ends(name, [0])


async def test_a_partition_that_the_topic_does_not_have(kafka: Broker, cluster: Cluster) -> None:
    with pytest.raises((UnknownTopic, KafkaUnavailable)):
        await cluster.ends(kafka.topic(2), [0, 7])


async def test_ends_and_beginnings(kafka: Broker, cluster: Cluster) -> None:
    topic = kafka.topic(3)
    kafka.produce(topic, [b"x"] * 5, 0)
    kafka.produce(topic, [b"x"] * 3, 1)
    kafka.delete_records(topic, {0: 2})
    assert await cluster.ends(topic, [0, 1, 2]) == {0: 5, 1: 3, 2: 0}
    assert await cluster.beginnings(topic, [0, 1, 2]) == {0: 2, 1: 0, 2: 0}
    assert await cluster.ends(topic, []) == {}


async def test_the_ends_are_those_of_committed_records(kafka: Broker, cluster: Cluster) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [b"x"])
    with kafka.transaction() as transaction:
        transaction.produce(topic, [b"open"] * 4)
        assert await cluster.ends(topic, [0]) == {0: 1}


async def test_many_questions_at_once(kafka: Broker, cluster: Cluster) -> None:
    topics = [kafka.topic(2) for _ in range(10)]
    answers: dict[str, dict[int, int]] = {}

    async def ask(topic: str) -> None:
        described = await cluster.describe(topic)
        answers[topic] = await cluster.ends(topic, described.partitions)

    async with trio.open_nursery() as nursery:
        for topic in topics:
            nursery.start_soon(ask, topic)
    assert answers == {topic: {0: 0, 1: 0} for topic in topics}


async def test_the_names_of_all_topics(kafka: Broker, cluster: Cluster) -> None:
    topic = kafka.topic()
    names = await cluster.topics()
    assert topic in names
    assert "__tailrace_probe" not in names


async def test_new_partitions_a_new_id_and_the_end_of_a_topic_are_seen(kafka: Broker, cluster: Cluster) -> None:
    same, grown, again, gone = (kafka.topic(2) for _ in range(4))
    known = [await cluster.describe(topic) for topic in (same, grown, again, gone)]
    assert await cluster.changes(known) == []

    kafka.add_partitions(grown, 5)
    kafka.delete(again)
    kafka.topic(1, name=again)
    kafka.delete(gone)

    changes = {change.before.name: change for change in await cluster.changes(known)}
    assert changes.keys() == {grown, again, gone}
    assert (changes[grown].added, changes[grown].recreated) == ((2, 3, 4), False)
    assert (changes[again].added, changes[again].recreated) == ((0,), True)
    assert changes[gone].after is None
    assert changes[grown].after is not None
    assert changes[grown].after.compacted is False


async def test_a_look_leaves_no_topic_id_behind(kafka: Broker, cluster: Cluster) -> None:
    known = [await cluster.describe(kafka.topic()) for _ in range(3)]
    before = topic_ids()
    for _ in range(50):
        assert await cluster.changes(known) == []
    assert topic_ids() < before + 50, "150 were told"


async def test_nor_does_one_that_nobody_waits_for(kafka: Broker, cluster: Cluster) -> None:
    known = [await cluster.describe(kafka.topic())]
    before = topic_ids()
    for _ in range(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.changes, known)
            await wait_all_tasks_blocked()  # it has been sent
            nursery.cancel_scope.cancel()
    assert await cluster.changes(known) == []  # by which the others have been answered
    assert topic_ids() < before + 50, "101 were told"


def topic_ids() -> int:
    """How many there are in this process, in use or not."""
    gc.collect()
    return sum(type(each) is Uuid for each in gc.get_objects())


async def test_nothing_known_is_nothing_asked() -> None:
    assert await Cluster(NOBODY).changes([]) == []


async def test_the_probe_of_a_running_broker(cluster: Cluster) -> None:
    await cluster.probe(ANSWER_SECONDS)


async def test_everything_ends_in_time_without_a_broker() -> None:
    cluster = Cluster(NOBODY)
    begun = trio.current_time()
    calls = (
        lambda: cluster.describe("t"),
        lambda: cluster.ends("t", [0]),
        lambda: cluster.beginnings("t", [0]),
        cluster.topics,
        lambda: cluster.probe(2),
    )

    async def expect_unavailable(call: object) -> None:
        with pytest.raises(KafkaUnavailable, match="no broker answers"):
            await call()  # type: ignore[operator]

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(expect_unavailable, call)
    assert trio.current_time() - begun < ANSWER_SECONDS


async def test_a_broker_that_freezes_between_two_questions(own_kafka: Broker) -> None:
    cluster = Cluster({"bootstrap.servers": own_kafka.bootstrap})
    topic = own_kafka.topic()
    await cluster.describe(topic)
    with own_kafka.frozen():
        begun = trio.current_time()
        with pytest.raises(KafkaUnavailable):
            await cluster.describe(topic)
        with pytest.raises(KafkaUnavailable):
            await cluster.ends(topic, [0])
        assert trio.current_time() - begun < 2 * ANSWER_SECONDS
    with trio.fail_after(60):
        while True:
            try:
                assert (await cluster.describe(topic)).name == topic
                break
            except KafkaUnavailable:
                continue


async def test_good_credentials_and_bad(kafka: Broker) -> None:
    await Cluster(kafka.credentials()).probe(ANSWER_SECONDS)
    cluster, told = Cluster(kafka.credentials(password="wrong")), ""
    with trio.fail_after(60):
        while "the broker refused our credentials" not in told:  # a broker that is slow is told of as one that is away
            with pytest.raises(KafkaUnavailable) as refused:
                await cluster.probe(3)
            told = str(refused.value)


async def test_a_policy_that_we_may_not_read_is_not_known(kafka: Broker) -> None:
    topic = kafka.topic(2, cleanup_policy="compact")
    kafka.deny(topic, AclOperation.DESCRIBE_CONFIGS)
    described = await Cluster(kafka.credentials()).describe(topic)
    assert (described.partitions, described.compacted) == ((0, 1), None)


async def test_a_topic_that_we_may_not_see_is_none(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.deny(topic, AclOperation.DESCRIBE)
    cluster = Cluster(kafka.credentials())
    with pytest.raises(UnknownTopic):
        await cluster.describe(topic)
    with pytest.raises(UnknownTopic):
        await cluster.ends(topic, [0])


async def test_a_name_that_cannot_be_resolved() -> None:
    """A label too long to be asked for: no name server is needed to say no."""
    with pytest.raises(KafkaUnavailable, match="cannot be resolved"):
        await Cluster({"bootstrap.servers": f"{'x' * 64}.invalid:9092"}).probe(3)
