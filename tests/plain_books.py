"""The books of the model test: what every subscription must have had, and what every connection must have received.

`Reader.wanted` is the whole oracle: the records of the log from its begin on that its keys and its floor let through,
up to the first that cannot be shown. Everything else here compares the core with that list, at every step.
"""

import re
import socket
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tests.plain_client import TINY, Frame, payload, read_frames

from tailrace import _fanout as core

Keys = frozenset[bytes | None] | None
OPEN = (core.LIVE, core.BEHIND)
DROPPED = (core.FALLEN, core.HOLED)
MARK = re.compile(rb"t(\d+)\.(\d+);")  # tail and sequence number, in every payload


class Entry(NamedTuple):
    """A record of the log; text None: it cannot be shown (a hole)."""

    seq: int
    partition: int
    offset: int
    key: bytes | None
    text: bytes | None


class Log:
    """A tail, and everything that was ever appended to it."""

    def __init__(self, number: int, format: int, positions: list[int], block_bytes: int) -> None:
        self.number = number
        self.format = format
        self.tail = core.Tail(format, positions, block_bytes)
        self.base = dict(enumerate(positions))
        self.vector = dict(self.base)
        self.entries: list[Entry] = []
        self.starts: list[dict[int, int]] = []  # the vector before each entry
        self.readers: list[Reader] = []
        self.advanced: set[int] = set()

    def append(self, partition: int, gap: int, key: bytes | None, size: int | None) -> None:
        """size: of padding; None appends a hole."""
        seq, offset = len(self.entries), self.vector[partition] + gap
        text = None if size is None else b"t%d.%d;" % (self.number, seq) + b"." * size
        if text is None:
            assert self.tail.append_hole(partition, offset, key)
        else:
            assert self.tail.append(1 + seq % 2, payload(self.format, text), partition, offset, key)
        entry = Entry(seq, partition, offset, key, text)
        self.entries.append(entry)
        self.starts.append(dict(self.vector))
        self.vector[partition] = offset + 1
        for reader in self.readers:
            reader.note(entry)

    def check(self) -> None:
        """What the tail says of itself."""
        assert (self.tail.end, self.tail.positions) == (len(self.entries), self.vector)
        seen = self.tail.statistics()
        states = [reader.subscription.state for reader in self.readers]
        assert seen["delivered"] == sum(reader.delivered for reader in self.readers)
        assert (seen["live"], seen["behind"]) == (states.count(core.LIVE), states.count(core.BEHIND))
        assert seen["dropped"] == sum(map(states.count, DROPPED))

    def check_served(self) -> None:
        """After a pump that left nothing due: whoever is live has had everything, and its place is the end."""
        assert self.tail.unserved_bytes == 0
        for reader in self.readers:
            if reader.subscription.state == core.LIVE:
                assert reader.delivered == len(reader.wanted)
                assert reader.subscription.positions == reader.at_least(self.vector)

    def check_entry(self, vector: dict[int, int]) -> int | None:
        """`Tail.entry` leaves nothing out, and finds a place when the whole tail would do."""
        seq = self.tail.entry(vector)
        missed = [entry for entry in self.entries[:seq] if entry.offset >= vector.get(entry.partition, 0)]
        assert seq is None or not missed
        start = self.base | [*self.starts, self.vector][self.tail.start]
        assert (seq is None) == any(vector.get(p, 0) < offset for p, offset in start.items())
        return seq


class Reader:
    """One subscription, and what it must have had."""

    def __init__(
        self,
        peer: "Peer",
        log: Log,
        id: int,
        keys: Keys,
        seq: int | None,
        floor: dict[int, int],
    ) -> None:
        self.peer, self.log, self.id, self.keys, self.floor = peer, log, id, keys, floor
        self.begin = log.tail.end if seq is None else seq
        self.subscription = core.Subscription(peer.line, log.tail, id, keys, seq, floor or None, self)
        self.wanted: list[Entry] = []
        self.ends: list[int] = [0]  # bytes of the frames of wanted[:n]
        self.received = 0
        self.told = False
        self.positions = self.subscription.positions
        for entry in log.entries[self.begin :]:
            self.note(entry)
        log.readers.append(self)
        peer.readers[self.stream].append(self)

    @property
    def stream(self) -> tuple[int, int]:
        """What a client can tell apart: the topic, and the id where the format has one."""
        return self.log.number, 0 if self.log.format == core.VALUE else self.id

    def note(self, entry: Entry) -> None:
        if (self.keys is None or entry.key in self.keys) and entry.offset >= self.floor.get(entry.partition, 0):
            self.wanted.append(entry)
            self.ends.append(self.ends[-1] + frame_size(self.payload(entry)))

    def payload(self, entry: Entry) -> bytes:
        return payload(self.log.format, entry.text or b"", self.id)

    def at_least(self, vector: dict[int, int]) -> dict[int, int]:
        return {p: max(offset, self.floor.get(p, 0)) for p, offset in vector.items()}

    @property
    def delivered(self) -> int:
        return self.subscription.delivered

    def check(self) -> None:
        """Its place lies behind what it has had and not behind what it has not, and its state is right."""
        had, waits = self.wanted[: self.delivered], self.wanted[self.delivered :]
        positions = self.subscription.positions
        assert len(had) == self.delivered
        assert all(entry.text is not None for entry in had), "a hole was passed over"
        assert all(positions[entry.partition] > entry.offset for entry in had), "its place is before what it has had"
        assert all(positions.get(entry.partition, 0) <= entry.offset for entry in waits), "its place leaves records out"
        for partition, offset in self.positions.items():
            assert partition in self.log.advanced or positions[partition] >= offset, "its place went back"
        self.positions = positions
        self._check_state(had[-1].seq + 1 if had else self.begin, waits)

    def _check_state(self, place: int, waits: list[Entry]) -> None:
        state, start = self.subscription.state, self.log.tail.start
        if state in OPEN:
            assert not waits or waits[0].seq >= start, "what it wants was evicted, and it goes on"
        elif state == core.FALLEN:
            assert place < start, "it was dropped without a reason"
        elif state == core.HOLED:
            assert waits[0].text is None


