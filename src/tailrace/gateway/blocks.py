"""Blocks of Kafka's log, read back for those who are not served from the tail: cached, shared, bounded.

A request for an offset gets the block that holds it: from the cache, or when a reader comes by. What is read and in
which order is decided by `core.elevator`, what is kept by `core.block_cache`; here are the requests, and what becomes
of them when the `readers` tell.

Rules: everything here runs in the loop, and nothing in it waits for Kafka but the requests themselves (`get` for a
task, `ask` for who is told without one); whoever is cancelled or withdrawn is no longer wanted; a block that is evicted
while it is read is revoked, and its readers ask again.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
import outcome
import structlog
import trio

from tailrace._fanout import Stretch
from tailrace.config import Catchup
from tailrace.core.block_cache import BlockCache
from tailrace.core.cutting import CAP_BYTES, Block
from tailrace.core.elevator import WINDOW_BLOCKS, Elevator, Order
from tailrace.core.encode import Encoder
from tailrace.core.lane import Partition
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway.readers import Readers
from tailrace.kafka.run import Arrived, Ended, Event, Failed, Idle, Outside
from tailrace.kafka.settings import Value
from tailrace.kafka.trouble import Trouble

ANSWER_SECONDS = 10.0
REST_SECONDS = 0.5  # after a failure, before the partition is tried again
BELIEVED_SECONDS = 5.0  # so long a partition that failed is known not to answer, though nobody has asked again

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


Told = Callable[[outcome.Outcome[Stretch]], object]
"""Called with the block, or with why there is none."""

R = TypeVar("R")


class Request:
    """Somebody who waits for a block, and since when. `told`: of it, or of why there is none."""

    __slots__ = ("asked_at", "format", "offset", "patient", "place", "told")

    def __init__(
        self,
        place: Partition,
        format: int,
        offset: int,
        patient: bool,
        told: Told,
    ) -> None:
        self.place = place
        self.format = format
        self.offset = offset
        self.patient = patient
        self.told = told
        self.asked_at = trio.current_time()


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
        self._elevator: Elevator[Request] = Elevator(catchup.readers, _window(catchup), self._covered)
        self._readers = Readers(kafka, catchup.readers, catchup.bytes_per_second, self, on_error, on_statistics)
        self._sources: dict[tuple[str, int], Source] = {}
        self._troubles: dict[Partition, str] = {}  # of partitions whose last answer was none
        self._failed_at: dict[Partition, float] = {}  # of the same
        self._waiting: dict[Request, None] = {}  # the one that was asked, or looked at, the longest ago first
        self._impatient: dict[Partition, dict[Request, None]] = {}
        self._watching = False
        self._nursery: trio.Nursery | None = None
        self._heard_at = -ANSWER_SECONDS
        self._hits = self._misses = 0

    async def run(self) -> None:
        """The readers, until cancelled; returns when their threads have ended."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._watch()
                await self._readers.run()
        finally:
            self._nursery = None

    def found(self, source: Source, partition: int, offset: int, format: int) -> Stretch | None:
        """The block that `get` would give, when it is there already."""
        place = Partition(source.name, source.generation, partition)
        block = self._cache.find((place, format), offset)
        if block is not None:
            self._hits += 1
            if self._elevator.used(place, format, block.next):
                self._readers.look_again()
        return block

    async def get(self, source: Source, partition: int, offset: int, format: int, patient: bool = True) -> Stretch:
        """The block with start <= offset < next; at the end of the log an empty one with start = next = offset.

        `format`: JSON, MSGPACK or VALUE of `_fanout`. Raises Gone, Beyond; UnknownTopic when there was no such
        partition for 5 s, or the topic is forgotten; KafkaUnavailable when Kafka does not answer for 10 s; with
        `patient` false as soon as it is known not to.
        """
        block = self.found(source, partition, offset, format)
        if block is not None:
            await trio.lowlevel.checkpoint()
        else:
            block = await answered(
                lambda told: self.ask(source, partition, offset, format, told, patient), self.withdraw
            )
        return self._kept(Partition(source.name, source.generation, partition), offset, block)

    def ask(
        self,
        source: Source,
        partition: int,
        offset: int,
        format: int,
        told: Told,
        patient: bool = False,
    ) -> Request:
        """For a block that is not there: `told` is called with what `get` would return or raise, later and in the
        loop, and must raise nothing. Raises KafkaUnavailable when that is known already."""
        place = Partition(source.name, source.generation, partition)
        if not patient and self._failed_just_now(place):
            raise KafkaUnavailable(self._troubles[place])
        self._misses += 1
        self._sources.setdefault((source.name, source.generation), source)
        request = Request(place, format, offset, patient, told)
        self._waiting[request] = None
        if not patient:
            self._impatient.setdefault(place, {})[request] = None
        self._elevator.want(place, format, offset, request)
        self._readers.look_again()
        if not self._watching:
            self._watch()
        return request

    def _failed_just_now(self, place: Partition) -> bool:
        failed_at = self._failed_at.get(place)
        return failed_at is not None and trio.current_time() - failed_at < BELIEVED_SECONDS

    def withdraw(self, request: Request) -> None:
        """It is not waited for any more, and not told; nothing when it was told before."""
        if self._settle(request):
            self._elevator.unwant(request.place, request.format, request.offset, request)
            self._readers.look_again()

    def forget(self, name: str) -> None:
        """The topic was created anew, or closed: its blocks go, and whoever waits for one gets UnknownTopic."""
        _wake(self._cache.drop(lambda series: series[0].topic == name))
        self._refuse(self._elevator.forget(name), lambda: UnknownTopic(f"{name} was closed"))
        for key in [each for each in self._sources if each[0] == name]:
            del self._sources[key]
        for place in [each for each in self._troubles if each.topic == name]:
            del self._troubles[place], self._failed_at[place]
        self._readers.look_again()

    def trouble(self, name: str) -> str | None:
        """Why a partition of the topic cannot be read back now; None: nothing is known against it."""
        return next((why for place, why in self._troubles.items() if place.topic == name), None)

    def statistics(self) -> BlocksStatistics:
        return BlocksStatistics(
            blocks=len(self._cache),
            memory_bytes=self._cache.memory_bytes,
            hits=self._hits,
            misses=self._misses,
            read_bytes=self._readers.read_bytes,
            read_records=self._readers.read_records,
            waiting=len(self._waiting),
            readers=tuple(f"{place.topic}/{place.number}" if place else "" for place in self._readers.places),
        )

    # -------------------------------------------------------------------------------------------------- one request

    def _answer(self, request: Request, answer: outcome.Outcome[Stretch]) -> None:
        if self._settle(request):
            request.told(answer)

    def _refuse(self, requests: Iterable[Request], why: Callable[[], Exception]) -> None:
        for request in requests:
            self._answer(request, outcome.Error(why()))

    def _settle(self, request: Request) -> bool:
        """Nobody waits for it any more. False: that is known."""
        if request not in self._waiting:
            return False
        del self._waiting[request]
        if not request.patient:
            impatient = self._impatient[request.place]
            del impatient[request]
            if not impatient:
                del self._impatient[request.place]
        return True

    def _watch(self) -> None:
        """Over those who wait: one task for all, while there are any."""
        if self._waiting and self._nursery is not None:
            self._watching = True
            self._nursery.start_soon(self._look_at_the_oldest)

    async def _look_at_the_oldest(self) -> None:
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest.asked_at + ANSWER_SECONDS > trio.current_time():
                await trio.sleep_until(oldest.asked_at + ANSWER_SECONDS)
            elif self._is_hopeless(oldest):
                why = self._troubles.get(oldest.place, "no broker answers")
                self._elevator.unwant(oldest.place, oldest.format, oldest.offset, oldest)
                self._answer(oldest, outcome.Error(KafkaUnavailable(why)))
            else:
                del self._waiting[oldest]
                oldest.asked_at = trio.current_time()
                self._waiting[oldest] = None
        self._watching = False

    def _is_hopeless(self, request: Request) -> bool:
        """It has waited for long, and not only for its turn."""
        if request.place in self._troubles:
            return True
        return self._heard_at < request.asked_at and not self._readers.held_back

    # ------------------------------------------------------------------------------------------------- what came back

    def decide(self) -> list[Order]:
        return self._elevator.decide()

    def encoder(self, place: Partition) -> Encoder:
        return self._sources[place.topic, place.generation].encoder

    def happened(self, reader: int | None, event: Event) -> None:
        """What a reader that is elsewhere by now (None) tells counts no more, except its blocks."""
        place = event.run.place
        if (place.topic, place.generation) not in self._sources:
            return
        if isinstance(event, Arrived | Ended) and event.block is not None:
            self._arrived(place, reader, event.block)
        if reader is not None:
            self._concluded(place, reader, event)
            for tired in self._elevator.take_tired():
                self._rest(tired)

    def _arrived(self, place: Partition, reader: int | None, block: Block) -> None:
        source = self._sources[place.topic, place.generation]
        self._heard(place)
        self._count(source, block)
        formats = list(block.stretches)
        served = self._elevator.arrived(place, reader, block.start, block.next, block.full_bytes, formats)
        for format, stretch in block.stretches.items():
            _wake(self._cache.add((place, format), stretch))
            for request in served.get(format, ()):
                self._answer(request, outcome.Value(stretch))

    def _concluded(self, place: Partition, reader: int, event: Event) -> None:
        if isinstance(event, Ended):
            self._heard(place)
            for format, requests in self._elevator.ended(place, reader, event.end).items():
                for request in requests:
                    self._answer(request, outcome.Value(_nothing(format, place.number, event.end)))
        elif isinstance(event, Outside):
            self._heard(place)
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
        self._failed_at[place] = trio.current_time()
        gone = self._elevator.failed(place, reader, event.unknown)
        self._refuse(gone, lambda: UnknownTopic(event.reason))
        for request in list(self._impatient.get(place, ())):
            self._elevator.unwant(place, request.format, request.offset, request)
            self._answer(request, outcome.Error(KafkaUnavailable(event.reason)))

    def _heard(self, place: Partition) -> None:
        self._heard_at = trio.current_time()
        self._failed_at.pop(place, None)
        if self._troubles.pop(place, None) is not None:
            _log.info("reading back again", topic=place.topic, partition=place.number)

    def _count(self, source: Source, block: Block) -> None:
        source.encoder.not_json += block.not_json
        source.encoder.too_large += block.too_large
        if block.broken is not None:
            offset, error = block.broken
            _log.error("a record could not be encoded", topic=source.name, offset=offset, exc_info=error)

    def _rest(self, place: Partition) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._rested, place)

    async def _rested(self, place: Partition) -> None:
        await trio.sleep(REST_SECONDS)
        self._elevator.rested(place)
        self._readers.look_again()

    # ------------------------------------------------------------------------------------------------------ the cache

    def _covered(self, place: Partition, format: int, offset: int) -> int | None:
        return self._cache.covered((place, format), offset)

    def _kept(self, place: Partition, offset: int, block: Stretch) -> Stretch:
        """The same, if it was not evicted since it was handed over: what somebody reads must count as memory."""
        series = place, block.format
        found = self._cache.find(series, offset)
        if found is None:
            _wake(self._cache.add(series, block))
        return found or block


def _window(catchup: Catchup) -> int:
    """Blocks of one reader that may be under way: what all have must fit into half the cache, or blocks would be
    evicted before they are used. Under a ceiling one: the debt of all together would take long to pay off."""
    if catchup.bytes_per_second:
        return 1
    return max(1, min(WINDOW_BLOCKS, catchup.cache_bytes // (2 * catchup.readers * CAP_BYTES)))


async def answered(ask: Callable[[Told], R], withdraw: Callable[[R], object]) -> Stretch:
    """What a task that asks is told; one that is cancelled meanwhile withdraws its request."""
    request = ask(partial(trio.lowlevel.reschedule, trio.lowlevel.current_task()))

    def cancelled(_: object) -> trio.lowlevel.Abort:
        withdraw(request)
        return trio.lowlevel.Abort.SUCCEEDED

    block: Stretch = await trio.lowlevel.wait_task_rescheduled(cancelled)
    return block


def _nothing(format: int, partition: int, offset: int) -> Stretch:
    """At the end of the log."""
    stretch = Stretch(format, partition, offset)
    stretch.seal(offset)
    return stretch


def _wake(outlets: list[Any]) -> None:
    """Those whose block was revoked are told."""
    for outlet in outlets:
        outlet.wake()
