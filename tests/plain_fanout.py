"""The plain oracle of tailrace._fanout: the same interface, obviously right rather than fast.

A Tail is a list of records, a Subscription an index into that list, a Line what the kernel has not taken yet. Every
frame is made anew for every subscriber and sent alone: nothing is shared, patched, gathered or cut here, and whoever
is live is served in a loop. Left out: memory (memory_bytes counts frames only) and what the fast one promises about
cost (chunks, turns, one send for many frames), and what is read back from Kafka (Stretch, goals). The docstrings of
the interface are in src/_fanout.pyx.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

JSON, MSGPACK, VALUE = 0, 1, 2
LIVE, BEHIND, FALLEN, HOLED, CLOSED = 0, 1, 2, 3, 4
DONE, MORE, BLOCKED, BROKEN = 0, 1, 2, 3
TURN = 65536
SEND_COST = 4096


class Record(NamedTuple):
    """payload None: a hole. before: the next offset of every partition when it was appended."""

    partition: int
    offset: int
    key: bytes | None
    opcode: int
    payload: bytes | None
    before: dict[int, int]
    begins_block: bool

    def frame(self, format: int, id: int) -> bytes:
        """RFC 6455, 5.2, with the id in its slot."""
        payload = self.payload or b""
        if format == JSON:
            payload = payload[:6] + b"%5d" % id + payload[11:]
        if format == MSGPACK:
            payload = payload[:5] + id.to_bytes(2, "big") + payload[7:]
        return header(self.opcode, len(payload)) + payload


def header(opcode: int, size: int) -> bytes:
    """Of a final, unmasked frame."""
    if size < 126:
        return bytes([0x80 | opcode, size])
    if size < 65536:
        return bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big")


class Line:
    """What leaves for one connection; `rest` is committed and not yet taken, and ends at a frame boundary."""

    def __init__(self, fd: int, direct: bool = True, owner: Any = None) -> None:
        self.owner = owner
        self.error = 0
        self.sent_bytes = 0
        self.rest = b""
        self.refused = False
        self.fd = fd
        self.direct = direct
        self.woken = False
        self.subscriptions: list[Subscription] = []
        self.dropped: list[Subscription] = []

    def commit(self, frame: bytes) -> bool:
        """Commit a record's frame; False when none of it is taken now."""
        if self.error or self.refused:
            return False
        took = self.offer(frame)
        if self.direct and took == 0:
            return False
        self.rest += frame[took:]
        self.refused |= not self.direct and len(self.rest) >= TURN
        return True

    def offer(self, data: bytes) -> int:
        """How many bytes the kernel took; none of a line that is not direct."""
        if not self.direct or not data:
            return 0
        took = 0
        try:
            took = os.write(self.fd, data)
        except BlockingIOError:
            pass
        except OSError as fault:
            self.error = fault.errno or 0
        self.sent_bytes += took
        self.refused = took < len(data)
        return took

    def wake(self) -> bool:
        """Whether its writer must be started."""
        asked, self.woken = not self.woken, True
        return asked

    def post(self, frames: bytes) -> bool:
        if self.error:
            return False
        took = 0 if self.rest else self.offer(frames)
        if took == len(frames):
            return False
        self.rest += frames[took:]
        return self.wake()

    def flush(self, budget: int) -> int:
        if not self.error:
            self.refused = not self.direct and len(self.rest) >= TURN
            self.rest = self.rest[self.offer(self.rest) :]
        while not self.error and not self.refused and (behind := self.behind()):
            if budget <= 0:
                return MORE
            budget -= behind[0].bring_on()
            self.subscriptions.append(self.subscriptions.pop(self.subscriptions.index(behind[0])))
        if self.error:
            return BROKEN
        if self.refused or self.rest:
            return BLOCKED
        self.woken = False
        return DONE

    def behind(self) -> list["Subscription"]:
        return [subscription for subscription in self.subscriptions if subscription.state == BEHIND]

    def take(self) -> bytes:
        taken, self.rest, self.refused = self.rest, b"", False
        self.sent_bytes += len(taken)
        return taken

    def take_dropped(self) -> list["Subscription"]:
        dropped, self.dropped = self.dropped, []
        return [subscription for subscription in dropped if subscription.state != CLOSED]

    def break_off(self, error: int) -> None:
        self.error = error
        self.woken = True

    @property
    def waiting_bytes(self) -> int:
        return len(self.rest)

    @property
    def idle(self) -> bool:
        return not self.rest and not self.behind()


