"""From Kafka's batches to the sockets: takes what the poll thread handed over and gives every topic its turn.

One task. Topics with something to do take turns of 1-2 ms with a checkpoint between, so that neither ten thousand
records of one topic hold up a quiet one nor a fan-out holds up pongs and commands. When nothing is left to do it
waits for the next batch.
"""

from typing import Protocol

import trio

from tailrace.gateway.topics import Topics
from tailrace.kafka.batch import Batch


class Batches(Protocol):
    """The receiving end of a hand-off, or of a memory channel."""

    async def receive(self) -> Batch: ...
    def receive_nowait(self) -> Batch: ...


class Pump:
    """Serves `topics` from `batches`. max_bytes: of all tails together."""

    def __init__(self, topics: Topics, batches: Batches, max_bytes: int) -> None:
        self._topics = topics
        self._batches = batches
        self._max_bytes = max_bytes

    async def run(self) -> None:
        """Until cancelled, or until the poll thread has ended."""
        try:
            while True:
                if self._topics.due:
                    await trio.lowlevel.checkpoint()
                else:
                    self._topics.arrived(await self._batches.receive())
                self._take_what_is_there()
                self._turn()
        except trio.EndOfChannel:
            return

    def _take_what_is_there(self) -> None:
        """All of it, so that the first record of a quiet topic does not wait behind a busy one's batches."""
        try:
            while True:
                self._topics.arrived(self._batches.receive_nowait())
        except trio.WouldBlock:
            return

    def _turn(self) -> None:
        """One turn of the topic that has waited longest."""
        due = self._topics.due
        if not due:
            return
        topic = next(iter(due))
        del due[topic]
        more, grown = topic.turn()
        if more:
            due[topic] = None
        self._topics.regulate(topic)
        if grown:
            self._topics.tail_bytes += grown
            self._evict()

    def _evict(self) -> None:
        """Keep within memory: the largest tail gives up its oldest block, so that a burst in one does not evict the
        quiet ones."""
        while self._topics.tail_bytes > self._max_bytes:
            tail = max(self._topics.tails, key=lambda tail: tail.memory_bytes)
            self._topics.tail_bytes -= tail.evict()
            for outlet in tail.take_woken():
                outlet.wake()
