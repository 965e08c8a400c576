"""Blocks by what they cover: found, bounded in bytes, revoked when they go."""

import pytest

from tailrace.core.block_cache import ENTRY_BYTES, BlockCache


class PlainBlock:
    def __init__(self, start: int, next: int, memory_bytes: int = 1000 - ENTRY_BYTES) -> None:
        self.start = start
        self.next = next
        self.memory_bytes = memory_bytes
        self.revoked = 0

    def revoke(self) -> list[str]:
        self.revoked += 1
        return [f"reader of {self.start}"]


Cache = BlockCache[str, PlainBlock]


def filled(*blocks: PlainBlock, max_bytes: int = 1_000_000) -> Cache:
    cache: Cache = BlockCache(max_bytes)
    for block in blocks:
        cache.add("a", block)
    return cache


def test_a_block_is_found_by_every_offset_it_covers() -> None:
    low, high = PlainBlock(10, 20), PlainBlock(30, 40)
    cache = filled(high, low)
    assert [cache.find("a", offset) for offset in (9, 10, 19, 20, 29, 30, 39, 40)] == [
        None, low, low, None, None, high, high, None
    ]  # fmt: skip
    assert cache.find("b", 10) is None
    assert [cache.covered("a", offset) for offset in (9, 15, 20, 30)] == [None, 20, None, 40]


def test_of_blocks_that_overlap_one_that_covers_the_offset_is_found() -> None:
    cache = filled(PlainBlock(0, 1024), PlainBlock(870, 2000))
    assert [cache.covered("a", offset) for offset in (0, 869, 870, 1023, 1999)] == [1024, 1024, 2000, 2000, 2000]


def test_the_one_unused_for_the_longest_is_revoked_first() -> None:
    blocks = [PlainBlock(each, each + 1) for each in range(4)]
    cache = filled(*blocks[:3], max_bytes=3000)
    cache.find("a", 0)
    cache.covered("a", 1)  # asking is no use
    assert cache.add("a", blocks[3]) == ["reader of 1"]
    assert [block.revoked for block in blocks] == [0, 1, 0, 0]
    assert (len(cache), cache.memory_bytes) == (3, 3000)
    assert cache.find("a", 1) is None


def test_the_newest_is_kept_however_large() -> None:
    small, large = PlainBlock(0, 1), PlainBlock(1, 2, memory_bytes=10_000)
    cache = filled(small, large, max_bytes=3000)
    assert (small.revoked, large.revoked, len(cache)) == (1, 0, 1)
    cache.add("a", PlainBlock(2, 3))
    assert (large.revoked, cache.memory_bytes) == (1, 1000)


@pytest.mark.parametrize(("next", "kept"), [(15, "old"), (20, "old"), (21, "new")])
def test_from_the_same_start_the_longer_one_stays(next: int, kept: str) -> None:
    old, new = PlainBlock(10, 20), PlainBlock(10, next)
    cache = filled(old, new)
    assert cache.find("a", 10) is (old if kept == "old" else new)
    assert (old.revoked, new.revoked, cache.memory_bytes) == (int(kept == "new"), 0, 1000)


def test_a_block_that_covers_nothing_is_not_kept() -> None:
    cache = filled(PlainBlock(10, 10))
    assert (len(cache), cache.memory_bytes) == (0, 0)


def test_chosen_series_are_dropped_and_their_readers_told() -> None:
    cache = filled(PlainBlock(0, 1), PlainBlock(1, 2))
    other = PlainBlock(5, 6)
    cache.add("b", other)
    assert sorted(cache.drop(lambda series: series == "a")) == ["reader of 0", "reader of 1"]
    assert (len(cache), cache.memory_bytes, other.revoked) == (1, 1000, 0)
    assert cache.find("b", 5) is other