class Tail:
    """Every record since the beginning, those before `start` counting as forgotten."""

    def __init__(self, format: int, positions: list[int], block_bytes: int = 524288) -> None:
        if format not in (JSON, MSGPACK, VALUE):
            raise ValueError("unknown format")
        self.format = format
        self.block_bytes = block_bytes
        self.base: dict[int, int] = dict(enumerate(positions))
        self.vector = dict(self.base)
        self.records: list[Record] = []
        self.start = 0
        self.block = 0
        self.stale = 0
        self.attached: list[Subscription] = []
        self.woken: list[Any] = []

    def add_partition(self, partition: int, offset: int) -> None:
        if partition != len(self.base):
            raise ValueError("partitions are added in order")
        self.base[partition] = self.vector[partition] = offset

    def append(self, opcode: int, payload: bytes, partition: int, offset: int, key: bytes | None) -> bool:
        if len(payload) < {JSON: 11, MSGPACK: 7, VALUE: 0}[self.format]:
            raise ValueError("no room for the id slot")
        return self._append(opcode, payload, partition, offset, key)

    def append_hole(self, partition: int, offset: int, key: bytes | None) -> bool:
        return self._append(0, None, partition, offset, key)

    def _append(self, opcode: int, payload: bytes | None, partition: int, offset: int, key: bytes | None) -> bool:
        if key is not None and type(key) is not bytes:
            raise TypeError("a key is bytes or None")
        if partition not in self.vector:
            raise ValueError("no such partition")
        if offset < self.vector[partition]:
            self.stale += 1
            return False
        record = Record(partition, offset, key, opcode, payload, dict(self.vector), False)
        if self._begins_block(record):
            self.block = self.end
        self.records.append(record._replace(begins_block=self.block == self.end))
        self.vector[partition] = offset + 1
        return True

    def _begins_block(self, record: Record) -> bool:
        if self.block < self.start or self.block == self.end:
            return True
        size = self._frames(self.block, self.end) + self.frame_size(record)
        return size > self.block_bytes

    def frame_size(self, record: Record) -> int:
        return 0 if record.payload is None else len(record.frame(self.format, 0))

    def _frames(self, begin: int, end: int) -> int:
        return sum(self.frame_size(record) for record in self.records[begin:end])

    def advance(self, partition: int, offset: int) -> None:
        if partition not in self.vector:
            raise ValueError("no such partition")
        self.vector[partition] = max(offset, self.vector[partition])

    def evict(self) -> int:
        if self.start == self.end:
            return 0
        following = (i for i in range(self.start + 1, self.end) if self.records[i].begins_block)
        stop = next(following, self.end)
        for subscription in list(self.attached):
            subscription.evicted(stop)
        freed = self._frames(self.start, stop)
        self.start = stop
        return freed

    def pump(self, budget: int) -> bool:
        for subscription in list(self.attached):
            if subscription.state == LIVE and budget > 0:
                budget -= subscription.bring_on()
        return any(subscription.waits for subscription in self.attached)

    def take_woken(self) -> list[Any]:
        woken, self.woken = self.woken, []
        return woken

    def entry(self, positions: dict[int, int]) -> int | None:
        for seq in self._entries():
            if all(positions.get(p, 0) >= offset for p, offset in self.at(seq).items()):
                return seq
        return None

    def _entries(self) -> Iterator[int]:
        yield self.end
        for seq in range(self.end - 1, self.start - 1, -1):
            if self.records[seq].begins_block:
                yield seq

    def at(self, seq: int) -> dict[int, int]:
        """The next offset of every partition at this place."""
        return self.base | (self.vector if seq == self.end else self.records[seq].before)

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def positions(self) -> dict[int, int]:
        return dict(self.vector)

    @property
    def memory_bytes(self) -> int:
        return self._frames(self.start, self.end)

    @property
    def unserved_bytes(self) -> int:
        waiting = [subscription.place for subscription in self.attached if subscription.waits]
        return self._frames(min(waiting, default=self.end), self.end)

    def statistics(self) -> dict[str, int]:
        states = [subscription.state for subscription in self.attached]
        return {
            "records": self.end,
            "held": self.end - self.start,
            "memory_bytes": self.memory_bytes,
            "delivered": sum(subscription.delivered for subscription in self.attached),
            "sent_bytes": sum(subscription.line.sent_bytes for subscription in self.attached),
            "stale": self.stale,
            "live": states.count(LIVE),
            "behind": states.count(BEHIND),
            "dropped": states.count(FALLEN) + states.count(HOLED),
        }


