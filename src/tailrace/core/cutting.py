"""Cuts the records of one partition, as they are read from Kafka, into blocks. Pure.

A block covers start <= offset < next: everything the log has there is in it, in every format asked for. It ends at the
next multiple of its stride, or once a format has CAP_BYTES of payload, or with the log. Offsets between two records
that the log does not have (compaction, control records, aborted ones) count as covered by the block before them: a
million missing offsets make no block of their own.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tailrace._fanout import JSON, MSGPACK, VALUE, Stretch
from tailrace.core.encode import Encoder, TooLarge
from tailrace.core.frame import BINARY, TEXT

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
        self._open: list[_Form] = []
        self._limit = start
        self._expected = start

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def open(self, formats: Iterable[int], stride: int) -> None:
        """Begins a block at `position`, in at least one format."""
        self._open = [_Form(each, Stretch(each, self._partition, self.position)) for each in formats]
        self._limit = self.position - self.position % stride + stride
        self._expected = self.position
        self._counted = (self._encoder.not_json, self._encoder.too_large)
        self._broken: tuple[int, Exception] | None = None

    def take(self, records: deque[Any], at_most: int) -> Block | None:
        """Takes so many records from the left, or as many as belong to the open block, which is returned when it is
        complete."""
        for _ in range(min(at_most, len(records))):
            record = records[0]
            offset = record.offset()
            if offset >= self._limit:
                return self.close(offset)
            records.popleft()
            if offset >= self._expected and self._add(record, offset) >= CAP_BYTES:
                return self.close(offset + 1)
        return None

    @property
    def expected(self) -> int:
        """The offset behind the last record taken."""
        return max(self.position, self._expected)

    def close(self, next: int) -> Block:
        """Ends the open block: the log has nothing more below `next`."""
        forms, self._open = self._open, []
        for form in forms:
            form.stretch.seal(next)
        start, self.position = self.position, next
        return Block(
            start,
            next,
            {form.format: form.stretch for form in forms},
            max(form.payload_bytes for form in forms),
            self._encoder.not_json - self._counted[0],
            self._encoder.too_large - self._counted[1],
            self._broken,
        )

    def _add(self, record: Any, offset: int) -> int:
        key = record.key()
        self._expected = offset + 1
        largest = 0
        for form in self._open:
            try:
                opcode, payload = form.encode(self._encoder, record)
            except Exception as error:  # noqa: BLE001  one record must not end the reading
                form.stretch.append_hole(offset, key)
                if not isinstance(error, TooLarge):
                    self._broken = self._broken or (offset, error)
            else:
                form.stretch.append(opcode, payload, offset, key)
                form.payload_bytes += len(payload)
            largest = max(largest, form.payload_bytes)
        return largest


class _Form:
    """An open block in one format."""

    __slots__ = ("encode", "format", "payload_bytes", "stretch")

    def __init__(self, format: int, stretch: Stretch) -> None:
        self.format = format
        self.stretch = stretch
        self.encode = _ENCODE[format]
        self.payload_bytes = 0


_ENCODE: dict[int, Callable[[Encoder, Any], tuple[int, bytes]]] = {
    JSON: lambda encoder, record: (TEXT, encoder.json(record)),
    MSGPACK: lambda encoder, record: (BINARY, encoder.msgpack(record)),
    VALUE: Encoder.value,
}
