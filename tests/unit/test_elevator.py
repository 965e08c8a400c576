"""What is read, by whom and in which order: at random against a plain log, and the rules one by one."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.plain_catchup import PlainCatchup, Ticket
from tests.plain_log import PlainLog

from tailrace.core import lane
from tailrace.core.cutting import CAP_BYTES
from tailrace.core.elevator import UNKNOWN_LOOKS
from tailrace.core.lane import TURN_BLOCKS, Partition
from tailrace.kafka.run import Failed

JSON, VALUE = 0, 2
A, B, C = Partition("a", 1, 0), Partition("a", 1, 1), Partition("b", 1, 0)


def reads(catchup: PlainCatchup, place: Partition = A) -> list[tuple[int, int]]:
    """The blocks of a partition in the order they were read: (start, next)."""
    return [(block.start, block.next) for reader in catchup.readers for at, block in reader.blocks if at == place]


def served(ticket: Ticket) -> tuple[int, int]:
    return ticket.answer.start, ticket.answer.next


# ------------------------------------------------------------------------------------------------------------ at random


class Machine(RuleBasedStateMachine):
    """Three partitions, two readers, a cache of a few blocks, blocks of 16 offsets."""

    def __init__(self) -> None:
        super().__init__()
        lane.STRIDE = 16
        self.logs = {place: PlainLog(100) for place in (A, B, C)}

    @initialize(window=st.sampled_from([1, 4]))
    def start(self, window: int) -> None:
        self.catchup = PlainCatchup(self.logs, window=window, cache_bytes=60_000)

    def teardown(self) -> None:
        """Whatever has happened: once Kafka answers everyone is answered, and then the readers stand still."""
        for log in self.logs.values():
            log.failing = None
        for _ in range(3):
            self.catchup.hear(0)
            self.catchup.hear(1)
            self.catchup.settle()
            self.catchup.rested()
        lane.STRIDE = 1024
        assert not self.catchup.waiting

    places = st.sampled_from([A, B, C])

    @rule(
        place=places,
        near=st.sampled_from(["beginning", "middle", "end"]),
        by=st.integers(-20, 40),
        format=st.sampled_from([JSON, VALUE]),
    )
    def get(self, place: Partition, near: str, by: int, format: int) -> None:
        log = self.logs[place]
        offset = {"beginning": log.beginning, "middle": (log.beginning + log.end) // 2, "end": log.end}[near]
        self.catchup.get(place, max(0, offset + by), format)

    @precondition(lambda self: self.catchup.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.catchup.cancel(data.draw(st.sampled_from(self.catchup.waiting)))

    @rule(reader=st.integers(0, 1), times=st.integers(1, 4))
    def read(self, reader: int, times: int) -> None:
        for _ in range(times):
            self.catchup.read(reader)

    @rule(reader=st.integers(0, 1))
    def hear(self, reader: int) -> None:
        self.catchup.hear(reader)

    @rule(place=places, count=st.integers(1, 60))
    def produce(self, place: Partition, count: int) -> None:
        self.logs[place].append(count)

    @rule(place=places, count=st.integers(1, 10))
    def open_transaction(self, place: Partition, count: int) -> None:
        self.logs[place].hold(count)

    @rule(place=places, start=st.integers(0, 200), count=st.integers(1, 80))
    def compact(self, place: Partition, start: int, count: int) -> None:
        self.logs[place].compact(start, start + count)

    @rule(place=places, by=st.integers(1, 60))
    def retain(self, place: Partition, by: int) -> None:
        self.logs[place].retain(self.logs[place].beginning + by)

    @rule(place=places, fails=st.booleans(), unknown=st.booleans())
    def fail(self, place: Partition, fails: bool, unknown: bool) -> None:
        run: object = None
        self.logs[place].failing = Failed(run, "no leader", unknown) if fails else None  # type: ignore[arg-type]

    @rule()
    def rest(self) -> None:
        self.catchup.rested()

    @rule(topic=st.sampled_from(["a", "b"]))
    def forget(self, topic: str) -> None:
        gone = self.catchup.elevator.forget(topic)
        assert set(gone) == {ticket for ticket in self.catchup.waiting if ticket.place.topic == topic}
        self.catchup.waiting = [ticket for ticket in self.catchup.waiting if ticket.place.topic != topic]
        self.catchup.cache.drop(lambda series: series[0].topic == topic)

    @invariant()
    def every_block_has_what_the_log_has(self) -> None:
        for reader in self.catchup.readers:
            for place, block in reader.blocks:
                for stretch in block.stretches.values():
                    assert stretch.next == block.next
                    assert stretch.records >= self.logs[place].count(block.start, block.next)
            reader.blocks.clear()


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestAtRandom = Machine.TestCase


# ------------------------------------------------------------------------------------------------------------ the order


def test_a_thousand_requests_read_each_block_once_upwards() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    chance = random.Random(1)
    tickets = [catchup.get(A, chance.randrange(20_000, 30_000)) for _ in range(1_000)]
    catchup.settle()
    assert all(ticket.answer for ticket in tickets)
    starts = [start for start, _ in reads(catchup)]
    assert starts == list(range(19_456, 30_721, 1024)), "from the lowest, aligned, and one ahead"
    assert sum(reader.seeks for reader in catchup.readers) == 1


def test_those_below_are_read_when_nobody_is_above_any_more() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    catchup.get(A, 30_000)
    catchup.step(0), catchup.step(1)
    for offset in (40_000, 5_000, 31_000):
        catchup.get(A, offset)
    catchup.settle()
    starts = [start for start, _ in reads(catchup)]
    assert starts == [29_696, 30_720, 31_744, 39_936, 40_960, 4_096, 5_120]


def test_who_goes_on_and_on_lets_others_of_the_partition_have_a_turn() -> None:
    catchup = PlainCatchup({A: PlainLog(200_000)})
    replaying, low, high = catchup.get(A, 50_000), None, None
    for blocks in range(200):
        while replaying.answer is None:
            busy = [catchup.step(0), catchup.step(1)]
            assert any(busy)
        replaying = catchup.get(A, replaying.answer.next)
        if blocks == 3:
            low, high = catchup.get(A, 0), catchup.get(A, 150_000)
        if low and high and low.answer and high.answer:
            break
    assert blocks <= 3 + 2 * TURN_BLOCKS


def test_a_block_of_the_place_before_serves_and_moves_nobody() -> None:
    """It was under way when the reader was sent elsewhere."""
    catchup = PlainCatchup({A: PlainLog(60_000)}, readers=1)
    gone = catchup.get(A, 30_000)
    catchup.read(0)
    catchup.cancel(gone)
    waits = catchup.get(A, 0)
    catchup.decide()
    [run] = catchup.runs
    late = catchup.get(A, 30_001)
    catchup.hear(0)
    assert served(late) == (29_696, 30_720)
    catchup.decide()
    assert catchup.runs == [run], "it was told already"
    catchup.settle()
    assert served(waits) == (0, 1_024)


def test_partitions_take_turns_at_one_reader() -> None:
    catchup = PlainCatchup({A: PlainLog(200_000), B: PlainLog(200_000)}, readers=1)
    tickets = [catchup.get(place, 0) for place in (A, B)]
    for _ in range(100):
        catchup.step(0)
        tickets = [each if each.answer is None else catchup.get(each.place, each.answer.next) for each in tickets]
    order = [place for place, _ in catchup.readers[0].blocks]
    changes = [number for number in range(1, len(order)) if order[number] != order[number - 1]]
    assert changes == list(range(TURN_BLOCKS, len(order), TURN_BLOCKS))


def test_different_partitions_are_read_at_the_same_time() -> None:
    catchup = PlainCatchup({A: PlainLog(5_000), B: PlainLog(5_000)})
    catchup.get(A, 0), catchup.get(B, 0)
    catchup.decide()
    assert {run and run.place for run in catchup.runs} == {A, B}


# ------------------------------------------------------------------------------------------------------ the block ahead


def test_one_block_is_read_ahead_of_who_reads() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    ticket = catchup.get(A, 0)
    catchup.settle()
    assert [start for start, _ in reads(catchup)] == [0, 1024]
    for block in range(1, 10):
        ticket = catchup.get(A, ticket.answer.next)
        assert served(ticket) == (block * 1024, (block + 1) * 1024), "it was there"
        catchup.settle()
    assert len(reads(catchup)) == 11
    assert sum(reader.seeks for reader in catchup.readers) == 1


def test_nothing_is_read_ahead_of_a_block_that_nobody_wants() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    catchup.get(A, 0), catchup.get(A, 2_048)
    catchup.settle()
    assert [start for start, _ in reads(catchup)] == [0, 1024, 2048, 3072]


def test_what_the_cache_has_is_not_read_ahead_again() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    catchup.get(A, 1_024)
    catchup.settle()
    catchup.get(A, 0)
    catchup.settle()
    assert [start for start, _ in reads(catchup)] == [1024, 2048, 0]


def test_reading_ends_when_the_last_who_wanted_it_has_gone() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    tickets = [catchup.get(A, offset) for offset in range(0, 60_000, 1_000)]
    catchup.step(0), catchup.step(1)
    for ticket in list(catchup.waiting):
        catchup.cancel(ticket)
    catchup.settle()
    assert len(reads(catchup)) <= 2
    assert sum(ticket.answer is not None for ticket in tickets) <= 2


def test_a_reader_is_never_told_to_read_beyond_its_window() -> None:
    for window in (1, 4):
        catchup = PlainCatchup({A: PlainLog(60_000)}, window=window)
        for offset in range(0, 60_000, 500):
            catchup.get(A, offset)
        catchup.decide()
        [run] = [run for run in catchup.runs if run is not None]
        assert run.plan.until == window * 1024


def test_nor_over_a_hole_that_nobody_wants() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    for offset in (0, 1_024, 2_048, 4_500):
        catchup.get(A, offset)
    catchup.decide()
    [run] = [run for run in catchup.runs if run is not None]
    assert run.plan.until == 4_096


def test_one_block_that_nobody_wants_any_more_is_read_through() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)}, window=1)
    gone, waits = catchup.get(A, 0), catchup.get(A, 1_500)
    catchup.decide()
    catchup.cancel(gone)
    catchup.settle()
    assert served(waits) == (1_024, 2_048)
    assert reads(catchup)[0] == (0, 1_024)
    assert sum(reader.seeks for reader in catchup.readers) == 1


# ------------------------------------------------------------------------------------------------ formats and alignment


def test_formats_wanted_near_each_other_are_made_in_one_reading() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    one, other = catchup.get(A, 10, JSON), catchup.get(A, 500, VALUE)
    catchup.settle()
    assert (served(one), served(other)) == ((0, 1024), (0, 1024))
    assert [start for start, _ in reads(catchup)] == [0, 1024]


def test_a_format_that_comes_too_late_for_a_block_has_it_read_again() -> None:
    catchup = PlainCatchup({A: PlainLog(60_000)})
    catchup.get(A, 0, VALUE)
    catchup.settle()
    late = catchup.get(A, 0, JSON)
    catchup.settle()
    assert served(late) == (0, 1024)


def test_large_records_make_small_blocks() -> None:
    """Or who resumes at 1,023 would have a thousand records of 100 KB read for nothing."""
    catchup = PlainCatchup({A: PlainLog(2_000, value=b"x" * (CAP_BYTES // 4))})
    ticket = catchup.get(A, 1_023)
    catchup.settle()
    assert reads(catchup)[:2] == [(0, 4), (1020, 1024)], "the first tells how large they are"
    assert served(ticket) == (1020, 1024)


def test_blocks_grow_again_with_small_records() -> None:
    log = PlainLog(1, value=b"x" * CAP_BYTES)
    log.append(20_000)
    catchup = PlainCatchup({A: log})
    ticket = catchup.get(A, 0)
    for _ in range(30):
        catchup.settle()
        ticket = catchup.get(A, ticket.answer.next)
    sizes = [next - start for start, next in reads(catchup)]
    assert sizes[0] == 1
    assert 1024 in sizes


def test_a_block_begins_where_the_cached_one_before_it_ends() -> None:
    catchup = PlainCatchup({A: PlainLog(1_500)})
    catchup.get(A, 1_100)
    catchup.settle()
    catchup.logs[A].append(5_000)
    ticket = catchup.get(A, 1_600)
    catchup.settle()
    assert served(ticket) == (1_600, 2_048), "where the log had ended nothing is cached beyond"
    assert reads(catchup)[:1] == [(1_024, 1_500)]
    assert served(catchup.get(A, 1_200)) == (1_024, 1_500)


# --------------------------------------------------------------------------------------------------- the log's two ends


def test_at_the_end_there_is_nothing_yet() -> None:
    catchup = PlainCatchup({A: PlainLog(1_500)})
    within, at_end = catchup.get(A, 1_400), catchup.get(A, 1_500)
    catchup.settle()
    assert (served(within), at_end.answer) == ((1_024, 1_500), ("end", 1_500))
    assert catchup.runs == [None, None], "the readers are free again"


def test_beyond_the_end_the_broker_decides() -> None:
    log = PlainLog(1_500)
    log.hold(100)
    catchup = PlainCatchup({A: log})
    waiting = [catchup.get(A, offset) for offset in (1_500, 1_501, 1_550)]
    beyond = catchup.get(A, 1_601)
    catchup.settle()
    assert [each.answer for each in waiting] == [("end", 1_500), ("end", 1_501), ("end", 1_550)]
    assert beyond.answer == ("beyond", 1_500)


def test_where_the_log_went_on_blocks_are_aligned_again() -> None:
    catchup = PlainCatchup({A: PlainLog(1_500)})
    catchup.get(A, 1_100)
    catchup.settle()
    catchup.logs[A].append(20_000)
    starts = []
    for offset in (3_000, 9_000):
        ticket = catchup.get(A, offset)
        catchup.settle()
        starts.append(ticket.answer.start)
    assert starts == [3_000, 8_192]


def test_an_offset_that_is_there_after_all_is_tried_again_later() -> None:
    """The log moved between the broker's refusal and its bounds."""
    catchup = PlainCatchup({A: PlainLog(5_000)})
    ticket = catchup.get(A, 100)
    catchup.decide()
    [reader] = [number for number, run in enumerate(catchup.runs) if run is not None]
    assert catchup.elevator.outside(A, reader, 100, 0, 5_000) == ([], [])
    assert catchup.elevator.take_tired() == [A]
    catchup.elevator.rested(A)
    catchup.settle()
    assert served(ticket) == (0, 1_024)


