"""What the broker's answers, events and silences mean for a partition that is read back."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.plain_log import ENCODER, records

from tailrace._fanout import VALUE
from tailrace.core.cutting import Cutter
from tailrace.core.lane import Partition, Plan
from tailrace.kafka.outcome import examine, look, outcome
from tailrace.kafka.run import Ended, Event, Failed, Outside, Run

RUN = Run(Partition("orders", 1, 0), 100, Plan(1_000, 1024, frozenset({VALUE})), ENCODER)


class Asked:
    """A consumer that answers two questions; an error is raised instead."""

    def __init__(self, topics: Any = None, bounds: Any = None) -> None:
        self._topics = topics
        self._bounds = bounds

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout < 2
        return SimpleNamespace(topics={topic: _or_raise(self._topics)})

    def get_watermark_offsets(self, partition: Any, timeout: float) -> Any:
        assert (partition.topic, partition.partition) == ("orders", 0)
        assert timeout < 2
        return _or_raise(self._bounds)


def _or_raise(answer: Any) -> Any:
    if isinstance(answer, KafkaError):
        raise KafkaException(answer)
    return answer


def described(leader: int = 1, error: KafkaError | None = None) -> Any:
    return SimpleNamespace(error=error, partitions={0: SimpleNamespace(leader=leader)})


def asked(topics: Any = None, bounds: Any = None) -> Any:
    return Asked(topics, bounds)


def reading(*offsets: int) -> Cutter:
    """A block begun at 100, with these records in it."""
    cutter = Cutter(0, 100, ENCODER)
    if offsets:
        cutter.open([VALUE], 1024)
        cutter.take(records(*offsets), len(offsets))
    return cutter


def opened() -> Cutter:
    """A block begun at 100, with nothing in it."""
    cutter = Cutter(0, 100, ENCODER)
    cutter.open([VALUE], 1024)
    return cutter


def event(code: int, offset: int = -1001) -> Any:
    return SimpleNamespace(error=lambda: KafkaError(code), offset=lambda: offset)


def test_with_a_leader_there_is_somebody_to_ask() -> None:
    assert look(asked(described()), RUN) is None


@pytest.mark.parametrize(
    ("answer", "unknown", "reason"),
    [
        (described(leader=-1), False, "no leader"),
        (SimpleNamespace(error=None, partitions={}), True, "no partition 0"),
        (described(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), True, "UNKNOWN_TOPIC"),
        (described(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), True, "not allowed"),
        (described(error=KafkaError(KafkaError.LEADER_NOT_AVAILABLE)), False, "LEADER_NOT_AVAILABLE"),
        (KafkaError(KafkaError._TRANSPORT), False, "no broker answers"),
    ],
)
def test_otherwise_it_failed_and_says_why(answer: Any, unknown: bool, reason: str) -> None:
    failed = look(asked(answer), RUN)
    assert failed is not None
    assert (failed.run, failed.unknown) == (RUN, unknown)
    assert reason in failed.reason


def test_the_end_closes_the_block_that_is_open() -> None:
    ended = outcome(asked(), RUN, reading(100, 105), event(KafkaError._PARTITION_EOF, 110))
    assert isinstance(ended, Ended)
    assert ended.block is not None
    assert (ended.end, ended.block.start, ended.block.next) == (110, 100, 110)


@pytest.mark.parametrize("cutter", [reading(), opened()])
def test_the_end_without_a_record_before_it_has_no_block(cutter: Cutter) -> None:
    assert outcome(asked(), RUN, cutter, event(KafkaError._PARTITION_EOF, 100)) == Ended(RUN, 100, None)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((500, 900), Outside(RUN, 100, 500, 900)),
        ((0, 50), Outside(RUN, 100, 0, 50)),
    ],
)
def test_an_offset_that_the_broker_does_not_have(bounds: tuple[int, int], expected: Event) -> None:
    assert outcome(asked(bounds=bounds), RUN, reading(), event(KafkaError._AUTO_OFFSET_RESET)) == expected


@pytest.mark.parametrize("answer", [None, KafkaError(KafkaError._TIMED_OUT)])
def test_an_offset_that_is_gone_and_nobody_says_where_the_log_begins(answer: Any) -> None:
    failed = outcome(asked(bounds=answer), RUN, reading(), event(KafkaError._AUTO_OFFSET_RESET))
    assert isinstance(failed, Failed)
    assert "no broker answers" in failed.reason


def test_any_other_event_is_a_failure_to_be_tried_again() -> None:
    failed = outcome(asked(), RUN, reading(), event(KafkaError.UNKNOWN_TOPIC_OR_PART))
    assert isinstance(failed, Failed)
    assert not failed.unknown, "brokers that have just started do not know their topics yet: `look` decides"


def test_silence_at_or_above_the_last_stable_offset_is_the_end() -> None:
    assert examine(asked(bounds=(0, 100)), RUN, reading()) == Ended(RUN, 100, None)
    assert examine(asked(bounds=(0, 60)), RUN, reading()) == Ended(RUN, 100, None)


def test_silence_behind_the_last_record_ends_the_block() -> None:
    ended = examine(asked(bounds=(0, 102)), RUN, reading(100, 101))
    assert isinstance(ended, Ended)
    assert ended.block is not None
    assert (ended.end, ended.block.next) == (102, 102)


def test_silence_below_the_beginning() -> None:
    assert examine(asked(bounds=(101, 900)), RUN, reading()) == Outside(RUN, 100, 101, 900)


def test_silence_while_there_is_more_is_patience() -> None:
    assert examine(asked(bounds=(0, 900)), RUN, reading(100)) is None


def test_silence_of_the_broker_is_a_failure() -> None:
    assert isinstance(examine(asked(bounds=KafkaError(KafkaError._TIMED_OUT)), RUN, reading()), Failed)
