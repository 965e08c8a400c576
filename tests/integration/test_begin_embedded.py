"""Where subscriptions begin on the embedded Kafka, which has no topic ids and cannot look up times, but can be told
which errors to answer with."""

from collections.abc import AsyncIterator

import pytest
import trio
from tests.mock_cluster import push_errors

from tailrace.core.begin import Verdict
from tailrace.core.protocol import Earliest, From, Last, Latest, Offsets, Timestamp
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable
from tailrace.gateway.begin import Beginnings
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.embedded import EmbeddedKafka
from tailrace.kafka.topic import TopicDescription

ENDS = {0: 5, 1: 0}
LIST_OFFSETS = 2  # the request's number in Kafka's protocol, as those of the errors below
UNKNOWN_TOPIC, LEADER_NOT_AVAILABLE, NOT_LEADER, FENCED, UNKNOWN_EPOCH, OFFSET_NOT_AVAILABLE = 3, 5, 6, 74, 75, 78
CLUSTER_AUTHORIZATION_FAILED = 31


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedKafka]:
    async with EmbeddedKafka() as kafka:
        kafka.create("t", 2)
        for _ in range(5):
            kafka.produce("t", b"x", partition=0)
        await kafka.flush()
        yield kafka


@pytest.fixture
def beginnings(embedded: EmbeddedKafka) -> Beginnings:
    return Beginnings(Cluster(embedded.settings))


@pytest.fixture
async def topic(embedded: EmbeddedKafka) -> TopicDescription:
    return await Cluster(embedded.settings).describe("t")


@pytest.mark.parametrize(
    ("from_", "positions"),
    [
        (Latest(), {0: 5, 1: 0}),
        (Earliest(), {0: 0, 1: 0}),
        (Last(2), {0: 3, 1: 0}),
        (Offsets({0: 4}), {0: 4, 1: 0}),
        (Offsets({0: 4, 1: 0}, "of another gateway"), {0: 4, 1: 0}),
    ],
)
async def test_every_form_but_times(
    beginnings: Beginnings, topic: TopicDescription, from_: From, positions: dict[int, int]
) -> None:
    begun = await beginnings.find(topic, from_, True)
    assert (begun.topic_id, begun.positions, begun.goal, begun.verdicts) == (None, positions, ENDS, [])


async def test_an_embedded_kafka_that_began_anew(beginnings: Beginnings, topic: TopicDescription) -> None:
    begun = await beginnings.find(topic, Offsets({0: 900}), True)
    assert (begun.positions, begun.verdicts) == (ENDS, [Verdict(0, 5, 900, 5, "truncated")])


@pytest.mark.parametrize(("from_", "replay"), [(Timestamp(7), True), (Earliest(), 60.0), (Offsets({0: 4}), 60.0)])
async def test_what_needs_times_is_refused(
    beginnings: Beginnings, topic: TopicDescription, from_: From, replay: bool | float
) -> None:
    with pytest.raises(CommandError, match="times") as caught:
        await beginnings.find(topic, from_, replay)
    assert caught.value.code == ErrorCode.BAD_POSITION


async def test_the_end_needs_none(beginnings: Beginnings, topic: TopicDescription) -> None:
    assert (await beginnings.find(topic, Latest(), 60.0)).positions == ENDS


def answer_with(embedded: EmbeddedKafka, *errors: int) -> None:
    """The next listings fail with these."""
    push_errors(embedded, LIST_OFFSETS, *errors)


@pytest.mark.parametrize(
    "error", [UNKNOWN_TOPIC, LEADER_NOT_AVAILABLE, NOT_LEADER, FENCED, UNKNOWN_EPOCH, OFFSET_NOT_AVAILABLE]
)
async def test_while_a_leader_moves_it_is_asked_again(
    embedded: EmbeddedKafka, beginnings: Beginnings, topic: TopicDescription, error: int
) -> None:
    answer_with(embedded, error, error, error)
    assert (await beginnings.find(topic, Latest(), True)).positions == ENDS


async def test_another_error_is_told_at_once(
    embedded: EmbeddedKafka, beginnings: Beginnings, topic: TopicDescription
) -> None:
    answer_with(embedded, CLUSTER_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaUnavailable, match="not allowed"):
        await beginnings.find(topic, Latest(), True)


async def test_a_leader_that_never_comes(
    embedded: EmbeddedKafka, beginnings: Beginnings, topic: TopicDescription
) -> None:
    answer_with(embedded, *[OFFSET_NOT_AVAILABLE] * 1000)
    with trio.fail_after(10), pytest.raises(KafkaUnavailable, match="OFFSET_NOT_AVAILABLE"):
        await beginnings.find(topic, Latest(), True)