def test_below_the_beginning_is_gone_and_alignment_does_not_ask_there() -> None:
    log = PlainLog(5_000)
    log.retain(1_500)
    catchup = PlainCatchup({A: log})
    below, above = catchup.get(A, 1_499), catchup.get(A, 1_600)
    catchup.settle()
    assert (below.answer, served(above)) == (("gone", 1_500), (1_500, 2_048))
    later = catchup.get(A, 1_510, JSON)
    catchup.settle()
    assert served(later) == (1_500, 2_048)


def test_a_cached_block_outlives_its_records() -> None:
    catchup = PlainCatchup({A: PlainLog(5_000)})
    catchup.get(A, 0)
    catchup.settle()
    catchup.logs[A].retain(3_000)
    assert served(catchup.get(A, 5)) == (0, 1_024)


def test_a_hole_of_any_length_is_one_step() -> None:
    log = PlainLog(1_000_000)
    log.compact(10, 900_000)
    catchup = PlainCatchup({A: log})
    ticket = catchup.get(A, 500_000)
    catchup.settle()
    assert ticket.answer.next == 900_000
    assert len(reads(catchup)) <= 2


# ------------------------------------------------------------------------------------------------------------- failures


def failing(unknown: bool) -> Failed:
    run: object = None
    return Failed(run, "no leader", unknown)  # type: ignore[arg-type]


