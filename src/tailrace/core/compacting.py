"""The newest record of every key: one partition of a snapshot, compacted as Kafka would compact it. Pure.

A partition is a row of chunks which tile start <= offset < next: the newest record of every key below the row's end,
encoded in one format, in offset order. No tombstones, and no records without a key, which compaction removes too.
`Compacting` takes the records that follow and leads a row on to the end they reach.

Rules: a chunk never changes. Rows share the chunks in which nothing was superseded, so that whoever reads the old row
goes on undisturbed. Whatever is held is counted: in a `Tab` while it is being made, then in `Memory`, each chunk once.
"""

import itertools
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tailrace._fanout import Stretch
from tailrace.core.encode import TooLarge

CHUNK_BYTES = 256 * 1024  # of payloads; a stretch of them is built in the loop, in about 0.3 ms
CHUNK_RECORDS = 2048
# Records wait raw until there are this many bytes, or this share of the row: each time the whole row is looked through
# for what they supersede (20 ns a key), and a share keeps that linear in the length of the log.
MERGE_BYTES = 2**20
MERGE_SHARE = 8
RAW_BYTES = 290  # a Message and its place in a dict, without key and value (tracemalloc)
RECORD_BYTES = 8 + 8 + 4 + 1 + 48  # in a chunk: reference to the key, offset, end, opcode; the key's object and padding
EMPTY_BYTES = 700  # a chunk without records

_HOLE = 0  # in the place of an opcode: a record that cannot be shown in this format

Row = tuple["Chunk", ...]
Encode = Callable[[Any], tuple[int, bytes]]

_serials = itertools.count()


class Exceeded(Exception):
    """There is no memory left for snapshots."""


class Memory:
    """What all snapshots may take together. `held_bytes`: of the rows that are held."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._holders: Counter[Chunk] = Counter()
        self._tabs: set[Tab] = set()

    @property
    def used_bytes(self) -> int:
        """With what is being made."""
        return self.held_bytes + sum(tab.used_bytes for tab in tuple(self._tabs))

    def tab(self) -> "Tab":
        """For one who makes rows, in a thread of its own; `close` it."""
        tab = Tab(self)
        self._tabs = self._tabs | {tab}  # a new set: others are being summed up in their threads
        return tab

    def close(self, tab: "Tab") -> None:
        """What it made is held from now on, or gone."""
        self._tabs = self._tabs - {tab}

    def hold(self, rows: Iterable[Row]) -> None:
        for chunk in itertools.chain.from_iterable(rows):
            self.held_bytes += 0 if self._holders[chunk] else chunk.memory_bytes
            self._holders[chunk] += 1

    def drop(self, rows: Iterable[Row]) -> set[int]:
        """These are held by one less. The serials of those that nobody holds any more."""
        gone = set()
        for chunk in itertools.chain.from_iterable(rows):
            self._holders[chunk] -= 1
            if not self._holders[chunk]:
                del self._holders[chunk]
                self.held_bytes -= chunk.memory_bytes
                gone.add(chunk.serial)
        return gone


class Tab:
    """What one maker has taken and nobody holds yet."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.used_bytes = 0

    def take(self, count_bytes: int) -> None:
        """Raises Exceeded when that is more than there is. Negative: give back."""
        self.used_bytes += count_bytes
        if count_bytes > 0 and self._memory.used_bytes > self._memory.limit_bytes:
            raise Exceeded


