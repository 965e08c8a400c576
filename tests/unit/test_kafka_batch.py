"""Sorting what one consume returned."""

from confluent_kafka import KafkaError, Message

from tailrace.kafka.batch import Batch, Fault, batch


def record(topic: str, offset: int, partition: int = 0) -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=b"v")


def event(topic: str | None, code: int, offset: int = -1001, partition: int = 0) -> Message:
    return Message(topic=topic, partition=partition, offset=offset, error=KafkaError(code, "text"))


def test_records_are_grouped_by_topic_as_they_came_and_are_the_same_objects() -> None:
    messages = [record("a", 0), record("b", 5), record("a", 1), record("a", 2, 1), record("b", 6)]
    sorted_out = batch(messages, {"a": 3, "b": 4, "idle": 9})
    assert sorted_out.records == {"a": [messages[0], messages[2], messages[3]], "b": [messages[1], messages[4]]}
    assert sorted_out.records["a"][0] is messages[0]
    assert sorted_out.generation == {"a": 3, "b": 4}
    assert not sorted_out.faults
    assert not sorted_out.ends


def test_an_end_is_no_fault() -> None:
    sorted_out = batch([record("a", 6), event("a", KafkaError._PARTITION_EOF, offset=9)], {"a": 1})
    assert sorted_out.ends == [("a", 0, 9)]
    assert not sorted_out.faults
    assert len(sorted_out.records["a"]) == 1


def test_an_error_among_records_is_a_fault_of_its_partition_and_no_record() -> None:
    messages = [record("a", 0), event("a", KafkaError._AUTO_OFFSET_RESET, partition=7), record("a", 1)]
    sorted_out = batch(messages, {"a": 1})
    assert sorted_out.faults == [Fault("a", 7, "_AUTO_OFFSET_RESET", "text")]
    assert sorted_out.records == {"a": [messages[0], messages[2]]}


def test_a_fault_of_no_topic() -> None:
    sorted_out = batch([Message(error=KafkaError(KafkaError._TRANSPORT, "text"))], {})
    assert [(each.topic, each.partition, each.name) for each in sorted_out.faults] == [("", -1, "_TRANSPORT")]


def test_what_is_not_assigned_any_more_is_left_out() -> None:
    sorted_out = batch([record("gone", 0), event("gone", KafkaError._PARTITION_EOF, offset=1)], {"a": 1})
    assert not sorted_out


def test_an_empty_batch_is_false_and_one_with_anything_true() -> None:
    assert not Batch()
    assert Batch(ends=[("a", 0, 1)])
    assert Batch(faults=[Fault("a", 0, "n", "t")])
