"""begin: each form by example, then all of them against an oracle that walks the log one offset at a time."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.begin import Asked, Beginning, Known, Verdict, begin, recreated, wants, within
from tailrace.core.commands import Earliest, From, Last, Latest, Offsets, Snapshot, Timestamp
from tailrace.core.messages import Gap, Subscribed
from tailrace.core.position import Kept
from tailrace.errors import CommandError, ErrorCode

HOUR = 3600.0
# Partition 0 lost its first ten records, 1 is whole and has an open transaction at its end, 2 is empty.
KNOWN = Known(
    topic_id="A",
    beginnings={0: 10, 1: 0, 2: 0},
    ends={0: 100, 1: 50, 2: 0},
    high_ends={0: 100, 1: 60, 2: 0},
    times={0: 70, 1: -1, 2: -1},
)


def retention(partition: int, from_: int, to: int) -> Verdict:
    return Verdict(partition, from_, to, to, "retention")


# --- what is asked ---


@pytest.mark.parametrize(
    ("from_", "asked"),
    [
        (Latest(), Asked()),
        (Last(0), Asked()),
        (Earliest(), Asked(beginnings=True)),
        (Last(5), Asked(beginnings=True)),
        (Timestamp(7), Asked(at_ms=7)),
        (Offsets({0: 1}), Asked(beginnings=True, high_ends=True, identity=True)),
        (Snapshot(), Asked(beginnings=True, identity=True)),
    ],
)
def test_no_more_is_asked_than_is_needed(from_: From, asked: Asked) -> None:
    assert wants(from_) == asked


@pytest.mark.parametrize("from_", [Earliest(), Last(5), Timestamp(7), Offsets({0: 1}), Snapshot()])
def test_how_far_back_is_asked_where_it_may_matter(from_: From) -> None:
    assert wants(from_, HOUR).back_seconds == HOUR
    assert wants(from_, True).back_seconds is None


@pytest.mark.parametrize("replay", [True, False, HOUR])
@pytest.mark.parametrize("from_", [Latest(), Last(0)])
def test_the_end_may_always_be_asked_for(from_: From, replay: bool | float) -> None:
    assert wants(from_, replay) == Asked()


@pytest.mark.parametrize("from_", [Earliest(), Last(1), Timestamp(2**62), Offsets({}), Offsets({0: 100}), Snapshot()])
def test_a_topic_without_replay_has_only_an_end(from_: From) -> None:
    with pytest.raises(CommandError, match="latest") as caught:
        wants(from_, False)
    assert caught.value.code == ErrorCode.FORBIDDEN


# --- where it begins ---


@pytest.mark.parametrize(
    ("from_", "positions"),
    [
        (Latest(), {0: 100, 1: 50, 2: 0}),
        (Last(0), {0: 100, 1: 50, 2: 0}),
        (Last(7), {0: 93, 1: 43, 2: 0}),
        (Last(2**63 - 1), {0: 10, 1: 0, 2: 0}),
        (Earliest(), {0: 10, 1: 0, 2: 0}),
        (Snapshot(), {0: 10, 1: 0, 2: 0}),
        (Timestamp(7), {0: 70, 1: 50, 2: 0}),
        (Offsets({}), {0: 10, 1: 0, 2: 0}),
        (Offsets({0: 10, 1: 7, 2: 0}), {0: 10, 1: 7, 2: 0}),
        (Offsets({0: 100, 1: 50, 2: 0}, "A"), {0: 100, 1: 50, 2: 0}),
        (Offsets({0: 99, 1: 55}), {0: 99, 1: 55, 2: 0}),  # the open transaction is waited at
        (Offsets({0: 99, 1: 60}), {0: 99, 1: 60, 2: 0}),
    ],
)
def test_what_can_be_had_begins_there_without_a_word(from_: From, positions: dict[int, int]) -> None:
    assert begin(from_, KNOWN) == Beginning("A", positions, KNOWN.ends, [])


def test_what_retention_took_is_named() -> None:
    begun = begin(Offsets({0: 4, 1: 7}), KNOWN)
    assert begun.verdicts == [retention(0, 4, 10)]
    assert begun.positions == {0: 10, 1: 7, 2: 0}


def test_a_partition_that_is_not_named_is_wanted_from_zero() -> None:
    begun = begin(Offsets({1: 7}), KNOWN)
    assert begun.verdicts == [retention(0, 0, 10)]
    assert begun.positions == {0: 10, 1: 7, 2: 0}


def test_a_log_that_ends_before_the_offset_was_truncated() -> None:
    begun = begin(Offsets({0: 101, 1: 61, 2: 5}), KNOWN)
    assert begun.verdicts == [
        Verdict(0, 100, 101, 100, "truncated"),
        Verdict(1, 60, 61, 60, "truncated"),
        Verdict(2, 0, 5, 0, "truncated"),
    ]
    assert begun.positions == {0: 100, 1: 60, 2: 0}
    assert begun.live


def test_another_topic_of_that_name_is_read_from_its_beginning() -> None:
    begun = begin(Offsets({1: 7, 0: 500, 9: 3}, "B"), KNOWN)
    assert begun.verdicts == [
        Verdict(0, 500, None, 10, "topic_recreated", "A"),
        Verdict(1, 7, None, 0, "topic_recreated", "A"),
    ]
    assert begun.positions == {0: 10, 1: 0, 2: 0}


@pytest.mark.parametrize(("asked", "known"), [(None, "A"), ("A", None), (None, None)])
def test_an_id_that_one_side_lacks_tells_nothing(asked: str | None, known: str | None) -> None:
    begun = begin(Offsets({0: 20, 1: 7, 2: 0}, asked), Known(topic_id=known, **_answers()))
    assert (begun.positions, begun.verdicts) == ({0: 20, 1: 7, 2: 0}, [])


@pytest.mark.parametrize("topic_id", [None, "A"])
def test_a_partition_the_topic_does_not_have(topic_id: str | None) -> None:
    with pytest.raises(CommandError, match="no partition 3, it has 3") as caught:
        begin(Offsets({0: 20, 8: 0, 3: 0}, topic_id), KNOWN)
    assert caught.value.code == ErrorCode.BAD_POSITION


@pytest.mark.parametrize("known", [{"times": None}, {"floors": None}])
def test_a_cluster_without_times(known: dict[str, None]) -> None:
    with pytest.raises(CommandError, match="times") as caught:
        begin(Timestamp(7), Known(topic_id=None, **{**_answers(), **known}))
    assert caught.value.code == ErrorCode.BAD_POSITION


def test_what_came_after_the_ends_were_listed_is_wanted() -> None:
    """Between listing and look-up an older record came, then one of that time: neither is left out."""
    assert begin(Timestamp(7), Known(topic_id=None, ends={0: 5}, times={0: 6})).positions == {0: 5}


def test_ends_listed_a_moment_apart() -> None:
    """A client that asks for the very end is not told of a truncation because the log grew meanwhile."""
    known = Known(topic_id=None, beginnings={0: 0}, ends={0: 9}, high_ends={0: 8})
    assert begin(Offsets({0: 9}), known).verdicts == []


def test_a_topic_without_partitions_is_live() -> None:
    assert begin(Latest(), Known(topic_id=None, ends={})).live


@pytest.mark.parametrize(
    ("from_", "live"),
    [
        (Latest(), True),
        (Earliest(), False),
        (Last(1), False),
        (Offsets({0: 100, 1: 50}), True),
        (Offsets({0: 100, 1: 49}), False),
        (Offsets({0: 99, 1: 60}), False),
    ],
)
def test_whether_there_is_anything_to_catch_up_with(from_: From, live: bool) -> None:
    assert begin(from_, KNOWN).live is live


# --- how far back ---


def test_replay_names_offsets_that_are_too_old() -> None:
    known = Known(topic_id="A", floors={0: 70, 1: -1, 2: -1}, **_answers())
    begun = begin(Offsets({0: 40, 1: 50}), known)
    assert begun.verdicts == [retention(0, 40, 70)]
    assert begun.positions == {0: 70, 1: 50, 2: 0}
    assert begin(Offsets({0: 70, 1: 49}), known).verdicts == [retention(1, 49, 50)]


@pytest.mark.parametrize("from_", [Earliest(), Snapshot(), Last(90), Timestamp(7), Offsets({})])
def test_replay_clips_the_other_forms_silently(from_: From) -> None:
    known = Known(topic_id="A", floors={0: 70, 1: 30, 2: -1}, times={0: 20, 1: 20, 2: -1}, **_answers())
    assert begin(from_, known) == Beginning("A", {0: 70, 1: 30, 2: 0}, KNOWN.ends, [])


def test_replay_holds_for_a_recreated_topic_too() -> None:
    known = Known(topic_id="A", floors={0: 70, 1: 30, 2: -1}, **_answers())
    begun = begin(Offsets({0: 40}, "B"), known)
    assert begun.verdicts == [Verdict(0, 40, None, 70, "topic_recreated", "A")]
    assert begun.positions == {0: 70, 1: 30, 2: 0}


# --- under way ---


def test_a_live_vector_whose_log_was_cut_at_both_sides() -> None:
    verdicts, positions = within({2: 5, 0: 3, 1: 8}, {0: 4, 1: 0, 2: 0}, {0: 9, 1: 9, 2: 2})
    assert verdicts == [retention(0, 3, 4), Verdict(2, 2, 5, 2, "truncated")]
    assert positions == {0: 4, 1: 8, 2: 2}


def test_a_live_vector_whose_topic_was_made_anew() -> None:
    verdicts, positions = recreated({2: 5, 0: 3}, {0: 4, 1: 0}, "B")
    assert verdicts == [Verdict(0, 3, None, 4, "topic_recreated", "B")]
    assert positions == {0: 4, 1: 0}


def test_a_verdict_becomes_the_gap_of_a_subscription() -> None:
    assert retention(3, 4, 10).gap(7, "orders") == Gap(7, "orders", 3, 4, 10, 10, "retention")
    anew = Verdict(0, 40, None, 70, "topic_recreated", "A").gap(7, "orders")
    assert anew == Gap(7, "orders", 0, 40, None, 70, "topic_recreated", "A")


# --- against the oracle ---


class Log(NamedTuple):
    """One partition: the time of every offset from `first` on; those from `committed` on belong to an open
    transaction."""

    first: int
    times: list[int]
    committed: int

    @property
    def high_end(self) -> int:
        return self.first + len(self.times)

    def at(self, time_ms: int) -> int:
        """What the broker answers: the first committed record at or after that time, -1 when there is none."""
        for offset in range(self.first, self.committed):
            if self.times[offset - self.first] >= time_ms:
                return offset
        return -1

    def without_older(self, time_ms: int) -> "Log":
        """What `replay` leaves: as if everything before the first record young enough had been deleted."""
        log = self
        while log.first < log.committed and log.times[0] < time_ms:
            log = Log(log.first + 1, log.times[1:], log.committed)
        return log


def where(log: Log, from_: From, partition: int) -> tuple[int, str | None]:
    """The place at which reading begins and why it is not the one that was asked for, found step by step."""
    if isinstance(from_, Latest):
        return log.committed, None
    if isinstance(from_, Last):
        place = log.committed
        for _ in range(from_.count):
            place -= place > log.first
        return place, None
    if isinstance(from_, Timestamp):
        place = log.first
        while place < log.committed and log.times[place - log.first] < from_.ms:
            place += 1
        return place, None
    if isinstance(from_, Earliest) or (isinstance(from_, Offsets) and not from_.offsets):
        return log.first, None
    assert isinstance(from_, Offsets)
    place, reason = from_.offsets.get(partition, 0), None
    while place < log.first:
        place, reason = place + 1, "retention"
    while place > log.high_end:
        place, reason = place - 1, "truncated"
    return place, reason


@st.composite
def logs(draw: st.DrawFn) -> Log:
    first = draw(st.integers(0, 4))
    times = draw(st.lists(st.integers(0, 9), max_size=6))
    return Log(first, times, first + draw(st.integers(0, len(times))))


def froms(partitions: int) -> st.SearchStrategy[From]:
    return st.one_of(
        st.just(Latest()),
        st.just(Earliest()),
        st.builds(Last, st.integers(0, 12)),
        st.builds(Timestamp, st.integers(0, 10)),
        st.builds(
            Offsets,
            st.dictionaries(st.integers(0, partitions - 1), st.integers(0, 12)),
            st.sampled_from([None, "now"]),
        ),
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Log], From, int | None]:
    """The partitions, what is asked, and the time before which nothing may be replayed."""
    partitions = draw(st.lists(logs(), min_size=1, max_size=4))
    return partitions, draw(froms(len(partitions))), draw(st.none() | st.integers(0, 10))


def answered(partitions: list[Log], from_: From, floor_ms: int | None) -> Known:
    """What a broker with these partitions answers, as far as it is asked."""
    asked = wants(from_, True if floor_ms is None else HOUR)
    of = dict(enumerate(partitions))
    return Known(
        topic_id="now",
        ends={each: log.committed for each, log in of.items()},
        beginnings={each: log.first for each, log in of.items()} if asked.beginnings else {},
        high_ends={each: log.high_end for each, log in of.items()} if asked.high_ends else {},
        times={} if asked.at_ms is None else {each: log.at(asked.at_ms) for each, log in of.items()},
        floors={} if asked.back_seconds is None else {each: log.at(floor_ms or 0) for each, log in of.items()},
    )


@given(situations())
def test_it_begins_where_one_who_walks_the_log_would(situation: tuple[list[Log], From, int | None]) -> None:
    partitions, from_, floor_ms = situation
    begun = begin(from_, answered(partitions, from_, floor_ms))
    readable = [
        log if floor_ms is None or from_ in (Latest(), Last(0)) else log.without_older(floor_ms) for log in partitions
    ]
    expected = [where(log, from_, partition) for partition, log in enumerate(readable)]
    assert begun.positions == {partition: place for partition, (place, _) in enumerate(expected)}
    assert begun.goal == {partition: log.committed for partition, log in enumerate(partitions)}
    assert begun.live is all(place >= log.committed for (place, _), log in zip(expected, partitions, strict=True))
    reasons = {verdict.partition: verdict.reason for verdict in begun.verdicts}
    assert reasons == {partition: reason for partition, (_, reason) in enumerate(expected) if reason}


@given(situations())
def test_a_verdict_names_exactly_what_lies_between(situation: tuple[list[Log], From, int | None]) -> None:
    partitions, from_, floor_ms = situation
    begun = begin(from_, answered(partitions, from_, floor_ms))
    for verdict in begun.verdicts:
        assert isinstance(from_, Offsets)
        wanted, place = from_.offsets.get(verdict.partition, 0), begun.positions[verdict.partition]
        assert verdict.next == place
        assert {verdict.from_, verdict.to} == {wanted, place}
        assert verdict.to is not None
        assert verdict.from_ < verdict.to


@given(situations(), st.sampled_from(["now", "before"]))
def test_who_keeps_what_is_told_keeps_where_reading_begins(
    situation: tuple[list[Log], From, int | None], topic_id: str
) -> None:
    """A client that resumes with what it kept, and takes in `subscribed` and the gaps, would resume at `positions`."""
    partitions, from_, floor_ms = situation
    kept = Kept()
    if isinstance(from_, Offsets):
        kept.topic_id, kept.positions = topic_id, dict(from_.offsets)
        from_ = Offsets(from_.offsets, topic_id)
    begun = begin(from_, answered(partitions, from_, floor_ms))
    kept.subscribed(Subscribed(7, "orders", begun.topic_id, None, begun.positions))
    for verdict in begun.verdicts:
        kept.gap(verdict.gap(7, "orders"))
    assert kept.resume() == Offsets(begun.positions, "now")


@given(situations())
def test_what_was_told_is_told_once(situation: tuple[list[Log], From, int | None]) -> None:
    """Resuming where one was told to begin begins there again, without a word."""
    partitions, from_, floor_ms = situation
    begun = begin(from_, answered(partitions, from_, floor_ms))
    again = Offsets(begun.positions, begun.topic_id)
    assert begin(again, answered(partitions, again, floor_ms)) == Beginning("now", begun.positions, begun.goal, [])


def _answers() -> dict[str, dict[int, int]]:
    return {"beginnings": dict(KNOWN.beginnings), "ends": dict(KNOWN.ends), "high_ends": dict(KNOWN.high_ends)}
