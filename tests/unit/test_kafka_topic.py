"""What became of a topic between two looks."""

from tailrace.kafka.topic import Change, TopicDescription, changes

BEFORE = TopicDescription("t", "id-1", (0, 1), compacted=True)


def now(topic_id: str | None = "id-1", partitions: tuple[int, ...] = (0, 1)) -> TopicDescription:
    return TopicDescription("t", topic_id, partitions)


def test_what_is_as_it_was_is_no_change() -> None:
    assert changes([BEFORE], {"t": now()}) == []


def test_new_partitions_are_named() -> None:
    (change,) = changes([BEFORE], {"t": now(partitions=(0, 1, 2, 3))})
    assert (change.added, change.recreated) == ((2, 3), False)


def test_a_new_id_is_another_topic_with_every_partition_new() -> None:
    (change,) = changes([BEFORE], {"t": now("id-2", (0, 1, 2))})
    assert (change.added, change.recreated) == ((0, 1, 2), True)


def test_a_topic_that_is_gone() -> None:
    (change,) = changes([BEFORE], {"t": None})
    assert change == Change(BEFORE, None)
    assert (change.added, change.recreated) == ((), False)


def test_the_policy_is_kept_because_nobody_asked_again() -> None:
    (change,) = changes([BEFORE], {"t": now(partitions=(0, 1, 2))})
    assert change.after is not None
    assert change.after.compacted is True
