"""What the poll thread hands over: the records of one `consume`, grouped by topic, and what else came with them.

Pure. `Message` objects are handed on as they are: what is encoded, and whether, is decided by who wants them.
"""

from collections.abc import Mapping

import msgspec
from confluent_kafka import KafkaError, Message

from tailrace._fanout import sole_topic
from tailrace.kafka.trouble import trouble

NO_PARTITION = -1


class Fault(msgspec.Struct, frozen=True):
    """An error of one partition (or of a whole topic: partition -1), not of the connection to Kafka.

    `name` is librdkafka's. `_AUTO_OFFSET_RESET`: the offset is gone, and the partition stands still until it is given
    another one with `LiveConsumer.extend`. The others pass by themselves, librdkafka keeps trying.
    """

    topic: str
    partition: int
    name: str
    text: str


class Batch(msgspec.Struct, eq=False):
    """One hand-off.

    `records`: per topic, in the order they arrived, which is offset order within a partition.
    `ends`: (topic, partition, next offset): the partition had no more when the broker was asked, and reading goes on
    there; it crosses the offsets of control records and compaction. To be applied after `records`, and only when it
    is ahead of them: more may have arrived behind it in the same batch.
    `generation`: of every topic named above, the number that `LiveConsumer.assign` returned. A topic whose current
    number is another one has been assigned anew, or unassigned, since: everything here about it is stale.
    """

    records: dict[str, list[Message]] = {}
    ends: list[tuple[str, int, int]] = []
    faults: list[Fault] = []
    generation: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.records or self.ends or self.faults)


def batch(messages: list[Message], generations: Mapping[str, int]) -> Batch:
    """Sorts what one `consume` returned; topics that have no generation are not assigned (any more) and left out."""
    sole = sole_topic(messages)
    if sole is not None:  # as nearly always
        generation = generations.get(sole)
        return Batch() if generation is None else Batch({sole: messages}, generation={sole: generation})
    sorted_out = Batch()
    topic: str | None = None
    records: list[Message] = []
    for message in messages:
        if (error := message.error()) is not None:
            _take_event(sorted_out, message, error)
            continue
        if (its_topic := message.topic()) != topic:
            topic = its_topic or ""
            records = sorted_out.records.setdefault(topic, [])
        records.append(message)
    return _labelled(sorted_out, generations)


def _take_event(into: Batch, message: Message, error: KafkaError) -> None:
    topic, partition, offset = message.topic() or "", message.partition(), message.offset()
    partition = NO_PARTITION if partition is None else partition
    if error.code() == KafkaError._PARTITION_EOF:
        into.ends.append((topic, partition, -1 if offset is None else offset))
    else:
        what = trouble(error)
        into.faults.append(Fault(topic, partition, what.name, what.text))


def _labelled(what: Batch, generations: Mapping[str, int]) -> Batch:
    gone = [topic for topic in what.records if topic not in generations]
    for topic in gone:
        del what.records[topic]
    what.ends = [end for end in what.ends if end[0] in generations]
    named = {*what.records, *(end[0] for end in what.ends), *(fault.topic for fault in what.faults)}
    what.generation = {topic: generations[topic] for topic in named if topic in generations}
    return what
