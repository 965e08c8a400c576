"""What the broker says about a partition that is read back: whether there is somebody to ask, and what an event or
a silence means. Called in a reader's thread; every question ends within _ASK_SECONDS.
"""

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tailrace.core.cutting import Cutter
from tailrace.kafka.run import Ended, Event, Failed, Outside, Run
from tailrace.kafka.trouble import NO_SUCH_TOPIC, in_words, trouble

_ASK_SECONDS = 1.5


def look(consumer: Consumer, run: Run) -> Failed | None:
    """Whether there is somebody to ask: librdkafka waits for a leader in silence, and tells of a missing topic once."""
    try:
        topic = consumer.list_topics(run.place.topic, timeout=_ASK_SECONDS).topics[run.place.topic]
    except KafkaException as error:
        return Failed(run, in_words([trouble(error)]))
    if topic.error is not None:
        what = trouble(topic.error)
        return Failed(run, in_words([what]), unknown=what.name in NO_SUCH_TOPIC)
    if (partition := topic.partitions.get(run.place.number)) is None:
        return Failed(run, f"{run.place.topic} has no partition {run.place.number}", unknown=True)
    if partition.leader < 0:
        return Failed(run, f"partition {run.place.number} of {run.place.topic} has no leader")
    return None


def outcome(consumer: Consumer | None, run: Run, cutter: Cutter, message: Message) -> Event:
    """What an event means for the run."""
    assert consumer is not None
    error = message.error()
    assert error is not None
    if error.code() == KafkaError._PARTITION_EOF:
        return _ended(run, cutter, message.offset() or 0)
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        return _outside(consumer, run, cutter)
    return Failed(run, in_words([trouble(error)]))


def examine(consumer: Consumer, run: Run, cutter: Cutter) -> Event | None:
    """Why nothing comes: no broker answers, or the place is beyond the last stable offset (then no end is told).

    None: there is more, and it is only slow (a long stretch of aborted records, a cold disk).
    """
    try:
        beginning, end = _bounds(consumer, run)
    except KafkaException as error:
        return Failed(run, in_words([trouble(error)]))
    if cutter.expected < beginning:
        return Outside(run, cutter.expected, beginning, end)
    return _ended(run, cutter, end) if cutter.expected >= end else None


def _outside(consumer: Consumer, run: Run, cutter: Cutter) -> Outside | Failed:
    try:
        return Outside(run, cutter.expected, *_bounds(consumer, run))
    except KafkaException as error:
        return Failed(run, in_words([trouble(error)]))


def _ended(run: Run, cutter: Cutter, end: int) -> Ended:
    end = max(end, cutter.expected)
    block = cutter.close(end) if cutter.is_open and end > cutter.position else None
    return Ended(run, end, block)


def _bounds(consumer: Consumer, run: Run) -> tuple[int, int]:
    """The oldest offset, and the next one for a read_committed reader who has read everything, asked for now."""
    bounds = consumer.get_watermark_offsets(TopicPartition(run.place.topic, run.place.number), timeout=_ASK_SECONDS)
    if bounds is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    beginning, end = bounds
    return beginning, end
