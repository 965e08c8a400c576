"""Cuts the records of one partition, as they are read from Kafka, into blocks. Pure.

A block covers start <= offset < next: everything the log has there is in it, in every format asked for. It ends at the
next multiple of its stride, or once a format has CAP_BYTES of payload, or with the log. Offsets between two records
that the log does not have (compaction, control records, aborted ones) count as covered by the block before them: a
million missing offsets make no block of their own.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

from tailrace._fanout import JSON, VALUE, Stretch
from tailrace.core.encode import ENCODE, Encoder, TooLarge

CAP_BYTES = 256 * 1024
STRIDE = 1024
"""Blocks begin at multiples of this, or of a smaller power of two where records are large."""


class Block(msgspec.Struct):
    """One block, in each format asked for.

    `full_bytes`: of its largest format's payloads. `not_json`, `too_large`: as `Encoder` counts them. `broken`: the
    first fault of ours in encoding, with its offset.
    """

    start: int
    next: int
    stretches: dict[int, Stretch]
    full_bytes: int
    not_json: int
    too_large: int
    broken: tuple[int, Exception] | None


class Cutter:
    """Records in, blocks out: `open` one, then `take` until it is complete. `position`: where the next one begins,
    or the one that is open began."""

    def __init__(self, partition: int, start: int, encoder: Encoder) -> None:
        self.position = start
        self._partition = partition
        self._encoder = encoder
        self._open: list[Stretch] = []
        self._limit = start

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def open(self, formats: Iterable[int], stride: int) -> None:
        """Begins a block at `position`, in at least one format."""
        self._limit = self.position - self.position % stride + stride
        self._open = [Stretch(each, self._partition, self.position, self._limit, CAP_BYTES) for each in formats]
        self._counted = (self._encoder.not_json, self._encoder.too_large)
        self._broken: tuple[int, Exception] | None = None

    def take(self, records: deque[Any], at_most: int) -> Block | None:
        """Takes so many records from the left, or as many as belong to the open block, which is returned when it is
        complete."""
        piece = list(islice(records, at_most))
        taken, next = self._take(piece)
        if taken == len(records):
            records.clear()
        for _ in range(min(taken, len(records))):
            records.popleft()
        return None if next is None else self.close(next)

    @property
    def expected(self) -> int:
        """The offset behind the last record taken."""
        return self._open[0].next if self._open else self.position

    def close(self, next: int) -> Block:
        """Ends the open block: the log has nothing more below `next`."""
        stretches, self._open = self._open, []
        for stretch in stretches:
            stretch.seal(next)
        start, self.position = self.position, next
        return Block(
            start,
            next,
            {stretch.format: stretch for stretch in stretches},
            _full_bytes(stretches),
            self._encoder.not_json - self._counted[0],
            self._encoder.too_large - self._counted[1],
            self._broken,
        )

    def _take(self, records: list[Any]) -> tuple[int, int | None]:
        """How many were taken, and where the block ends if it does."""
        at = 0
        while True:
            at = self._take_usual(records, at)
            if _full_bytes(self._open) >= CAP_BYTES:
                return at, self.expected
            if at == len(records):
                return at, None
            offset = records[at].offset()
            if offset >= self._limit:
                return at, offset
            if offset >= self.expected:
                self._add(records[at], offset)
            at += 1

    def _take_usual(self, records: list[Any], at: int) -> int:
        """Compiled, where only one format is open, which is usual; up to a record that is not, or not the block's."""
        if len(self._open) > 1 or (append := _APPEND.get(self._open[0].format)) is None:
            return at
        return append(self._encoder, self._open[0], records, at)

    def _add(self, record: Any, offset: int) -> None:
        key = record.key()
        for stretch in self._open:
            try:
                opcode, payload = ENCODE[stretch.format](self._encoder, record)
            except Exception as error:  # noqa: BLE001  one record must not end the reading
                stretch.append_hole(offset, key)
                if not isinstance(error, TooLarge):
                    self._broken = self._broken or (offset, error)
            else:
                stretch.append(opcode, payload, offset, key)


def _full_bytes(stretches: list[Stretch]) -> int:
    return max(stretch.payload_bytes for stretch in stretches)


_APPEND: dict[int, Callable[[Encoder, Stretch, list[Any], int], int]] = {
    JSON: lambda encoder, stretch, records, at: encoder.append_json(stretch, records, at),
    VALUE: lambda encoder, stretch, records, at: encoder.append_values(stretch, records, at),
}
