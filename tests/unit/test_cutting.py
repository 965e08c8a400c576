"""Records into blocks: where one ends and the next begins, and that each holds everything in between."""

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plain_log import records
from tests.plain_record import PlainRecord

from tailrace._fanout import JSON, MSGPACK, VALUE
from tailrace.core.cutting import CAP_BYTES, Block, Cutter
from tailrace.core.encode import Encoder


def cutter(start: int, encoder: Encoder | None = None) -> Cutter:
    return Cutter(0, start, encoder or Encoder("orders"))


def cut(start: int, waiting: deque[Any], stride: int = 1024, at_most: int = 10_000) -> Block | None:
    """The first block."""
    cutting = cutter(start)
    cutting.open([VALUE], stride)
    return cutting.take(waiting, at_most)


def bounds(block: Block | None) -> tuple[int, int, int]:
    """start, next, records."""
    assert block is not None
    [stretch] = block.stretches.values()
    assert (stretch.start, stretch.next) == (block.start, block.next)
    return block.start, block.next, stretch.records


def test_a_block_ends_at_the_next_multiple_of_its_stride() -> None:
    waiting = records(*range(1500, 2100))
    assert bounds(cut(1500, waiting)) == (1500, 2048, 548)
    assert waiting[0].offset() == 2048, "the first of the next block is not taken"


def test_it_is_complete_only_when_a_record_beyond_it_was_seen() -> None:
    assert cut(0, records(*range(1024))) is None
    assert bounds(cut(0, records(*range(1025)))) == (0, 1024, 1024)


def test_offsets_that_the_log_does_not_have_belong_to_the_block_before_them() -> None:
    assert bounds(cut(0, records(5, 900, 1_000_000))) == (0, 1_000_000, 2)
    assert bounds(cut(10, records(1_000_000))) == (10, 1_000_000, 0)


def test_it_ends_once_its_bytes_are_reached() -> None:
    waiting = records(*range(100), value=b"x" * (CAP_BYTES // 4))
    assert bounds(cut(0, waiting)) == (0, 4, 4)
    assert bounds(cut(4, waiting)) == (4, 8, 4)


def test_one_record_larger_than_all_bytes_is_a_block() -> None:
    assert bounds(cut(7, records(7, 8, value=b"x" * (2 * CAP_BYTES)))) == (7, 8, 1)


def test_the_log_can_end_it() -> None:
    cutting = cutter(0)
    cutting.open([VALUE], 1024)
    assert cutting.take(records(0, 1, 5), 10) is None
    assert cutting.expected == 6
    assert bounds(cutting.close(9)) == (0, 9, 3)
    assert not cutting.is_open
    assert (cutting.position, cutting.expected) == (9, 9)


def test_it_takes_no_more_at_once_than_it_is_told() -> None:
    waiting = records(*range(2000))
    cutting = cutter(0)
    cutting.open([VALUE], 1024)
    assert cutting.take(waiting, 1000) is None
    assert len(waiting) == 1000
    assert bounds(cutting.take(waiting, 1000)) == (0, 1024, 1024)


def test_a_record_that_was_had_already_is_left_out() -> None:
    """A broker sends whole batches."""
    assert bounds(cut(5, records(3, 4, 5, 5, 6, 4, 1024))) == (5, 1024, 2)


def test_every_format_asked_for_covers_the_same() -> None:
    cutting = cutter(0)
    cutting.open([JSON, MSGPACK, VALUE], 1024)
    block = cutting.take(records(0, 1, 2, 1024), 10)
    assert block is not None
    assert {each: (stretch.format, stretch.next, stretch.records) for each, stretch in block.stretches.items()} == {
        each: (each, 1024, 3) for each in (JSON, MSGPACK, VALUE)
    }


def test_the_largest_format_says_when_it_is_full() -> None:
    cutting = cutter(0)
    cutting.open([JSON, VALUE], 1024)
    block = cutting.take(records(*range(1024), value=b"%0200d" % 0), 2000)
    assert block is not None
    assert block.next < 1024
    assert CAP_BYTES <= block.full_bytes < CAP_BYTES + 400


def test_a_record_too_large_is_a_hole_among_values_and_a_gap_in_messages() -> None:
    cutting = cutter(0, Encoder("orders", max_record_bytes=1000))
    cutting.open([JSON, VALUE], 1024)
    waiting = deque([PlainRecord(0, 0), PlainRecord(0, 1, b"x" * 2000), PlainRecord(0, 2), PlainRecord(0, 1024)])
    block = cutting.take(waiting, 10)
    assert block is not None
    assert (block.too_large, block.broken) == (2, None)
    assert [block.stretches[each].records for each in (JSON, VALUE)] == [3, 3]
    assert block.stretches[JSON].memory_bytes > 0


def test_a_record_that_cannot_be_encoded_is_a_hole_and_told() -> None:
    class Broken(PlainRecord):
        def timestamp(self) -> tuple[int, int]:
            raise ZeroDivisionError

    cutting = cutter(0)
    cutting.open([JSON], 1024)
    block = cutting.take(
        deque([PlainRecord(0, 0), Broken(0, 1), Broken(0, 2), PlainRecord(0, 3), PlainRecord(0, 2000)]), 10
    )
    assert bounds(block) == (0, 2000, 4)
    assert block is not None
    assert block.broken is not None
    assert (block.broken[0], type(block.broken[1])) == (1, ZeroDivisionError)


def test_what_was_counted_is_of_this_block() -> None:
    encoder = Encoder("orders", "json", max_record_bytes=1000)
    cutting = cutter(0, encoder)
    waiting = deque(PlainRecord(0, each, b"no json") for each in (0, 1, 5))
    counted = []
    for _ in range(2):
        cutting.open([JSON], 2)
        block = cutting.take(waiting, 10) or cutting.close(6)
        counted.append(block.not_json)
    assert counted == [2, 1]


@given(
    offsets=st.sets(st.integers(0, 5000), min_size=1, max_size=60),
    sizes=st.lists(st.sampled_from([1, 200, CAP_BYTES // 3, CAP_BYTES]), min_size=1, max_size=10),
    stride=st.sampled_from([1, 8, 1024]),
    piece=st.integers(1, 70),
    start=st.integers(0, 5000),
)
def test_blocks_follow_each_other_without_a_hole(
    offsets: set[int], sizes: list[int], stride: int, piece: int, start: int
) -> None:
    log = [PlainRecord(0, each, b"x" * sizes[each % len(sizes)]) for each in sorted(offsets)]
    waiting, cutting, blocks = deque(log), cutter(start), []
    while waiting:
        if not cutting.is_open:
            cutting.open([VALUE], stride)
        if (block := cutting.take(waiting, piece)) is not None:
            blocks.append(block)
    if cutting.is_open:
        blocks.append(cutting.close(max(5001, start)))
    place = start
    for block in blocks:
        expected = [each for each in offsets if place <= each < block.next]
        assert bounds(block) == (place, block.next, len(expected))
        assert block.next > place
        place = block.next
    assert place >= max(start, max(offsets) + 1)


@pytest.mark.parametrize("stride", [1, 2, 256, 1024])
def test_blocks_begin_at_multiples_of_the_stride(stride: int) -> None:
    waiting, cutting = records(*range(3000)), cutter(0)
    for begin in range(0, 2000, stride):
        cutting.open([VALUE], stride)
        assert bounds(cutting.take(waiting, 3000)) == (begin, begin + stride, stride)
