"""position: what a client keeps, held against a log that it must neither miss nor repeat."""

from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.commands import Offsets
from tailrace.core.messages import Gap, PositionMessage, Subscribed
from tailrace.core.position import Kept, moved


def subscribed(positions: dict[int, int], topic_id: str | None = "first") -> Subscribed:
    return Subscribed(7, "orders", topic_id, None, positions)


def gap(partition: int, next: int, topic_id: str | None = None) -> Gap:
    if topic_id is None:
        return Gap(7, "orders", partition, 0, next, next, "retention")
    return Gap(7, "orders", partition, 0, None, next, "topic_recreated", topic_id)


def kept(positions: dict[int, int]) -> Kept:
    client = Kept()
    client.subscribed(subscribed(positions))
    return client


def test_moved_names_what_differs_lower_and_new_included() -> None:
    assert moved({0: 5, 1: 5, 2: 5, 3: 5}, {0: 5, 1: 6, 2: 4, 4: 0}) == {1: 6, 2: 4, 4: 0}


def test_a_record_wants_the_next_one() -> None:
    client = kept({0: 5, 1: 9})
    client.record(0, 5)
    assert client.resume() == Offsets({0: 6, 1: 9}, "first")


def test_a_partition_created_since_is_kept_too() -> None:
    client = kept({0: 5})
    client.record(1, 0)
    assert client.resume().offsets == {0: 5, 1: 1}


def test_a_position_never_goes_back() -> None:
    client = kept({0: 5, 1: 5})
    client.position(PositionMessage(7, {0: 4, 1: 6}))
    assert client.resume().offsets == {0: 5, 1: 6}


def test_resubscribing_never_goes_back() -> None:
    client = kept({0: 5})
    client.subscribed(subscribed({0: 3}))
    assert client.resume().offsets == {0: 5}


def test_a_gap_may_go_back() -> None:
    client = kept({0: 5})
    client.gap(gap(0, 3))
    assert client.resume().offsets == {0: 3}


def test_a_recreated_topic_forgets_every_partition() -> None:
    client = kept({0: 5, 1: 5, 2: 5})
    client.gap(gap(0, 2, "second"))
    client.gap(gap(1, 0, "second"))
    assert client.resume() == Offsets({0: 2, 1: 0}, "second")


def test_subscribing_to_a_recreated_topic_forgets_partitions_it_lacks() -> None:
    client = kept({0: 5, 1: 5})
    client.subscribed(subscribed({0: 0}, "second"))
    assert client.resume() == Offsets({0: 0}, "second")


def test_without_topic_ids_nothing_is_forgotten() -> None:
    client = Kept()
    client.subscribed(subscribed({0: 5}, None))
    client.subscribed(subscribed({0: 0}, None))
    assert client.resume() == Offsets({0: 5}, None)


def test_what_is_resumed_with_is_a_copy() -> None:
    client = kept({0: 5})
    resumed = client.resume()
    client.record(0, 5)
    assert resumed.offsets == {0: 5}


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30))
def test_resuming_anywhere_sees_each_offset_once(steps: list[tuple[int, bool]]) -> None:
    """Each step passes one offset of a partition, as a record or (no match) as a position."""
    client = kept({0: 0, 1: 10, 2: 20})
    log = {0: 0, 1: 10, 2: 20}
    for partition, matches in steps:
        if matches:
            client.record(partition, log[partition])
        else:
            client.position(PositionMessage(7, {partition: log[partition] + 1}))
        log[partition] += 1
        assert client.resume().offsets == log