class Chunk:
    """Records of one partition in one format, in offset order: all that is wanted of start <= offset < next."""

    __slots__ = ("_ends", "_keys", "_offsets", "_opcodes", "_payloads", "memory_bytes", "next", "serial", "start")

    def __init__(self, draft: "_Draft", next: int) -> None:
        self.serial = _serials.__next__()
        self.start = draft.start
        self.next = next
        self._offsets = array("q", draft.offsets)
        self._opcodes = bytes(draft.opcodes)
        self._payloads = b"".join(draft.payloads)
        self._ends = array("I", draft.ends)
        self._keys = tuple(draft.keys)
        keys_bytes = sum(map(len, draft.keys))
        self.memory_bytes = EMPTY_BYTES + len(self._payloads) + keys_bytes + RECORD_BYTES * len(draft.keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def payload_bytes(self) -> int:
        return len(self._payloads)

    @property
    def offsets(self) -> list[int]:
        """Of its records."""
        return list(self._offsets)

    def stretch(self, format: int, partition: int) -> Stretch:
        """The same for the core, framed."""
        stretch = Stretch(format, partition, self.start)
        begin = 0
        for offset, opcode, end, key in zip(self._offsets, self._opcodes, self._ends, self._keys, strict=True):
            if opcode == _HOLE:
                stretch.append_hole(offset, key)
            else:
                stretch.append(opcode, self._payloads[begin:end], offset, key)
            begin = end
        stretch.seal(self.next)
        return stretch

    def without(self, superseded: Mapping[bytes, Any]) -> "Chunk":
        """Itself when it has none of these keys."""
        if superseded.keys().isdisjoint(self._keys):
            return self
        draft = _Draft(self.start)
        self.copy_to(draft, superseded)
        return Chunk(draft, self.next)

    def copy_to(self, draft: "_Draft", superseded: Mapping[bytes, Any]) -> None:
        begin = 0
        for offset, opcode, end, key in zip(self._offsets, self._opcodes, self._ends, self._keys, strict=True):
            if key not in superseded:
                draft.add(offset, opcode, self._payloads[begin:end], key)
            begin = end


class _Draft:
    """A chunk in the making."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.offsets: list[int] = []
        self.opcodes = bytearray()
        self.payloads: list[bytes] = []
        self.ends: list[int] = []
        self.keys: list[bytes] = []
        self.payload_bytes = 0

    def add(self, offset: int, opcode: int, payload: bytes, key: bytes) -> None:
        self.payload_bytes += len(payload)
        self.offsets.append(offset)
        self.opcodes.append(opcode)
        self.payloads.append(payload)
        self.ends.append(self.payload_bytes)
        self.keys.append(key)

    @property
    def full(self) -> bool:
        return self.payload_bytes >= CHUNK_BYTES or len(self.keys) >= CHUNK_RECORDS


class Compacting:
    """Leads `rows[partition]` on: `take` what follows, then `finish`; the row there is true as of then.

    rows: a mapping of one's own, whose rows are replaced on the way, chunk by chunk. owned: the chunks in them are
    counted by `tab` already, not in Memory: what is superseded is given back at once. start: of a row that is empty.
    `broken`: the first fault of ours in encoding, with its offset.
    """

    def __init__(
        self, rows: dict[int, Row], partition: int, start: int, encode: Encode, tab: Tab, owned: bool = False
    ) -> None:
        self._rows = rows
        self._partition = partition
        self._start = start
        self._encode = encode
        self._tab = tab
        self._row: Row = rows.setdefault(partition, ())
        self._own = {chunk.serial for chunk in self._row} if owned else set()
        self._row_bytes = sum(chunk.memory_bytes for chunk in self._row)
        self._newest: dict[bytes, Any] = {}
        self._newest_bytes = 0
        self._next = start
        self.broken: tuple[int, Exception] | None = None

    def take(self, records: Iterable[Any]) -> None:
        """Records in offset order, all behind what was taken before. Raises Exceeded."""
        newest, before = self._newest, self._newest_bytes
        for record in records:
            self._next = record.offset() + 1
            if (key := record.key()) is None:
                continue
            former = newest.pop(key, None)  # so that the dict stays in offset order
            self._newest_bytes += _raw_bytes(key, record) - (0 if former is None else _raw_bytes(key, former))
            newest[key] = record
        self._tab.take(self._newest_bytes - before)
        if self._newest_bytes > max(MERGE_BYTES, self._row_bytes // MERGE_SHARE):
            self._merge(self._next)

    def finish(self, next: int) -> None:
        """There is nothing more below `next`. Raises Exceeded."""
        self._merge(next)
        self._join()

    def _merge(self, next: int) -> None:
        newest, self._newest = self._newest, {}
        for at, chunk in enumerate(self._row if newest else ()):
            self._replace(at, chunk.without(newest))
        self._append(newest.values(), next)
        self._tab.take(-self._newest_bytes)
        self._newest_bytes = 0

    def _replace(self, at: int, chunk: Chunk) -> None:
        before = self._row[at]
        if chunk is not before:
            self._set((*self._row[:at], chunk, *self._row[at + 1 :]), (chunk,), (before,))

    def _append(self, records: Iterable[Any], next: int) -> None:
        draft = _Draft(self._row[-1].next if self._row else self._start)
        for record in records:
            if record.value() is None:
                continue
            if draft.full:
                draft = self._put(draft, record.offset())
            draft.add(record.offset(), *self._encoded(record), record.key())
        if draft.start < next:
            self._put(draft, next)

    def _put(self, draft: _Draft, next: int) -> _Draft:
        """At the end of the row; what follows begins a new one."""
        chunk = Chunk(draft, next)
        self._set((*self._row, chunk), (chunk,), ())
        return _Draft(next)

    def _join(self) -> None:
        """Neighbours of which little is left become one: as many keys, never more chunks than they need."""
        at = 1
        while at < len(self._row):
            one, other = self._row[at - 1 : at + 1]
            both = len(one) + len(other)
            if both > CHUNK_RECORDS // 2 or one.payload_bytes + other.payload_bytes > CHUNK_BYTES // 2:
                at += 1
                continue
            draft = _Draft(one.start)
            one.copy_to(draft, {})
            other.copy_to(draft, {})
            joined = Chunk(draft, other.next)
            self._set((*self._row[: at - 1], joined, *self._row[at + 1 :]), (joined,), (one, other))

    def _set(self, row: Row, added: Row, removed: Row) -> None:
        """The row is this now: what is not shared with another row is given back."""
        self._row = self._rows[self._partition] = row
        grown = sum(chunk.memory_bytes for chunk in added)
        for chunk in removed:
            self._row_bytes -= chunk.memory_bytes
            if chunk.serial in self._own:
                self._own.discard(chunk.serial)
                grown -= chunk.memory_bytes
        self._own.update(chunk.serial for chunk in added)
        self._row_bytes += sum(chunk.memory_bytes for chunk in added)
        self._tab.take(grown)

    def _encoded(self, record: Any) -> tuple[int, bytes]:
        try:
            return self._encode(record)
        except Exception as error:  # noqa: BLE001  one record must not end the snapshot
            if not isinstance(error, TooLarge):
                self.broken = self.broken or (record.offset(), error)
            return _HOLE, b""


def covering(row: Row, offset: int) -> Chunk | None:
    """The chunk with start <= offset < next."""
    at = bisect_right(row, offset, key=lambda chunk: chunk.start)
    return row[at - 1] if at and offset < row[at - 1].next else None


def from_offset(row: Row, offset: int) -> Row:
    """What is left of a row whose log begins at `offset` now."""
    return tuple(chunk for chunk in row if chunk.next > offset)


def _raw_bytes(key: bytes, record: Any) -> int:
    return RAW_BYTES + len(key) + len(record)