class Subscription:
    """An index into the tail's records: everything before it was committed, or is not wanted."""

    def __init__(
        self,
        line: Line,
        tail: Tail,
        id: int,
        keys: frozenset[bytes | None] | None = None,
        seq: int | None = None,
        floor: dict[int, int] | None = None,
        owner: Any = None,
    ) -> None:
        begin = tail.end if seq is None else seq
        if not 0 <= id <= 65535 or not tail.start <= begin <= tail.end or (keys is not None and not keys):
            raise ValueError("a fault of the caller's")
        if any(key is not None and type(key) is not bytes for key in keys or ()):
            raise TypeError("a key is bytes or None")
        self.line, self.tail, self.id, self.keys, self.owner = line, tail, id, keys, owner
        self.floor = dict(floor or {})
        self.seq = begin
        self.state = LIVE
        self.delivered = 0
        tail.attached.append(self)
        line.subscriptions.append(self)
        if begin < tail.end:
            self._fall_behind()

    def wants(self, record: Record) -> bool:
        return (self.keys is None or record.key in self.keys) and record.offset >= self.floor.get(record.partition, 0)

    @property
    def place(self) -> int:
        """The first record that it wants and has not had, or the end."""
        wanted = (i for i in range(self.seq, self.tail.end) if self.wants(self.tail.records[i]))
        return next(wanted, self.tail.end)

    @property
    def waits(self) -> bool:
        """It is live and has not had everything."""
        return self.state == LIVE and self.place < self.tail.end

    def bring_on(self) -> int:
        """Commit what it wants, up to about TURN bytes: what that cost."""
        if self.waits and (self.line.woken or not self.line.direct):
            self._fall_behind()
            return 0
        cost = 0
        while self.state in (LIVE, BEHIND) and cost < TURN and self.place < self.tail.end:
            if not self._commit_next():
                break
            cost += SEND_COST
        if self.state == LIVE and (self.line.refused or self.line.error):
            self._fall_behind()
        elif self.state == BEHIND and self.place == self.tail.end:
            self.state = LIVE
        return cost

    def _commit_next(self) -> bool:
        record = self.tail.records[self.place]
        if record.payload is None:
            self._drop(HOLED)
            return False
        if not self.line.commit(record.frame(self.tail.format, self.id)):
            return False
        self.seq = self.place + 1
        self.delivered += 1
        return True

    def _fall_behind(self) -> None:
        self.state = BEHIND
        self._wake()

    def evicted(self, stop: int) -> None:
        if self.state in (LIVE, BEHIND) and self.place < stop:
            self._drop(FALLEN)

    def _drop(self, state: int) -> None:
        self._keep_place()
        self.state = state
        self.line.dropped.append(self)
        self._wake()

    def _wake(self) -> None:
        if self.line.wake():
            self.tail.woken.append(self.line.owner)

    def _keep_place(self) -> None:
        self.floor = self.positions

    @property
    def positions(self) -> dict[int, int]:
        if self.state in (FALLEN, HOLED, CLOSED):
            return dict(self.floor)
        return {p: max(offset, self.floor.get(p, 0)) for p, offset in self.tail.at(self.place).items()}

    def close(self) -> dict[int, int]:
        if self.state != CLOSED:
            self._keep_place()
            self.state = CLOSED
            self.tail.attached.remove(self)
            self.line.subscriptions.remove(self)
        return dict(self.floor)