def test_a_partition_that_fails_rests_and_holds_up_nobody() -> None:
    catchup = PlainCatchup({A: PlainLog(5_000), B: PlainLog(5_000)}, readers=1)
    catchup.logs[A].failing = failing(False)
    stuck, fine = catchup.get(A, 0), catchup.get(B, 0)
    catchup.settle()
    assert (stuck.answer, served(fine)) == (None, (0, 1_024))
    catchup.logs[A].failing = None
    assert catchup.settle() == 0, "it rests"
    catchup.rested()
    catchup.settle()
    assert served(stuck) == (0, 1_024)


@pytest.mark.parametrize("unknown", [True, False])
def test_only_what_stays_unknown_is_given_up(unknown: bool) -> None:
    catchup = PlainCatchup({A: PlainLog(5_000)})
    catchup.logs[A].failing = failing(unknown)
    ticket = catchup.get(A, 0)
    for _ in range(UNKNOWN_LOOKS):
        assert ticket.answer is None
        catchup.settle()
        catchup.rested()
    assert (ticket.answer == ("unknown", 0)) == unknown


def test_a_topic_that_is_forgotten_frees_its_readers_and_tells_who_waits() -> None:
    catchup = PlainCatchup({A: PlainLog(50_000), C: PlainLog(5_000)})
    mine, other = catchup.get(A, 0), catchup.get(C, 0)
    catchup.decide()
    assert catchup.elevator.forget("a") == [mine]
    catchup.waiting.remove(mine)
    catchup.settle()
    assert served(other) == (0, 1_024)
    assert not reads(catchup, A)
    assert None in catchup.runs
