"""Blocks of Kafka's log, read back for those who are not served from the tail: cached, shared, bounded.

A request for an offset gets the block that holds it: from the cache, or when a reader comes by. What is read and in
which order is decided by `core.elevator`, what is kept by `core.block_cache`; here are the requests, the readers
(`kafka.reader`, a thread each), and the clock.

Rules: everything here runs in the loop, and nothing in it waits for Kafka but the requests themselves; whoever is
cancelled is no longer wanted; a block that is evicted while it is read is revoked, and its readers ask again.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import outcome
import structlog
import trio

from tailrace._fanout import Stretch
from tailrace.config import Catchup
from tailrace.core.allowance import Allowance
from tailrace.core.block_cache import BlockCache
from tailrace.core.cutting import CAP_BYTES, Block
from tailrace.core.elevator import WINDOW_BLOCKS, Elevator, Order, Partition
from tailrace.core.encode import Encoder
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka.reader import Arrived, Ended, Event, Failed, Idle, Outside, Plan, Reader, Run
from tailrace.kafka.settings import Value
from tailrace.kafka.trouble import Trouble

ANSWER_SECONDS = 10.0
REST_SECONDS = 0.5  # after a failure, before the partition is tried again

_log = structlog.get_logger(__name__)


class Gone(Exception):
    """The offset asked for is below the log's beginning (retention)."""

    def __init__(self, beginning: int) -> None:
        super().__init__(f"the log begins at {beginning}")
        self.beginning = beginning


class Beyond(Exception):
    """The offset asked for is above the log's end (truncated): a broker said so, and that a reader may have `end`."""

    def __init__(self, end: int) -> None:
        super().__init__(f"the log ends at {end}")
        self.end = end


class Source(msgspec.Struct, frozen=True, eq=False):
    """A topic to read: `generation` changes when it is deleted and created again. The encoder is copied for the
    readers' threads; what they count is added to it in the loop."""

    name: str
    generation: int
    encoder: Encoder


class BlocksStatistics(msgspec.Struct, frozen=True):
    """Now: `blocks` and `memory_bytes` cached, requests `waiting`, what the `readers` read ("topic/partition at
    offset", or ""). So far: `hits` and `misses` of requests, `read_bytes` and `read_records` of Kafka."""

    blocks: int
    memory_bytes: int
    hits: int
    misses: int
    read_bytes: int
    read_records: int
    waiting: int
    readers: tuple[str, ...]


