"""Reading for snapshots: scans of Kafka that lead the rows of a topic on to new ends, and what they may take.

Rules: everything but the waiting happens in the scanning thread, compaction and encoding too; whoever is cancelled has
left the rows as far as they came.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import structlog
import trio

from tailrace.core.compacting import Compacting, Encode, Memory, Row
from tailrace.core.encode import ENCODE
from tailrace.core.pace import CATCHUP_BURST_SECONDS, Bucket
from tailrace.core.position import Positions
from tailrace.gateway.blocks import Source
from tailrace.kafka.scan import Range, scan
from tailrace.kafka.settings import Value

NAP_SECONDS = 0.05  # of a thread that reads too fast, between two looks whether it is still wanted
PIECE_RECORDS = 128  # encoded between two pauses, 0.5 ms
PAUSE_SECONDS = 0.00005  # long enough for the loop to take the GIL; sleep(0) gives it up and has it again

_log = structlog.get_logger(__name__)


class Scanning:
    """`kafka`: the user's librdkafka settings. `scans` and `read_records`: so far."""

    def __init__(self, kafka: Mapping[str, Value], memory: Memory, bytes_per_second: int | None) -> None:
        self._kafka = kafka
        self._memory = memory
        self._ceiling = Bucket(bytes_per_second, CATCHUP_BURST_SECONDS, time.monotonic())
        self.scans = 0
        self.read_records = 0

    async def lead_on(
        self,
        source: Source,
        format: int,
        rows: dict[int, Row],
        starts: Positions,
        beginnings: Positions,
        ends: Positions,
        owned: bool,
    ) -> None:
        """Lead these rows from `starts`, or where the log begins, to the ends; owned: nobody else has them.

        Raises Exceeded, and what `scan` raises.
        """
        encoder, tab = copy.copy(source.encoder), self._memory.tab()
        encoder.not_json = encoder.too_large = 0
        if owned:
            tab.used_bytes = sum(chunk.memory_bytes for row in rows.values() for chunk in row)
        encode = _pausing(partial(ENCODE[format], encoder))
        ranges = [Range(p, max(starts.get(p, 0), beginnings[p]), end) for p, end in ends.items()]
        makers = {each.partition: Compacting(rows, each.partition, each.start, encode, tab, owned) for each in ranges}
        self.scans += 1
        try:
            await scan(self._kafka, source.name, ranges, self._taking(makers))
            await trio.to_thread.run_sync(_finish, makers, ranges)
        finally:
            self._memory.close(tab)
        source.encoder.not_json += encoder.not_json
        source.encoder.too_large += encoder.too_large
        _tell_broken(source, makers)

    def _taking(self, makers: Mapping[int, Compacting]) -> Callable[[int, list[Any]], None]:
        """What the scanning thread does with records: not faster than `catchup.bytes_per_second`."""

        def take(partition: int, records: list[Any]) -> None:
            makers[partition].take(records)
            self.read_records += len(records)
            now = time.monotonic()
            paid_at = now + self._ceiling.take(sum(map(len, records)), now)
            while (left := paid_at - time.monotonic()) > 0:
                trio.from_thread.check_cancelled()
                time.sleep(min(left, NAP_SECONDS))

        return take


def _pausing(encode: Encode) -> Encode:
    """In pieces, after each of which the loop has the GIL: a row is led on by up to a hundred thousand at once."""
    encoded = itertools.count(1)

    def encode_and_pause(record: Any) -> tuple[int, bytes]:
        if not next(encoded) % PIECE_RECORDS:
            time.sleep(PAUSE_SECONDS)
        return encode(record)

    return encode_and_pause


def _finish(makers: Mapping[int, Compacting], ranges: Iterable[Range]) -> None:
    for each in ranges:
        makers[each.partition].finish(max(each.start, each.stop))


def _tell_broken(source: Source, makers: Mapping[int, Compacting]) -> None:
    for partition, maker in makers.items():
        if maker.broken is not None:
            offset, error = maker.broken
            place = {"topic": source.name, "partition": partition, "offset": offset}
            _log.error("a record could not be encoded", **place, exc_info=error)
