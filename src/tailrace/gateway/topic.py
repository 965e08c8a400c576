"""One open topic: what arrived and is not encoded yet, and a tail for every format that somebody wants.

Rules: records enter all tails in the order they arrived; a batch is encoded only when the live subscribers have
nearly had the one before, so that a topic whose subscribers are many holds up neither memory nor the other topics;
what waits before that is bounded by pausing the topic's partitions (`wants_pause`). Synchronous: the pump calls
`turn` until there is nothing left to do.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from tailrace._fanout import JSON, MSGPACK, VALUE, Tail
from tailrace.core.encode import Encoder, TooLarge
from tailrace.core.frame import BINARY, TEXT
from tailrace.gateway.counts import Traffic
from tailrace.gateway.delay import Delays

PAUSE_BYTES = 4 * 1024 * 1024  # of values that wait to be encoded: about 50 ms of a burst
RESUME_BYTES = 1024 * 1024
UNUSED_SECONDS = 30.0  # longer than from a subscription's start to its reading, which still holds the tail
STEP_RECORDS = 500  # encoded between two checkpoints: 1-2 ms
AHEAD_BYTES = (
    1024 * 1024
)  # appended and not yet offered to all: large sends cost the least, the tail's memory bounds it
PUMP_BYTES = 1024 * 1024  # offered between two checkpoints: about 250 sends, 1-2 ms

_log = structlog.get_logger(__name__)


class Arrived(msgspec.Struct, gc=False):
    """Records of one topic from one batch, in order, and then the (partition, next offset) of partitions that ended."""

    records: list[Any]
    ends: list[tuple[int, int]]
    size: int


class OpenTopic:
    """A topic that is being read.

    positions: where reading began in every partition. users: subscriptions, and those about to be; `idle_since`
    counts from the last. traffic: what is counted of it, with that of the same topic when it was open before.
    """

    def __init__(self, name: str, encoder: Encoder, positions: dict[int, int], traffic: Traffic | None = None) -> None:
        self.name = name
        self.traffic = traffic or Traffic()
        self.tails: dict[int, Tail] = {}
        self._delays: dict[int, Delays] = {}
        self.users = 0
        self.idle_since = 0.0
        self.paused = False
        self.consumed_records = 0
        self._encoder = encoder
        self._positions = dict(positions)
        self._looked_at = (0, dict(positions))  # records and positions, when `moved_silently` was last asked
        self._backlog: deque[Arrived] = deque()
        self._backlog_bytes = 0
        self._unused_since: dict[int, float] = {}

    @property
    def positions(self) -> dict[int, int]:
        """The next offset of every partition that has not entered the tails."""
        for tail in self.tails.values():
            return tail.positions
        return dict(self._positions)

    def moved_silently(self) -> bool:
        """Whether since the last call its end has moved and no record has come (aborted transactions, markers)."""
        (records, positions), self._looked_at = self._looked_at, (self.consumed_records, self.positions)
        return records == self.consumed_records and positions != self._looked_at[1]

    def tail(self, format: int) -> Tail:
        """The tail of this format; one that was not wanted until now begins where the others end."""
        tail = self.tails.get(format)
        if tail is None:
            positions = self.positions
            tail = self.tails[format] = Tail(format, [positions[partition] for partition in sorted(positions)])
            self._delays[format] = Delays(self.traffic.delay)
        return tail

    def unused(self, now: float) -> list[int]:
        """Formats that nobody has wanted for a while, though others are: they are encoded for nobody."""
        wanted = {format for format, tail in self.tails.items() if tail.subscribers}
        for format in self.tails.keys() - wanted:
            self._unused_since.setdefault(format, now)
        for format in wanted:
            self._unused_since.pop(format, None)
        return [format for format, since in self._unused_since.items() if now - since > UNUSED_SECONDS and wanted]

    def forget(self, format: int) -> int:
        """Drop a tail that nobody reads: the bytes that this freed."""
        self._positions = self.positions
        self._unused_since.pop(format, None)
        del self._delays[format]
        seen = self.tails.pop(format).statistics()
        self.traffic.delivered += seen["delivered"]
        self.traffic.record_bytes += seen["sent_bytes"]
        return seen["memory_bytes"]

    def retire(self) -> None:
        """It is read no more: what its encoder counted is kept."""
        self.traffic.not_json += self._encoder.not_json
        self.traffic.too_large += self._encoder.too_large
        self._encoder.not_json = self._encoder.too_large = 0

    def add_partition(self, partition: int, offset: int) -> None:
        """A partition that exists from now on, read from its beginning."""
        self._positions[partition] = offset
        for tail in self.tails.values():
            tail.add_partition(partition, offset)

    def accept(self, records: list[Any], ends: Iterable[tuple[int, int]] = ()) -> None:
        """Take what arrived, in order, to be encoded by `turn` in steps."""
        self.consumed_records += len(records)
        self.traffic.consumed += len(records)
        while len(records) > STEP_RECORDS:
            self._put_off(records[:STEP_RECORDS], [])
            records = records[STEP_RECORDS:]
        self._put_off(records, list(ends))

    def _put_off(self, records: list[Any], ends: list[tuple[int, int]]) -> None:
        size = sum(map(len, records))
        self._backlog.append(Arrived(records, ends, size))
        self._backlog_bytes += size

    @property
    def wants_pause(self) -> bool | None:
        """True: stop reading it for now; False: go on; None: as it is."""
        if not self.paused and self._backlog_bytes > PAUSE_BYTES:
            return True
        if self.paused and self._backlog_bytes < RESUME_BYTES:
            return False
        return None

    def turn(self) -> tuple[bool, int]:
        """Encode a batch if the live subscribers are near the end, then serve some of them.

        Whether there is more to do, and by how many bytes the tails grew.
        """
        grown, begun = 0, time.perf_counter()
        if self._backlog and self._have_kept_up():
            grown = self._enter(self._backlog.popleft())
        more, encoded = bool(self._backlog), time.perf_counter()
        for tail in self.tails.values():
            more |= self._pump(tail)
        self.traffic.encode_seconds += encoded - begun
        self.traffic.fanout_seconds += time.perf_counter() - encoded
        return more, grown

    def _have_kept_up(self) -> bool:
        for tail in self.tails.values():  # noqa: SIM110  a generator costs as much as what it asks
            if tail.unserved_bytes >= AHEAD_BYTES:
                return False
        return True

    def _pump(self, tail: Tail) -> bool:
        before = tail.delivered
        more = tail.pump(PUMP_BYTES)
        self._delays[tail.format].delivered(tail.delivered - before, tail.offered, time.time())
        for outlet in tail.take_woken():
            outlet.wake()
        return more

    @property
    def faults(self) -> dict[str, int]:
        """Records that its encoder could not show as they are, as of `retire` from zero."""
        return {"not_json": self._encoder.not_json, "too_large": self._encoder.too_large}

    @property
    def backlog_bytes(self) -> int:
        """Of values that wait to be encoded."""
        return self._backlog_bytes

    def _enter(self, arrived: Arrived) -> int:
        self._backlog_bytes -= arrived.size
        grown = 0
        for format, tail in self.tails.items():
            grown -= tail.memory_bytes
            _APPEND[format](self._encoder, tail, arrived.records)
            self._delays[format].entered(tail.end, arrived.records)
            for partition, offset in arrived.ends:
                tail.advance(partition, offset)
            grown += tail.memory_bytes
        if not self.tails:
            self._pass(arrived)
        return grown

    def _pass(self, arrived: Arrived) -> None:
        """Nobody wants it in any format: only the place moves."""
        for record in arrived.records:
            self._positions[record.partition()] = record.offset() + 1
        for partition, offset in arrived.ends:
            self._positions[partition] = max(offset, self._positions[partition])


def _append_json(encoder: Encoder, tail: Tail, records: list[Any]) -> None:
    at = 0
    while (at := encoder.append_json(tail, records, at)) < len(records):
        _append_unusual_json(encoder, tail, records[at])
        at += 1


def _append_unusual_json(encoder: Encoder, tail: Tail, record: Any) -> None:
    try:
        payload = encoder.json(record)
    except Exception:  # noqa: BLE001  one record must not end the pipeline
        _append_broken(tail, record)
    else:
        tail.append(TEXT, payload, record.partition(), record.offset(), record.key())


def _append_msgpack(encoder: Encoder, tail: Tail, records: list[Any]) -> None:
    for record in records:
        try:
            payload = encoder.msgpack(record)
        except Exception:  # noqa: BLE001  one record must not end the pipeline
            _append_broken(tail, record)
        else:
            tail.append(BINARY, payload, record.partition(), record.offset(), record.key())


def _append_value(encoder: Encoder, tail: Tail, records: list[Any]) -> None:
    at = 0
    while (at := encoder.append_values(tail, records, at)) < len(records):
        _append_unusual_value(encoder, tail, records[at])
        at += 1


def _append_unusual_value(encoder: Encoder, tail: Tail, record: Any) -> None:
    try:
        opcode, payload = encoder.value(record)
    except TooLarge:
        tail.append_hole(record.partition(), record.offset(), record.key())
    except Exception:  # noqa: BLE001  one record must not end the pipeline
        _append_broken(tail, record)
    else:
        tail.append(opcode, payload, record.partition(), record.offset(), record.key())


def _append_broken(tail: Tail, record: Any) -> None:
    """A fault of ours: whoever wanted this record is told, the others go on, and no byte of it is logged."""
    _log.exception(
        "a record could not be encoded", topic=record.topic(), partition=record.partition(), offset=record.offset()
    )
    tail.append_hole(record.partition(), record.offset(), record.key())


_APPEND: dict[int, Callable[[Encoder, Tail, list[Any]], None]] = {
    JSON: _append_json,
    MSGPACK: _append_msgpack,
    VALUE: _append_value,
}