class _Request:
    """Somebody who waits for a block."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def answer(self, answer: outcome.Outcome[Stretch]) -> None:
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task, answer)


class Blocks:
    """`kafka`: the user's librdkafka settings. `run` it, then `get`."""

    def __init__(
        self,
        kafka: Mapping[str, Value],
        catchup: Catchup,
        on_error: Callable[[Trouble], None] = lambda _: None,
        on_statistics: Callable[[str], None] | None = None,
    ) -> None:
        """`on_error`, `on_statistics`: as of `kafka.reader.Reader`, called in the readers' threads."""
        self._cache: BlockCache[tuple[Partition, int], Stretch] = BlockCache(catchup.cache_bytes)
        # A reader's window must fit into its share of the cache, or blocks would be evicted before they are used; and
        # under a ceiling the debt of all windows together would be long to pay off.
        window = 1 if catchup.bytes_per_second else catchup.cache_bytes // (2 * catchup.readers * CAP_BYTES)
        self._elevator: Elevator[_Request] = Elevator(
            catchup.readers,
            max(1, min(WINDOW_BLOCKS, window)),
            lambda partition, format, offset: self._cache.covered((partition, format), offset),
        )
        self._readers = [
            Reader(kafka, partial(self._event, number), on_error, on_statistics) for number in range(catchup.readers)
        ]
        self._runs: list[Run | None] = [None] * catchup.readers
        self._sources: dict[tuple[str, int], Source] = {}
        self._troubles: dict[Partition, str] = {}  # of partitions whose last answer was none
        self._bytes_per_second = catchup.bytes_per_second
        self._allowance: Allowance | None = None
        self._nursery: trio.Nursery | None = None
        self._held_back = False
        self._heard_at = -ANSWER_SECONDS
        self._waiting = self._hits = self._misses = self._read_bytes = self._read_records = 0

    async def run(self) -> None:
        """The readers, until cancelled; returns when their threads have ended."""
        self._allowance = Allowance(self._bytes_per_second, trio.current_time())
        async with trio.open_nursery() as self._nursery:
            for reader in self._readers:
                self._nursery.start_soon(reader.run)
            self._decide()  # requests may have come before

    async def get(self, source: Source, partition: int, offset: int, format: int) -> Stretch:
        """The block with start <= offset < next; at the end of the log an empty one with start = next = offset.

        `format`: JSON, MSGPACK or VALUE of `_fanout`. Raises Gone, Beyond; UnknownTopic when there was no such
        partition for 5 s, or the topic is forgotten; KafkaUnavailable when Kafka does not answer for 10 s.
        """
        await trio.lowlevel.checkpoint()
        place = Partition(source.name, source.generation, partition)
        block = self._cache.find((place, format), offset)
        if block is not None:
            self._hits += 1
            if self._elevator.used(place, format, block.next):
                self._decide()
            return block
        self._misses += 1
        self._sources.setdefault((source.name, source.generation), source)
        while True:
            asked_at = trio.current_time()
            with trio.move_on_after(ANSWER_SECONDS):
                return await self._answer(place, offset, format)
            self._give_up(place, asked_at)

    def forget(self, name: str) -> None:
        """The topic was created anew, or closed: its blocks go, and whoever waits for one gets UnknownTopic."""
        _wake(self._cache.drop(lambda series: series[0].topic == name))
        self._refuse(self._elevator.forget(name), lambda: UnknownTopic(f"{name} was closed"))
        for key in [each for each in self._sources if each[0] == name]:
            del self._sources[key]
        for place in [each for each in self._troubles if each.topic == name]:
            del self._troubles[place]
        self._decide()

    def statistics(self) -> BlocksStatistics:
        return BlocksStatistics(
            blocks=len(self._cache),
            memory_bytes=self._cache.memory_bytes,
            hits=self._hits,
            misses=self._misses,
            read_bytes=self._read_bytes,
            read_records=self._read_records,
            waiting=self._waiting,
            readers=tuple("" if run is None else f"{run.place.topic}/{run.place.number}" for run in self._runs),
        )

    # -------------------------------------------------------------------------------------------------- one request

    async def _answer(self, place: Partition, offset: int, format: int) -> Stretch:
        request = _Request()

        def cancelled(_: object) -> trio.lowlevel.Abort:
            request.task = None
            self._elevator.unwant(place, format, offset, request)
            self._decide()
            return trio.lowlevel.Abort.SUCCEEDED

        self._elevator.want(place, format, offset, request)
        self._decide()
        self._waiting += 1
        try:
            block: Stretch = await trio.lowlevel.wait_task_rescheduled(cancelled)
        finally:
            self._waiting -= 1
        return block

    def _give_up(self, place: Partition, asked_at: float) -> None:
        """Raises, unless it only has to wait for its turn."""
        if place in self._troubles or (self._heard_at < asked_at and not self._held_back):
            raise KafkaUnavailable(self._troubles.get(place, "no broker answers"))

    def _refuse(self, requests: list[_Request], why: Callable[[], Exception]) -> None:
        for request in requests:
            request.answer(outcome.Error(why()))

    # ------------------------------------------------------------------------------------------------- what came back

    def _event(self, reader: int, event: Event) -> None:
        """From a reader's thread, in the loop. What a run tells that was replaced meanwhile counts no more, except
        its blocks."""
        run = event.run
        current = self._runs[reader] is run
        if isinstance(event, Arrived | Ended) and event.block is not None:
            self._arrived(run.place, reader if current else None, event.block)
        if current:
            self._happened(run.place, reader, event)
        self._decide()
        self._let_rest()

    def _arrived(self, place: Partition, reader: int | None, block: Block) -> None:
        now = trio.current_time()
        source = self._sources.get((place.topic, place.generation))
        if source is None:
            return
        self._heard(place, now)
        self._count(source, block, now)
        formats = list(block.stretches)
        served = self._elevator.arrived(place, reader, block.start, block.next, block.full_bytes, formats)
        for format, stretch in block.stretches.items():
            _wake(self._cache.add((place, format), stretch))
            for request in served.get(format, ()):
                request.answer(outcome.Value(stretch))

    def _happened(self, place: Partition, reader: int, event: Event) -> None:
        if isinstance(event, Ended):
            self._heard(place, trio.current_time())
            for format, requests in self._elevator.ended(place, reader, event.end).items():
                for request in requests:
                    request.answer(outcome.Value(_nothing(format, place.number, event.end)))
        elif isinstance(event, Outside):
            self._heard(place, trio.current_time())
            below, beyond = self._elevator.outside(place, reader, event.offset, event.beginning, event.end)
            self._refuse(below, lambda: Gone(event.beginning))
            self._refuse(beyond, lambda: Beyond(event.end))
        elif isinstance(event, Failed):
            self._failed(place, reader, event)
        elif isinstance(event, Idle):
            self._elevator.idle(place, reader)

    def _failed(self, place: Partition, reader: int, event: Failed) -> None:
        if place not in self._troubles:
            _log.warning("cannot read back", topic=place.topic, partition=place.number, reason=event.reason)
        self._troubles[place] = event.reason
        gone = self._elevator.failed(place, reader, event.unknown)
        self._refuse(gone, lambda: UnknownTopic(event.reason))

    def _heard(self, place: Partition, now: float) -> None:
        self._heard_at = now
        if self._troubles.pop(place, None) is not None:
            _log.info("reading back again", topic=place.topic, partition=place.number)

    def _count(self, source: Source, block: Block, now: float) -> None:
        self._read_bytes += block.record_bytes
        self._read_records += block.records
        source.encoder.not_json += block.not_json
        source.encoder.too_large += block.too_large
        if self._allowance is not None:
            self._allowance.take(block.record_bytes, now)
        if block.broken is not None:
            offset, error = block.broken
            _log.error("a record could not be encoded", topic=source.name, offset=offset, exc_info=error)

    # --------------------------------------------------------------------------------------------- what is to be read

    def _decide(self) -> None:
        if self._allowance is None or self._held_back:
            return
        if wait := self._allowance.wait_seconds(trio.current_time()):
            self._held_back = True
            self._later(wait, self._go_on)
            return
        for order in self._elevator.decide():
            self._obey(order)

    def _go_on(self) -> None:
        self._held_back = False
        self._decide()

    def _obey(self, order: Order) -> None:
        run = self._runs[order.reader]
        plan = Plan(order.until, order.stride, order.formats)
        if order.partition is None:
            run = None
        elif order.start is None and run is not None:
            run.plan = plan
        elif order.start is not None:
            source = self._sources[order.partition.topic, order.partition.generation]
            run = Run(order.partition, order.start, plan, copy.copy(source.encoder))
        self._runs[order.reader] = run
        self._readers[order.reader].read(run)

    def _let_rest(self) -> None:
        for place in self._elevator.take_tired():
            self._later(REST_SECONDS, partial(self._rested, place))

    def _rested(self, place: Partition) -> None:
        self._elevator.rested(place)
        self._decide()

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(_after, seconds, do)


async def _after(seconds: float, do: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    do()


def _nothing(format: int, partition: int, offset: int) -> Stretch:
    """At the end of the log."""
    stretch = Stretch(format, partition, offset)
    stretch.seal(offset)
    return stretch


def _wake(outlets: list[Any]) -> None:
    """Those whose block was revoked are told."""
    for outlet in outlets:
        outlet.wake()
