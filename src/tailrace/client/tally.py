"""What `tailrace bench` finds out about records: how many, how late, in order, and whether any is missing. Pure.

Order: within a connection the offsets of a partition rise; what does not rise is a repeat or out of order. Loss, in
two ways. Of records that the run wrote itself, every connection must have as many as were acknowledged (with its key).
Of others, a connection misses what another with the same keys had, from the position it was told on: a hole in the
offsets alone proves nothing, since compaction and transactions leave holes.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from tailrace.client.latency import Histogram

_MS_NS: Final = 1_000_000


class Stamp(Struct, frozen=True):
    """The value of a record of our own. run: the run's mark. due_ns: when it was to be sent. pad: to the size."""

    run: str
    due_ns: int
    pad: str = ""


class Message(Struct, frozen=True):
    """What is read of a gateway's message."""

    type: str
    positions: dict[int, int] = {}
    partition: int = 0
    offset: int = 0
    timestamp: int | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")
    code: Any = None
    message: str = ""
    reason: str = ""
    from_: int = msgspec.field(default=0, name="from")
    to: int | None = None


class Ledger:
    """What all connections with the same keys have had together."""

    def __init__(self) -> None:
        self._offsets: dict[int, list[int]] = {}
        self._ends: dict[int, int] = {}

    def end(self) -> None:
        """What is known now everybody is to have."""
        self._ends = {partition: known[-1] for partition, known in self._offsets.items() if known}

    def add(self, partition: int, offset: int) -> None:
        """A connection had it; seldom is it not the newest or known."""
        known = self._offsets.setdefault(partition, [])
        if not known or offset > known[-1]:
            known.append(offset)
        elif known[at := bisect_left(known, offset)] != offset:
            known.insert(at, offset)

    def since(self, partition: int, first: int, last: int) -> int:
        """How many offsets somebody had from `first` to `last`, both included, or to the end where that is later."""
        known = self._offsets.get(partition, [])
        return bisect_left(known, max(last, self._ends.get(partition, -1)) + 1) - bisect_left(known, first)


class Reader:
    """One connection's records. key: of our own records, which it is to have; None: all of them."""

    def __init__(self, tally: "Tally", key: str | None) -> None:
        self.key = key
        self.own = 0
        self._tally = tally
        self._ledger = tally.ledger(key)
        self._places: dict[int, list[int]] = {}  # partition: first offset wanted, last one had, how many

    def begin(self, positions: Mapping[int, int]) -> None:
        """Where it was told that reading begins."""
        self._places = {partition: [offset, offset - 1, 0] for partition, offset in positions.items()}

    def record(self, message: Message, now_ns: int) -> None:
        """One has come."""
        tally, offset = self._tally, message.offset
        tally.records += 1
        place = self._places.setdefault(message.partition, [offset, offset - 1, 0])
        if offset > place[1]:
            place[1] = offset
            place[2] += 1
        else:
            tally.disordered += 1
        if tally.own(message.value, now_ns):
            self.own += 1
        elif tally.run is None:
            self._ledger.add(message.partition, offset)
            if message.timestamp is not None:
                tally.latency.add(now_ns - message.timestamp * _MS_NS)

    def missing(self, acknowledged: Mapping[str | None, int] | None) -> int:
        """How many it should have had and has not. acknowledged: of our own, by key; None: nothing was written."""
        if acknowledged is not None:
            wanted = sum(acknowledged.values()) if self.key is None else acknowledged.get(self.key, 0)
            return max(0, wanted - self.own)
        return sum(
            max(0, self._ledger.since(partition, first, last) - count)
            for partition, (first, last, count) in self._places.items()
        )


class Tally:
    """Of a whole run. run: the mark of records of our own; None: it writes none."""

    def __init__(self, run: str | None = None) -> None:
        self.run = run
        self.records = 0
        self.bytes = 0
        self.disordered = 0
        self.gaps: list[str] = []
        self.refusals: dict[str, int] = {}
        self.latency = Histogram()
        self._mark = None if run is None else f'{{"run":"{run}"'.encode()
        self._decode = msgspec.json.Decoder(Stamp).decode
        self._ledgers: dict[str | None, Ledger] = {}

    def begin(self) -> None:
        """What is timed and counted begins here; what is checked began with the first record."""
        self.records = self.bytes = 0
        self.latency = Histogram()

    def end(self) -> None:
        """Whatever one connection has had by now, every other with its keys is to have too."""
        for ledger in self._ledgers.values():
            ledger.end()

    def ledger(self, key: str | None) -> Ledger:
        """Shared by all with that key."""
        return self._ledgers.setdefault(key, Ledger())

    def own(self, value: msgspec.Raw, now_ns: int) -> bool:
        """Whether it is of this run; its latency is counted then."""
        if self._mark is None or not bytes(value).startswith(self._mark):
            return False
        self.latency.add(now_ns - self._decode(value).due_ns)
        return True

    def refuse(self, why: str) -> None:
        """A connection that did not come about, or ended."""
        self.refusals[why] = self.refusals.get(why, 0) + 1


def stamped(run: str, due_ns: int, size_bytes: int) -> bytes:
    """The value of a record of our own, of that size or a little more when it is very small."""
    bare = msgspec.json.encode(Stamp(run, due_ns))
    return msgspec.json.encode(Stamp(run, due_ns, "x" * max(0, size_bytes - len(bare))))
