"""What the live consumer is to read, and making it so. All of it is the poll thread's own.

Rules:
- What is wanted is noted first and then carried out. What librdkafka refuses stays owed: it is logged once, and tried
  again every second until it holds, or nobody wants it any more.
- Its calls do all or nothing: one partition that is not assigned refuses the whole of an unassignment, and one that is
  assigned already the whole of an assignment (2.16, measured). So after a refusal it is asked what really is assigned.
- A topic has its generation once nothing of the assignment before is left: until then what arrives of it is dropped.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tailrace.kafka.trouble import Trouble, trouble

RETRY_SECONDS = 1.0
# What a topic that opens may hold up the others: reached only when no broker answers, and then nothing flows.
_METADATA_SECONDS = 0.5

_log = structlog.get_logger("tailrace.kafka")


class _Wanted(msgspec.Struct):
    """Of a topic. owed: partitions to be assigned yet, and from which offsets; partitions: those that are, `paused`
    some of them; pause: all of them are to be."""

    generation: int
    owed: dict[int, int]
    partitions: set[int] = msgspec.field(default_factory=set)
    paused: set[int] = msgspec.field(default_factory=set)
    pause: bool = False


class Assignments:
    """`generation_of` each topic that is assigned. Of any topic `assign` is the first word, and `unassign` the last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.generation_of: dict[str, int] = {}
        self._clock = clock
        self._wanted: dict[str, _Wanted] = {}
        self._surplus: dict[str, dict[int, bool]] = {}  # partitions that are assigned yet, and whether paused
        self._failing: dict[str, int] = {}  # topics, by how often it was tried in vain
        self._again_at = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """How many topics and partitions are wanted. May be asked in any thread."""
        wanted = list(self._wanted.values())
        return len(wanted), sum(len(each.partitions) + len(each.owed) for each in wanted)

    def assign(self, topic: str, offsets: Mapping[int, int], generation: int, consumer: Consumer) -> None:
        """These partitions and no other, not paused."""
        is_new = topic not in self._wanted
        self._give_up(topic)
        self._wanted[topic] = _Wanted(generation, dict(offsets))
        self._settle(topic, consumer)
        if is_new:
            _find_leaders(topic, consumer)

    def extend(self, topic: str, offsets: Mapping[int, int], consumer: Consumer) -> None:
        """These partitions too, or from other offsets; nothing when the topic is not assigned."""
        if (wanted := self._wanted.get(topic)) is not None:
            self._dispose(topic, wanted, wanted.partitions & offsets.keys())
            wanted.owed |= offsets
            self._settle(topic, consumer)

    def unassign(self, topic: str, consumer: Consumer) -> None:
        self._give_up(topic)
        self._settle(topic, consumer)

    def pause(self, topic: str, pause: bool, consumer: Consumer) -> None:
        """Whether it is to be paused."""
        if (wanted := self._wanted.get(topic)) is not None:
            wanted.pause = pause
            self._settle(topic, consumer)

    def retry(self, consumer: Consumer) -> None:
        """Carry out what was refused, if it is time; to be called often."""
        if self._failing and self._clock() >= self._again_at:
            for topic in list(self._failing):
                self._settle(topic, consumer)

    def _give_up(self, topic: str) -> None:
        self.generation_of.pop(topic, None)
        if (wanted := self._wanted.pop(topic, None)) is not None:
            self._dispose(topic, wanted, wanted.partitions)

    def _dispose(self, topic: str, wanted: _Wanted, partitions: set[int]) -> None:
        if partitions:
            surplus = {each: each in wanted.paused for each in partitions}
            self._surplus.setdefault(topic, {}).update(surplus)
            wanted.partitions = wanted.partitions - partitions
            wanted.paused = wanted.paused - partitions

    def _settle(self, topic: str, consumer: Consumer) -> None:
        try:
            self._carry_out(topic, consumer)
        except KafkaException as error:
            self._failed(topic, trouble(error))
        else:
            if tries := self._failing.pop(topic, 0):
                _log.info("assigned after all", topic=topic, tries=tries + 1)

    def _carry_out(self, topic: str, consumer: Consumer) -> None:
        """Every step that is done is noted before the next one, which may fail."""
        if surplus := self._surplus.get(topic):
            _drop(topic, surplus, consumer)
            del self._surplus[topic]
        if (wanted := self._wanted.get(topic)) is None:
            return
        if wanted.owed:
            _add(topic, wanted.owed, consumer)
            wanted.partitions, wanted.owed = wanted.partitions | wanted.owed.keys(), {}
        self.generation_of[topic] = wanted.generation
        _set_pause(topic, wanted, consumer)

    def _failed(self, topic: str, what: Trouble) -> None:
        self._again_at = self._clock() + RETRY_SECONDS
        if topic not in self._failing:
            _log.warning("cannot assign", topic=topic, error=what.name, text=what.text)
        self._failing[topic] = self._failing.get(topic, 0) + 1


def _drop(topic: str, surplus: Mapping[int, bool], consumer: Consumer) -> None:
    """None of these is assigned behind it."""
    if paused := [each for each, is_paused in surplus.items() if is_paused]:
        consumer.resume(_places(topic, paused))  # a pause outlives the assignment (measured)
    try:
        consumer.incremental_unassign(_places(topic, surplus))
    except KafkaException:
        if left := _assigned(topic, surplus, consumer):
            consumer.incremental_unassign(_places(topic, left))


def _add(topic: str, offsets: Mapping[int, int], consumer: Consumer) -> None:
    """All of these are assigned behind it, from these offsets."""
    places = [TopicPartition(topic, each, offset) for each, offset in offsets.items()]
    try:
        consumer.incremental_assign(places)
    except KafkaException:
        if not (strays := _assigned(topic, offsets, consumer)):
            raise
        consumer.incremental_unassign(_places(topic, strays))
        consumer.incremental_assign(places)


def _set_pause(topic: str, wanted: _Wanted, consumer: Consumer) -> None:
    if wanted.pause and (flowing := wanted.partitions - wanted.paused):
        consumer.pause(_places(topic, flowing))
        wanted.paused = wanted.paused | flowing
    elif not wanted.pause and wanted.paused:
        consumer.resume(_places(topic, wanted.paused))
        wanted.paused = set()


def _assigned(topic: str, partitions: Collection[int], consumer: Consumer) -> list[int]:
    """Which of these really are; 0.2 s for 5,000 partitions, so only after a refusal."""
    return [each.partition for each in consumer.assignment() if each.topic == topic and each.partition in partitions]


def _places(topic: str, partitions: Iterable[int]) -> list[TopicPartition]:
    return [TopicPartition(topic, each) for each in partitions]


def _find_leaders(topic: str, consumer: Consumer) -> None:
    """By itself librdkafka looks for them once a second: a topic opened after 1.1 s, and so after 0.1 (measured)."""
    with contextlib.suppress(KafkaException):
        consumer.list_topics(topic, timeout=_METADATA_SECONDS)
