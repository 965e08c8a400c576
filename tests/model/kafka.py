"""Kafka's edge of the gateway, played over a `Log`: what the live consumer, the cluster and the blocks say and do.

Nothing happens by itself: `PlainLive.deliver` hands over a batch, `PlainBlocks.serve` answers a request, and a question
to the cluster takes two rounds of the loop, the answer being of the moment between them. librdkafka's habits are kept:
an offset that is gone is told once and stops its partition, a recreated topic is read on at the old offset without a
word, and batches of a former assignment are still under way.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import outcome
import trio
from tests.model.log import NAME, Entry, Log, Partition

from tailrace._fanout import JSON, Stretch
from tailrace.core.encode import Encoder
from tailrace.core.frame import BINARY, TEXT
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway.blocks import Beyond, Gone, Source, Told, answered
from tailrace.kafka.batch import Batch, Fault
from tailrace.kafka.cluster import Listing
from tailrace.kafka.topic import Change, TopicDescription, changes

STRIDE = 4  # blocks begin at its multiples; small, so that borders are met


class PlainLive:
    """One assignment. `send`: to the pump."""

    def __init__(self, log: Log, send: "trio.MemorySendChannel[Batch]") -> None:
        self._log = log
        self._send = send
        self._generations = itertools.count(1)
        self.positions: dict[int, int] = {}
        self._generation = 0
        self._ended: dict[int, int] = {}
        self._faulty: set[int] = set()
        self._paused = False

    def assign(self, topic: str, offsets: Mapping[int, int]) -> int:
        self._generation = next(self._generations)
        self.positions = dict(offsets)
        self._ended, self._faulty, self._paused = {}, set(), False
        return self._generation

    def extend(self, topic: str, offsets: Mapping[int, int]) -> None:
        self.positions.update(offsets)
        self._faulty -= offsets.keys()

    def unassign(self, topic: str) -> None:
        self.positions = {}

    def pause(self, topic: str) -> None:
        self._paused = True

    def resume(self, topic: str) -> None:
        self._paused = False

    def deliver(self, number: int, most: int) -> bool:
        """One batch: records of one partition, and its end when it was reached. Whether there was anything."""
        partition = self._log.partitions[number] if number < len(self._log.partitions) else None
        position = self.positions.get(number)
        if partition is None or position is None or partition.stuck or number in self._faulty or self._paused:
            return False
        if not partition.beginning <= position <= partition.end:
            self._faulty.add(number)
            self._give(faults=[Fault(NAME, number, "_AUTO_OFFSET_RESET", "out of range")])
            return True
        records = partition.committed(position, partition.stable)[:most]
        after = records[-1].offset() + 1 if records else position
        ends = [] if partition.committed(after, partition.stable) else [(NAME, number, max(after, partition.stable))]
        if ends and not records and self._ended.get(number) == ends[0][2]:
            return False
        self.positions[number] = ends[0][2] if ends else after
        self._ended[number] = self.positions[number]
        self._give(records={NAME: records} if records else {}, ends=ends)
        return True

    def _give(self, **what: Any) -> None:
        self._send.send_nowait(Batch(**what, generation={NAME: self._generation}))


class PlainCluster:
    """Answers of the moment. `down`: it has none."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.down = False

    async def describe(self, name: str) -> TopicDescription:
        await self._asked()
        found = self._description()
        await trio.lowlevel.checkpoint()
        return found

    async def changes(self, known: Iterable[TopicDescription]) -> list[Change]:
        await self._asked()
        found = changes(list(known), {NAME: self._description()})
        await trio.lowlevel.checkpoint()
        return found

    async def ends(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        return (await self.listed(name, partitions, Listing.ENDS))[0]

    async def beginnings(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        return (await self.listed(name, partitions, Listing.BEGINNINGS))[0]

    async def listed(self, name: str, partitions: Iterable[int], *wanted: Listing) -> list[dict[int, int]]:
        await self._asked()
        numbers = list(partitions)
        if any(number >= len(self._log.partitions) for number in numbers):
            raise UnknownTopic(name)
        found = [{number: _bound(self._log.partitions[number], each) for number in numbers} for each in wanted]
        await trio.lowlevel.checkpoint()
        return found

    async def _asked(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise KafkaUnavailable("no broker answers")

    def _description(self) -> TopicDescription:
        return TopicDescription(NAME, self._log.topic_id, tuple(range(len(self._log.partitions))), False)


def _bound(partition: Partition, listing: Listing) -> int:
    if listing is Listing.BEGINNINGS:
        return partition.beginning
    return partition.stable if listing is Listing.ENDS else partition.end


@dataclass(eq=False)
class _Request:
    """Somebody who waits for a block."""

    source: Source
    partition: int
    offset: int
    format: int
    told: Told


class PlainBlocks:
    """`tailrace.gateway.blocks.Blocks`, its interface and no more: requests wait until they are served."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.waiting: list[_Request] = []
        self._troubled: set[Partition] = set()
        self.cached: dict[tuple[int, int, int, int], Stretch] = {}  # by generation, partition, format, start

    def found(self, source: Source, partition: int, offset: int, format: int) -> Stretch | None:
        for (*series, start), stretch in self.cached.items():
            if series == [source.generation, partition, format] and start <= offset < stretch.next:
                return stretch
        return None

    async def get(self, source: Source, partition: int, offset: int, format: int, patient: bool = True) -> Stretch:
        await trio.lowlevel.checkpoint()
        if (stretch := self.found(source, partition, offset, format)) is not None:
            return stretch
        return await answered(lambda told: self.ask(source, partition, offset, format, told, patient), self.withdraw)

    def ask(
        self,
        source: Source,
        partition: int,
        offset: int,
        format: int,
        told: Told,
        patient: bool = False,
    ) -> _Request:
        if not patient and not self._troubled.isdisjoint(self._log.partitions[partition : partition + 1]):
            raise KafkaUnavailable("no leader")
        request = _Request(source, partition, offset, format, told)
        self.waiting.append(request)
        return request

    def withdraw(self, request: _Request) -> None:
        if request in self.waiting:
            self.waiting.remove(request)

    def forget(self, name: str) -> None:
        while self.cached:
            self.revoke(0)
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            request.told(outcome.Error(UnknownTopic(name)))

    def serve(self, i: int, most: int) -> None:
        """Answer a request with what the log has now, in a block of so many records at most."""
        request = self.waiting.pop(i % len(self.waiting))
        request.told(outcome.capture(self._read, request, most))

    def revoke(self, i: int) -> None:
        """Evict a block, whoever reads it."""
        for key in list(self.cached)[i : i + 1]:
            for outlet in self.cached.pop(key).revoke():
                outlet.wake()

    def _read(self, request: _Request, most: int) -> Stretch:
        if request.partition >= len(self._log.partitions):
            raise UnknownTopic("no such partition")
        partition = self._log.partitions[request.partition]
        if partition.stuck:
            self._troubled.add(partition)
            raise KafkaUnavailable("no leader")
        self._troubled.discard(partition)
        if request.offset < partition.beginning:
            raise Gone(partition.beginning)
        if request.offset > partition.end:
            raise Beyond(partition.end)
        stretch = _cut(request, partition, most)
        self._keep((request.source.generation, request.partition, request.format, stretch.start), stretch)
        return stretch

    def _keep(self, key: tuple[int, int, int, int], stretch: Stretch) -> None:
        """The longer of two that begin alike; the other one is evicted."""
        present = self.cached.get(key)
        if stretch.next > (present.next if present else stretch.start):
            if present:
                self.revoke(list(self.cached).index(key))
            self.cached[key] = stretch


def _cut(request: _Request, partition: Partition, most: int) -> Stretch:
    """The block that holds the offset: from a multiple of STRIDE, to the next one, to `most` records, or to the end."""
    offset, start, next = request.offset, request.offset, max(request.offset, partition.stable)
    if offset < partition.stable:
        start = max(offset - offset % STRIDE, partition.beginning)
    stretch = Stretch(request.format, request.partition, start)
    for entry in partition.committed(start, partition.stable):
        if entry.offset() >= start - start % STRIDE + STRIDE or (stretch.records >= most and entry.offset() > offset):
            next = entry.offset()
            break
        opcode, payload = encoded(request.source.encoder, request.format, entry)
        stretch.append(opcode, payload, entry.offset(), entry.key())
    stretch.seal(next)
    return stretch


def encoded(encoder: Encoder, format: int, entry: Entry) -> tuple[int, bytes]:
    return (TEXT, encoder.json(entry)) if format == JSON else (BINARY, encoder.msgpack(entry))
