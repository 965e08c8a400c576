"""The live end of every open topic: one consumer, one thread, one hand-off per batch.

Rules:
- The consumer belongs to the poll thread alone. Everyone else leaves a command and rings the bell (`native`), which
  ends the wait: a command is taken within a millisecond when nothing arrives, or after the batch in hand.
- Partitions are assigned by hand and incrementally: no group, and what flows is not disturbed by what comes or goes
  (`assignments`).
- A fault of a partition is told in the batch, librdkafka goes on by itself. An exception in the thread is ours, and
  comes out of `run`.
- While there is no room for another batch the thread waits: pressure goes back to librdkafka's queue, and to Kafka.

Left out: reading back (another consumer's work), and what a record means.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Mapping

import msgspec
import trio
from confluent_kafka import Consumer, KafkaError, Message

from tailrace.kafka import settings
from tailrace.kafka.assignments import Assignments
from tailrace.kafka.batch import Batch, batch
from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.consume import consume
from tailrace.kafka.hand_off import HandOff
from tailrace.kafka.native import Doorbell
from tailrace.kafka.trouble import Trouble, trouble

BEGINNING = -2
"""In place of an offset: the oldest record the broker still has."""

# consume(N, 0) holds the GIL for N records: 4 ms for 500, 12 ms for 10,000.
MAX_RECORDS = 500
MAX_BATCH = 4000

# A wait costs a wake-up: 10 ms cost 1 % of a core, 20 ms 0.5 %, 1 s 0.01 % (measured). The bell makes it the last
# resort only; 0.5 s still serves librdkafka's error events in time for `Health`.
_WAIT_SECONDS = 0.5
_WAIT_WITHOUT_BELL_SECONDS = 0.02

Command = Callable[[Consumer], None]


class LiveStatistics(msgspec.Struct, frozen=True):
    """A moment of the poll thread: open topics and partitions, commands not yet taken, batches and records so far."""

    topics: int
    partitions: int
    commands: int
    batches: int
    records: int


class LiveConsumer:
    """Records of the assigned partitions, in batches, from `run`; everything else may be called from any thread.

    `kafka`: the user's librdkafka settings. `on_error`: called in the poll thread for each error event that concerns
    no partition (a broker that is down); must not block. `on_statistics`: the same with librdkafka's statistics, a JSON
    text, every `statistics.interval.ms`.
    """

    def __init__(
        self,
        kafka: Mapping[str, settings.Value],
        on_error: Callable[[Trouble], None] = lambda _: None,
        log: BrokerLog | None = None,
        on_statistics: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings.consumer(kafka)
        self._on_error = on_error
        self._on_statistics = on_statistics
        self._log = log or BrokerLog()
        self._generations = itertools.count(1)
        self._commands: deque[Command] = deque()
        self._bell: Doorbell | None = None
        self._stopping = False
        # From here on the poll thread's own.
        self._assignments = Assignments()
        self._batches = 0
        self._records = 0

    async def run(self, batches: HandOff[Batch]) -> None:
        """Reads until cancelled, and returns only when the thread has ended and the consumer is closed.

        Ends `batches` at the end. Raises what the thread raised.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_when_cancelled, batches)
                # A limiter of its own: the thread lives as long as the gateway and must not use up a place for others.
                await trio.to_thread.run_sync(self._poll, batches, limiter=trio.CapacityLimiter(1))
                nursery.cancel_scope.cancel()
        finally:
            batches.end()

    def assign(self, topic: str, offsets: Mapping[int, int]) -> int:
        """Reads these partitions from these offsets (or `BEGINNING`), and no other of the topic; not paused.

        Returns the generation that the batches carry from then on. Offsets that are gone come as faults; of a topic
        or partition that does not exist nothing is ever heard: ask `Cluster` first.
        """
        generation = next(self._generations)
        self._order(functools.partial(self._assignments.assign, topic, dict(offsets), generation))
        return generation

    def extend(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Adds partitions to an assigned topic, in the same generation; nothing when it is not assigned.

        A partition that is assigned already is moved, which is meant for one that a fault stopped: records of it
        that are under way could not be told from the new ones.
        """
        self._order(functools.partial(self._assignments.extend, topic, dict(offsets)))

    def unassign(self, topic: str) -> None:
        """Ends reading it; batches that still carry its records are under way."""
        self._order(functools.partial(self._assignments.unassign, topic))

    def pause(self, topic: str) -> None:
        """Stops fetching; what librdkafka holds is dropped, and fetched again by `resume`: nothing is lost."""
        self._order(functools.partial(self._assignments.pause, topic, True))

    def resume(self, topic: str) -> None:
        """Goes on behind the last record that was handed over."""
        self._order(functools.partial(self._assignments.pause, topic, False))

    def statistics(self) -> LiveStatistics:
        topics, partitions = self._assignments.size
        return LiveStatistics(topics, partitions, len(self._commands), self._batches, self._records)

    def _order(self, command: Command) -> None:
        self._commands.append(command)
        self._ring()

    def _ring(self) -> None:
        if (bell := self._bell) is not None:
            bell.ring()

    async def _stop_when_cancelled(self, batches: HandOff[Batch]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._stopping = True
            batches.end()
            self._ring()

    def _error_event(self, error: KafkaError) -> None:
        self._on_error(trouble(error))

    # The poll thread.

    def _poll(self, batches: HandOff[Batch]) -> None:
        error_callback = self._error_event  # one object: the bell knows the consumer by it
        consumer = Consumer(self._settings, error_cb=error_callback, stats_cb=self._on_statistics, logger=self._log)
        self._bell = bell = Doorbell(consumer, error_callback)
        wait_seconds = _WAIT_SECONDS if bell.works else _WAIT_WITHOUT_BELL_SECONDS
        try:
            while not self._stopping:
                self._take_commands(consumer)
                messages = consume(consumer, MAX_RECORDS, wait_seconds, lambda: bell.more)
                _fill(messages, consumer, batches)
                self._hand_over(batches, messages)
        finally:
            bell.close()
            consumer.close()

    def _take_commands(self, consumer: Consumer) -> None:
        while self._commands:
            self._commands.popleft()(consumer)
        self._assignments.retry(consumer)

    def _hand_over(self, batches: HandOff[Batch], messages: list[Message]) -> None:
        if messages and (arrived := batch(messages, self._assignments.generation_of)):
            batches.give(arrived)
            self._batches += 1
            self._records += sum(map(len, arrived.records.values()))


def _fill(messages: list[Message], consumer: Consumer, batches: HandOff[Batch]) -> None:
    """While the loop is busy with the batch before, this one grows by what is there: fewer hand-offs, and the first
    record of a quiet topic does not wait behind twenty batches of a busy one."""
    while messages and not batches.ready and len(messages) < MAX_BATCH:
        more = consumer.consume(MAX_RECORDS, 0)
        if not more:
            return
        messages += more
