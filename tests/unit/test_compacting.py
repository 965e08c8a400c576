"""Rows of chunks against an oracle of three lines, for any log and any way of cutting it up.

Keys are few and limits tiny, so that a few dozen records make many chunks, merges and joins.
"""

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plain_client import Client

from tailrace import _fanout
from tailrace.core import compacting
from tailrace.core.compacting import (
    Chunk,
    Compacting,
    Exceeded,
    Memory,
    Row,
    Tab,
    covering,
    from_offset,
)
from tailrace.core.encode import ENCODE, Encoder, TooLarge

START = 100  # where the log begins
Log = list[tuple[bytes | None, bytes | None]]

KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f", None])
VALUES = st.one_of(st.none(), st.sampled_from([b"", b"x", b"y" * 40]))
LOGS = st.lists(st.tuples(KEYS, VALUES), max_size=60)


class Record:
    """A `confluent_kafka.Message`, as far as it is read."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self.offset, self.key, self.value = (lambda: offset), (lambda: key), (lambda: value)

    def __len__(self) -> int:
        return len(self.value() or b"")


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compacting, "CHUNK_BYTES", 60)
        patch.setattr(compacting, "CHUNK_RECORDS", 4)
        patch.setattr(compacting, "MERGE_BYTES", 1000)
        yield


def encode(record: Any) -> tuple[int, bytes]:
    return 2, b"%d=%s" % (record.offset(), record.value())


def newest(log: Log, end: int) -> list[int]:
    """The oracle: the offsets of the last record of every key below `end`, if that is no tombstone."""
    last = {key: offset for offset, (key, _) in enumerate(log, START) if offset < end and key is not None}
    return sorted(offset for offset in last.values() if log[offset - START][1] is not None)


def texts(log: Log, offsets: list[int]) -> list[bytes]:
    return [encode(Record(offset, *log[offset - START]))[1] for offset in offsets]


def below(log: Log, start: int, end: int) -> list[Record]:
    return [Record(offset, *log[offset - START]) for offset in range(start, end)]


def offsets_of(row: Row) -> list[int]:
    return [offset for chunk in row for offset in chunk.offsets]


def sent(row: Row) -> list[bytes]:
    """What a subscriber of all of it receives."""
    client = Client(_fanout)
    tail = _fanout.Tail(_fanout.VALUE, [10_000])
    floor = {0: row[0].start if row else START}
    reader = _fanout.Subscription(client.line, tail, 1, None, tail.end, floor, None, True)
    for chunk in row:
        reader.feed(chunk.stretch(_fanout.VALUE, 0))
        client.drain(_fanout)
    assert reader.positions == {0: row[-1].next if row else START}
    frames = client.read()
    client.close()
    return [frame.payload for frame in frames]


def tiles(row: Row, start: int, end: int) -> None:
    """Without a hole between two chunks, and none that should have been joined."""
    assert [chunk.start for chunk in row] == [start, *(chunk.next for chunk in row[:-1])] if row else start == end
    assert (row[-1].next if row else start) == end
    for one, other in itertools.pairwise(row):
        assert len(one) + len(other) > 2 or one.payload_bytes + other.payload_bytes > 30, "little is left of both"
    assert all(len(chunk) <= 4 for chunk in row)


class Ladder:
    """A log that is compacted as of one end after the other, by records handed over a few at a time."""

    def __init__(self, log: Log, steps: list[int], owned: bool = False, limit_bytes: int = 10**9) -> None:
        self.log = log
        self.steps = steps
        self.owned = owned
        self.memory = Memory(limit_bytes)
        self.end = START
        self.rows: dict[int, Row] = {}

    def climb(self, end: int) -> Row:
        tab = self.memory.tab()
        if self.owned:
            tab.used_bytes = sum(chunk.memory_bytes for row in self.rows.values() for chunk in row)
        rows = self.rows if self.owned else dict(self.rows)
        making = Compacting(rows, 0, self.end, encode, tab, self.owned)
        at = self.end
        for step in self.steps:
            making.take(below(self.log, at, min(at + step, end)))
            at = min(at + step, end)
        making.take(below(self.log, at, end))
        making.finish(end)
        self.made = tab
        self.memory.close(tab)
        self.rows, self.end = rows, end
        return rows[0]


def ends_in(log: Log) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(START, START + len(log)), max_size=4).map(sorted)


@given(LOGS, st.data())
def test_every_version_is_the_newest_of_every_key_as_of_its_end(log: Log, data: st.DataObject) -> None:
    ends = data.draw(ends_in(log))
    ladder = Ladder(log, data.draw(st.lists(st.integers(0, 9), max_size=9)))
    versions = [(end, ladder.climb(end)) for end in ends]
    for end, row in versions:  # looked at when all have been made: the older ones have not changed
        assert offsets_of(row) == newest(log, end)
        assert sent(row) == texts(log, newest(log, end))
        tiles(row, START, end)


@given(LOGS, st.data())
def test_what_is_made_is_counted_once_and_given_back(log: Log, data: st.DataObject) -> None:
    ladder = Ladder(log, [3] * 20)
    held: list[Row] = []
    for end in data.draw(ends_in(log)):
        before = {chunk.serial for row in held for chunk in row}
        held.append(ladder.climb(end))
        ladder.memory.hold([held[-1]])
        assert ladder.made.used_bytes == sum(chunk.memory_bytes for chunk in held[-1] if chunk.serial not in before)
        assert ladder.memory.used_bytes == sum({c.serial: c.memory_bytes for row in held for c in row}.values())
    for row in held:
        ladder.memory.drop([row])
    assert ladder.memory.used_bytes == 0


@given(LOGS, st.data())
def test_a_row_of_ones_own_gives_back_what_is_superseded_at_once(log: Log, data: st.DataObject) -> None:
    ladder = Ladder(log, [5] * 20, owned=True)
    for end in data.draw(ends_in(log)):
        row = ladder.climb(end)
        assert offsets_of(row) == newest(log, end)
        assert ladder.made.used_bytes == sum(chunk.memory_bytes for chunk in row)


class Reader(dict[int, Row]):
    """Rows under which somebody reads: a chunk further with every change, if his turn has come. He holds the bound of
    the version he began with, and reads the log from there."""

    def __init__(self, rows: dict[int, Row], log: Log, bound: int, turns: Iterator[bool]) -> None:
        super().__init__(rows)
        self.log, self.bound, self.turns = log, bound, turns
        self.next = START
        self.state: dict[bytes, bytes] = {}

    def __setitem__(self, partition: int, row: Row) -> None:
        super().__setitem__(partition, row)
        if next(self.turns, False):
            self.read()

    def read(self) -> None:
        chunk = covering(self[0], self.next) if self.next < self.bound else None
        if chunk is not None:
            for offset in chunk.offsets:
                if self.next <= offset < self.bound:
                    self.had(offset)
            self.next = min(chunk.next, self.bound)

    def had(self, offset: int) -> None:
        key, value = self.log[offset - START]
        if key is not None and value is not None:
            self.state[key] = value
        elif key is not None:
            self.state.pop(key, None)

    def finish(self) -> dict[bytes, bytes]:
        while self.next < self.bound:
            self.read()
        for offset in range(self.bound, START + len(self.log)):
            self.had(offset)
        return self.state


@given(LOGS, st.data())
def test_who_reads_a_row_while_it_is_led_on_has_the_true_state_in_the_end(log: Log, data: st.DataObject) -> None:
    bound = data.draw(st.integers(START, START + len(log)))
    ladder = Ladder(log, [4] * 20, owned=True)
    ladder.climb(bound)
    reader = Reader(ladder.rows, log, bound, iter(data.draw(st.lists(st.booleans(), max_size=40))))
    ladder.rows = reader
    for end in data.draw(ends_in(log)):
        if end > bound:
            ladder.climb(max(end, ladder.end))
    assert reader.finish() == {key: value for key, value in dict(log).items() if key is not None and value is not None}


# --- examples ---


def test_offsets_that_the_log_does_not_have_are_covered() -> None:
    rows: dict[int, Row] = {}
    making = Compacting(rows, 0, START, encode, Memory(10**9).tab())
    making.take([Record(150, b"a", b"1"), Record(900, b"b", b"2")])
    making.finish(1_000_000)
    assert [(chunk.start, chunk.next, chunk.offsets) for chunk in rows[0]] == [(START, 1_000_000, [150, 900])]
    assert [covering(rows[0], offset) is rows[0][0] for offset in (START - 1, START, 999_999, 1_000_000)] == [
        False, True, True, False
    ]  # fmt: skip


def test_a_row_in_which_nothing_was_superseded_is_shared() -> None:
    log: Log = [(b"%d" % each, b"x" * 20) for each in range(12)] + [(b"5", b"new"), (b"z", b"new")]
    ladder = Ladder(log, [])
    before, after = ladder.climb(START + 12), ladder.climb(START + 14)
    same = {chunk.serial for chunk in before} & {chunk.serial for chunk in after}
    changed = covering(before, START + 5)
    assert changed is not None
    assert same == {chunk.serial for chunk in before} - {changed.serial}


def test_what_the_log_no_longer_has_is_left_behind() -> None:
    log: Log = [(b"%d" % each, b"x" * 20) for each in range(12)]
    row = Ladder(log, []).climb(START + 12)
    assert len(row) > 2
    kept = from_offset(row, row[1].start)
    assert kept == row[1:]
    assert from_offset(row, row[1].start + 1) == row[1:], "a chunk that lasts beyond it is kept"
    assert from_offset(row, START + 12) == ()


def test_no_more_than_the_memory_there_is() -> None:
    log: Log = [(b"%d" % each, b"x" * 100) for each in range(50)]
    room = Ladder(log, [10] * 5)
    row = room.climb(START + 50)
    needed = sum(chunk.memory_bytes for chunk in row)
    # What waits raw is counted too, and the records that follow supersede nothing.
    Ladder(log, [10] * 5, limit_bytes=needed + 10 * (compacting.RAW_BYTES + 102)).climb(START + 50)
    with pytest.raises(Exceeded):
        Ladder(log, [10] * 5, limit_bytes=needed).climb(START + 50)


def test_several_makers_share_the_memory() -> None:
    memory = Memory(1000)
    one, other = memory.tab(), memory.tab()
    one.take(600)
    with pytest.raises(Exceeded):
        other.take(500)
    memory.close(other)
    one.take(400)
    with pytest.raises(Exceeded):
        one.take(1)


def test_a_hundred_versions_of_one_key_take_the_memory_of_one() -> None:
    log: Log = [(b"hot", b"x" * 100) for _ in range(10_000)]
    assert offsets_of(Ladder(log, [100] * 100, limit_bytes=50_000).climb(START + 10_000)) == [START + 9_999]


def test_a_record_that_cannot_be_shown_is_a_hole() -> None:
    def refuse(record: Any) -> tuple[int, bytes]:
        if record.key() == b"large":
            raise TooLarge(2, 1)
        if record.key() == b"broken":
            raise RuntimeError("a fault of ours")
        return encode(record)

    rows: dict[int, Row] = {}
    making = Compacting(rows, 0, START, refuse, Tab(Memory(10**9)))
    making.take([Record(100 + at, key, b"v") for at, key in enumerate([b"a", b"large", b"broken"])])
    making.finish(103)
    [chunk] = rows[0]
    assert chunk.offsets == [100, 101, 102]
    assert making.broken is not None
    assert (making.broken[0], str(making.broken[1])) == (102, "a fault of ours"), "too large is no fault"
    client = Client(_fanout)
    tail = _fanout.Tail(_fanout.VALUE, [200])
    reader = _fanout.Subscription(client.line, tail, 1, None, 0, {0: 100}, None, True)
    reader.feed(chunk.stretch(_fanout.VALUE, 0))
    assert [frame.payload for frame in client.drain(_fanout)] == [b"100=v"]
    assert reader.state == _fanout.HOLED
    client.close()


@pytest.mark.parametrize(("format", "opcode"), [(_fanout.JSON, 1), (_fanout.MSGPACK, 2), (_fanout.VALUE, 1)])
def test_the_format_decides_how_a_record_is_encoded(format: int, opcode: int) -> None:
    record = Record(1, b"k", b"{}")
    record.partition, record.timestamp, record.headers = (lambda: 0), (lambda: (0, 0)), (lambda: None)  # type: ignore
    found, payload = ENCODE[format](Encoder("t"), record)
    assert found == opcode
    assert (payload == b"{}") == (format == _fanout.VALUE)


def test_a_chunk_is_measured() -> None:
    """Against what the interpreter says, within a tenth."""
    count = 500
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compacting, "CHUNK_BYTES", 10**6)
        patch.setattr(compacting, "CHUNK_RECORDS", count)
        patch.setattr(compacting, "MERGE_BYTES", 10**9)
        [chunk] = Ladder([(b"key-%06d" % each, b"x" * 50) for each in range(count)], []).climb(START + count)
    parts: list[Any] = [getattr(chunk, name) for name in Chunk.__slots__]
    real = sum(map(sys.getsizeof, parts)) + sum(-(-sys.getsizeof(key) // 16) * 16 for key in parts[1])
    assert real == pytest.approx(chunk.memory_bytes, rel=0.1)
