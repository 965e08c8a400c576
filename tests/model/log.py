"""Kafka's log as the model sees it: partitions of numbered records, and everything that may become of them.

A partition is a dict from offset to record; offsets without one are control markers, aborted or compacted. Nothing is
ever forgotten: `ever` keeps each record that stood at an offset, so that what a client received can be told apart from
what it should have. Offsets are given out as Kafka does, transactions hold up the stable end, and a record that is
truncated stays known by its serial number.
"""

import itertools
import json
from collections import defaultdict
from typing import Any

NAME = "topic"


class Entry:
    """A record, and a message as confluent_kafka has them. must: nothing but retention explains its absence."""

    __slots__ = ("_key", "_offset", "_partition", "committed", "must", "serial", "size")

    def __init__(self, serial: int, partition: int, offset: int, key: bytes | None, size: int) -> None:
        self.serial = serial
        self.size = size
        self.committed = False
        self.must = True
        self._partition = partition
        self._offset = offset
        self._key = key

    def topic(self) -> str:
        return NAME

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes:
        return json.dumps({"serial": self.serial, "pad": "." * self.size}).encode()

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def headers(self) -> None:
        return None

    def error(self) -> None:
        return None

    def __len__(self) -> int:
        return len(self.value())

    def __repr__(self) -> str:
        return f"<{self._partition}/{self._offset} #{self.serial} {self._key!r}>"


class Partition:
    """beginning..end is what the broker has; below `stable` everything is decided."""

    def __init__(self) -> None:
        self.beginning = 0
        self.end = 0
        self.open: int | None = None  # where the open transaction began
        self.truncations = 0
        self.highest = 0  # that `stable` ever was, before a truncation
        self.stuck = False
        self.records: dict[int, Entry] = {}
        self.ever: defaultdict[int, list[Entry]] = defaultdict(list)

    @property
    def stable(self) -> int:
        """The end for a reader of committed records."""
        return self.end if self.open is None else self.open

    def committed(self, start: int, stop: int) -> list[Entry]:
        """What a read_committed reader gets of start <= offset < stop."""
        offsets = range(max(start, self.beginning), min(stop, self.stable))
        return [self.records[offset] for offset in offsets if offset in self.records]

    def owed(self, start: int, stop: int, keys: frozenset[bytes | None] | None) -> list[Entry]:
        """The oracle: who wants these keys and has had everything before `start` must not get to `stop` without it."""
        offsets = range(start, min(stop, self.stable))
        wanted = (self.records[offset] for offset in offsets if offset in self.records)
        return [each for each in wanted if each.must and (keys is None or each.key() in keys)]


class Log:
    """One topic, by name; `topic_id` is another one when it was recreated."""

    def __init__(self, partitions: int) -> None:
        self._serials = itertools.count(1)
        self._incarnations = itertools.count(1)
        self.recreate(partitions)

    def recreate(self, partitions: int) -> None:
        """Deleted and created again: the old records are in nobody's way any more."""
        self.topic_id = f"id-{next(self._incarnations)}"
        self.partitions = [Partition() for _ in range(partitions)]

    def grow(self) -> None:
        self.partitions.append(Partition())

    def append(self, number: int, key: bytes | None, size: int, in_transaction: bool = False) -> None:
        """A record; one in a transaction is seen once that is committed."""
        partition = self.partitions[number]
        if in_transaction and partition.open is None:
            partition.open = partition.end
        entry = Entry(next(self._serials), number, partition.end, key, size)
        entry.committed = not in_transaction
        partition.records[partition.end] = entry
        partition.ever[partition.end].append(entry)
        partition.end += 1

    def finish(self, number: int, commit: bool) -> None:
        """The transaction ends, with a control marker."""
        partition = self.partitions[number]
        if partition.open is None:
            return
        for offset in range(partition.open, partition.end):
            entry = partition.records.get(offset)
            if entry is not None and not entry.committed:
                entry.committed = commit
                if not commit:
                    del partition.records[offset]
        partition.open = None
        partition.end += 1

    def compact(self, number: int, offset: int) -> None:
        """One record less. Who is quick may still get it."""
        partition = self.partitions[number]
        if offset < partition.stable - 1 and offset in partition.records:
            partition.records.pop(offset).must = False

    def retain(self, number: int, beginning: int) -> None:
        """Forget what is before, in Kafka's log; `owed` does not forget it: it must be named."""
        partition = self.partitions[number]
        partition.beginning = max(partition.beginning, min(beginning, partition.stable))

    def truncate(self, number: int, end: int) -> None:
        """A new leader has less of it: those records are gone, and their offsets are given out again."""
        partition = self.partitions[number]
        partition.highest = max(partition.highest, partition.stable)
        for offset in range(end, partition.end):
            partition.records.pop(offset, None)
        if partition.open is not None and partition.open >= end:
            partition.open = None
        partition.end = end
        partition.truncations += 1

    def find(self, serial: Any, number: int, offset: int) -> Entry | None:
        """The record that stands there or stood there, if it is of this topic."""
        found = [each for each in self.partitions[number].ever[offset] if each.serial == serial]
        return found[0] if found else None
