"""What becomes of open topics: new partitions, deleted ones, recreated ones, lost offsets, and those nobody uses.

One request every two seconds looks at the ids and partitions of all of them, since librdkafka follows a recreated topic
without a word and keeps the old offset (measured: the first records of the new log are never seen). Whatever is lost
is told to each subscription as a verdict on its own place, and it goes on where the log does. Here too the clocks of
subscriptions: those whose policy is not to wait, and those whose place moves without a record.
"""

import contextlib
import time
from collections.abc import Callable

import structlog
import trio

from tailrace.core.begin import Verdict, recreated, within
from tailrace.errors import ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.reading import Reading
from tailrace.gateway.topics import Held, Topics
from tailrace.kafka.cluster import Listing
from tailrace.kafka.topic import Change, TopicDescription

LINGER_SECONDS = 30.0  # a page that is reloaded finds its topic open
WATCH_SECONDS = 2.0
MISSING_SECONDS = 5.0  # then a topic counts as deleted (docs/protocol.md, section 3)
SLOW_SECONDS = 0.25  # how often subscriptions are looked at that skip or close
TURN_SECONDS = 0.001  # of such looks before others have theirs: each takes 1 us, and up to 0.3 ms behind many records
PLACE_SECONDS = 10.0  # how often a place is told that moves without a record

Judge = Callable[[dict[int, int]], tuple[list[Verdict], dict[int, int]]]
"""From a subscription's offsets to what is lost of them, and where it goes on."""

_log = structlog.get_logger(__name__)


class Tending:
    """Of `topics`. slow_bytes: `limits.slow_bytes`."""

    def __init__(self, topics: Topics, slow_bytes: int) -> None:
        self._topics = topics
        self._slow_bytes = slow_bytes

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._give_up)
            nursery.start_soon(self._tell_places)

    async def _give_up(self) -> None:
        topics = self._topics
        while True:
            if not any(held.impatient for held in topics.held):  # nobody is to be woken for nothing
                topics.impatience = trio.Event()
                await topics.impatience.wait()
            await trio.sleep(SLOW_SECONDS)
            begun = time.perf_counter()
            for reading in [reading for held in topics.held for reading in held.impatient]:
                _contained(reading, lambda reading: reading.give_up_if_slow(self._slow_bytes))
                if time.perf_counter() - begun > TURN_SECONDS:
                    await trio.lowlevel.checkpoint()
                    begun = time.perf_counter()

    async def _tell_places(self) -> None:
        while True:
            await trio.sleep(PLACE_SECONDS)
            for held in self._topics.held:
                everyone = held.open.moved_silently()
                for reading in [reading for reading in held.readings if everyone or reading.filtered]:
                    _contained(reading, Reading.tell_place)
                    await trio.lowlevel.checkpoint()

    async def _watch(self) -> None:
        while True:
            await trio.sleep(WATCH_SECONDS)
            self._close_idle(trio.current_time())
            with _left_to_the_next_look():
                changes = await self._topics.cluster.changes([held.description for held in self._topics.held])
                await self._follow({id(change.before): change for change in changes})

    def _close_idle(self, now: float) -> None:
        for held in self._topics.held:
            if held.open.users == 0 and now - held.open.idle_since > LINGER_SECONDS:
                self._topics.shut(held)
            for format in held.open.unused(now):
                self._topics.tail_bytes -= held.open.forget(format)

    async def _follow(self, changes: dict[int, Change]) -> None:
        for held in self._topics.held:
            with _left_to_the_next_look():  # a topic that cannot be asked about holds up none of the others
                await self._follow_one(held, changes.get(id(held.description)))

    async def _follow_one(self, held: Held, change: Change | None) -> None:
        if change is None:
            held.missing_since = None
        elif change.after is None:
            self._missing(held, trio.current_time())
            return
        elif change.recreated:
            await self._recreated(held, change.after)
            return
        else:
            self._grow(held, change)
        if held.lost:
            await self._lost(held)

    def _missing(self, held: Held, now: float) -> None:
        held.missing_since = held.missing_since or now
        if now - held.missing_since >= MISSING_SECONDS:
            _log.warning("topic deleted", topic=held.open.name)
            for reading in list(held.readings):
                reading.ended(ErrorCode.TOPIC_DELETED, "the topic was deleted")
            self._topics.shut(held)

    def _grow(self, held: Held, change: Change) -> None:
        """New partitions are wanted from offset 0, by everybody: what is gone of one already is found and told as for
        the others."""
        assert change.after is not None
        for partition in sorted(change.added):
            held.open.add_partition(partition, 0)
        held.description = change.after
        self._topics.live.extend(held.open.name, dict.fromkeys(change.added, 0))
        _log.info("topic has new partitions", topic=held.open.name, partitions=len(change.after.partitions))

    async def _recreated(self, held: Held, after: TopicDescription) -> None:
        """Another topic has the name: everyone is told, and goes on at its beginning."""
        beginnings = await self._topics.cluster.beginnings(after.name, after.partitions)
        _log.warning("topic was deleted and created again", topic=after.name)
        held.missing_since = None
        self._rebase(held, after, beginnings, lambda positions: recreated(positions, beginnings, after.topic_id or ""))

    async def _lost(self, held: Held) -> None:
        """Offsets that were to be read next are gone: `retention`, or a log that was `truncated`.

        A topic made anew between the look and the listing would be judged by another log: its id is looked at behind
        the listing once more, and what has changed meanwhile is the next look's.
        """
        name, partitions = held.open.name, held.description.partitions
        beginnings, ends = await self._topics.cluster.listed(name, partitions, Listing.BEGINNINGS, Listing.HIGH_ENDS)
        if await self._topics.cluster.changes([held.description]):
            return
        _, positions = within(held.open.positions, beginnings, ends)
        self._rebase(held, held.description, positions, lambda own: within(own, beginnings, ends))

    def _rebase(self, held: Held, description: TopicDescription, positions: dict[int, int], judge: Judge) -> None:
        """Read the topic anew from these offsets, in new tails; every subscription hears the verdict on its own."""
        topics, users = self._topics, held.open.users
        formats = list(held.open.tails)
        topics.drop_tails(held)
        topics.blocks.forget(held.open.name)
        held.description, held.lost = description, set()
        held.open, held.generation, held.source = topics.read_from(held.open.name, positions)
        held.open.users = users
        for format in formats:
            held.open.tail(format)
        for reading in list(held.readings):
            _contained(reading, lambda reading: self._judge(held, reading, judge))

    def _judge(self, held: Held, reading: Reading, judge: Judge) -> None:
        verdicts, positions = judge(dict(reading.positions))
        reading.rebase(held.open.tail(reading.format), verdicts, positions)


def _left_to_the_next_look() -> contextlib.suppress:
    """What Kafka cannot tell now is found again then."""
    return contextlib.suppress(KafkaUnavailable, UnknownTopic)


def _contained(reading: Reading, look: Callable[[Reading], object]) -> None:
    """A fault of ours with one subscription ends that one, and not everybody's tending."""
    try:
        look(reading)
    except Exception:  # noqa: BLE001  logged, and the client is told
        _log.exception("a subscription failed, by a fault of ours", topic=reading.topic)
        reading.ended(ErrorCode.INTERNAL, "a fault of the gateway; subscribe again")