class Peer:
    """One connection: the line, the other end of its socket, and what must arrive there."""

    def __init__(self, room: int | None, direct: bool) -> None:
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        if room is not None:
            self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self.direct = direct
        self.line = core.Line(self.near.fileno(), direct, self)
        self.writer = False
        self.readers: defaultdict[tuple[int, int], list[Reader]] = defaultdict(list)
        self.posted: list[tuple[int, bytes]] = []  # how many records were committed before it, and its payload
        self.posted_received = 0
        self.records_received = 0
        self.unread = b""

    def all_readers(self) -> Iterator[Reader]:
        for readers in self.readers.values():
            yield from readers

    def free(self, stream: tuple[int, int]) -> bool:
        return not any(reader.subscription.state != core.CLOSED for reader in self.readers[stream])

    @property
    def committed(self) -> int:
        return sum(reader.delivered for reader in self.all_readers())

    def post(self, text: bytes) -> None:
        if self.line.error:
            assert not self.line.post(b"\x89\x00")
            return
        before = self.committed
        frame = bytes([0x89, len(text)]) + text
        asked = self.line.post(frame)
        assert not (asked and self.writer)
        self.writer |= asked
        if not self.line.error:  # else this send found it broken
            self.posted.append((before, text))

    def write(self, budget: int) -> int:
        """A step of the writer."""
        found = self.line.flush(budget)
        behind = any(reader.subscription.state == core.BEHIND for reader in self.all_readers())
        assert (found == core.BROKEN) == bool(self.line.error)
        assert found != core.DONE or (self.line.idle and not behind)
        assert found != core.MORE or behind
        self.take_dropped()
        if not self.direct and found != core.BROKEN:
            self._arrive(self.line.take())
        if found in (core.DONE, core.BROKEN):
            self.writer = False
        return found

    def take_dropped(self) -> None:
        for subscription in self.line.take_dropped():
            assert subscription.state in DROPPED
            assert not subscription.owner.told, "told twice"
            subscription.owner.told = True

    def read(self, most: int) -> None:
        """Some bytes, in whatever pieces the kernel gives them."""
        while most > 0:
            try:
                data = self.far.recv(most)
            except OSError:
                return
            if not data:
                return
            most -= len(data)
            self._arrive(data)

    def _arrive(self, data: bytes) -> None:
        frames, self.unread = read_frames(self.unread + data)
        for frame in frames:
            self._arrived(frame)

    def _arrived(self, frame: Frame) -> None:
        due = self.posted[self.posted_received :][:1]
        if due and due[0][0] == self.records_received:
            assert frame == Frame(9, due[0][1]), "a posted frame is not at its place"
            self.posted_received += 1
            return
        assert frame.opcode != 9, "a posted frame is not at its place"
        self.records_received += 1
        reader = self._reader_of(frame.payload)
        assert reader.received < reader.delivered, "more arrived than was counted"
        entry = reader.wanted[reader.received]
        assert frame == Frame(1 + entry.seq % 2, reader.payload(entry))
        reader.received += 1

    def _reader_of(self, data: bytes) -> Reader:
        found = MARK.search(data)
        assert found, data[:50]
        stream = int(found[1]), slot(data[: found.start()])
        return next(
            reader for reader in self.readers[stream] if reader.received < len(reader.wanted[: reader.delivered])
        )

    def check(self) -> None:
        """No byte is missing or too much, and whoever needs the writer has it."""
        readers = list(self.all_readers())
        records = sum(reader.ends[reader.delivered] for reader in readers)
        posts = sum(frame_size(text) for _, text in self.posted)
        assert self.line.sent_bytes + self.line.waiting_bytes == records + posts
        if not self.line.error:
            behind = any(reader.subscription.state == core.BEHIND for reader in readers)
            untold = any(reader.subscription.state in DROPPED and not reader.told for reader in readers)
            assert self.line.idle == (not behind and not self.line.waiting_bytes)
            assert self.writer or not (behind or untold or self.line.waiting_bytes), "nobody will go on from here"

    def close(self) -> None:
        self.near.close()
        self.far.close()


def slot(head: bytes) -> int:
    """The id in what comes before the mark; 0 where the format has none."""
    if head.startswith(b'{"id":'):
        assert head[11:] == b","
        return int(head[6:11])
    return int.from_bytes(head[5:7], "big")


def frame_size(data: bytes) -> int:
    return len(data) + (2 if len(data) < 126 else 4 if len(data) < 65536 else 10)


def new_peer(kind: int) -> Peer:
    """Two of four are narrow, one has room, one is not direct."""
    return Peer(None if kind % 4 == 2 else TINY, kind % 4 != 3)
