"""A partition that cannot be read now, of a subscription that is behind in it: it catches up alone.

Meanwhile the subscription's own cursor has the other partitions, in the tail or on its way there, and passes this one's
records over (its floor there is NOWHERE). Once the tail has what is still wanted of it, the two become one again.

Rules: at any moment only one of the two cursors sends the partition's records, so that their order stays; `live` waits
for the goal of either; who waits for Kafka here holds none of the connection's places for catching up.
"""

import contextlib
from typing import TYPE_CHECKING, Final

import trio

from tailrace._fanout import FALLEN, HOLED, VALUE, Stretch, Subscription
from tailrace.core.begin import Verdict
from tailrace.disconnect import GAP
from tailrace.errors import ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.blocks import Beyond, Gone
from tailrace.gateway.owner import Owner

if TYPE_CHECKING:
    from tailrace.gateway.reading import Reading

NOWHERE: Final = 2**63 - 1  # beyond any offset
AGAIN_SECONDS: Final = 1.0  # until a partition that could not be read is tried again


class Apart:
    """`main`: the cursor that goes on without it, from now on or already closed. `run` it."""

    __slots__ = ("_exhausted", "_owner", "_reading", "cursor", "partition")

    def __init__(self, reading: "Reading", owner: Owner, main: Subscription, partition: int, offset: int) -> None:
        self._reading = reading
        self._owner = owner
        self._exhausted = trio.Event()
        self.partition = partition
        floor = dict.fromkeys(main.positions, NOWHERE) | {partition: offset}
        keys = None if main.keys is None else frozenset(main.keys)
        self.cursor = Subscription(main.line, main.tail, main.id, keys, None, floor, self, True)

    @property
    def place(self) -> int:
        """The next offset."""
        return self.cursor.positions[self.partition]

    def close(self) -> None:
        """Nothing of it is sent any more."""
        self.cursor.close()
        self._exhausted.set()

    def stopped(self, cursor: Subscription) -> None:
        """From the core: what it was fed is sent."""
        if cursor.state == FALLEN:
            self._look_for_goal()
            self._exhausted.set()
        elif cursor.state == HOLED and self._reading.format != VALUE:
            self._reading.ended(ErrorCode.INTERNAL, "a record could not be shown")
        elif cursor.state == HOLED and self._reading.delivered:
            self._owner.close(GAP)
        elif cursor.state == HOLED:
            cursor.pass_hole()
            self._exhausted.set()

    async def run(self) -> None:
        """Until the tail has what is still wanted of it, or it is closed."""
        while True:
            await self._owner.outlet.clear()
            if self.cursor.state != FALLEN:
                return
            if self.place >= self.cursor.tail.start_positions[self.partition]:
                self._reading.rejoin(self.partition)
                return
            if not await self._read_on(self.place):
                await trio.sleep(AGAIN_SECONDS)

    async def _read_on(self, offset: int) -> bool:
        """One more block from this offset. False when there is none now."""
        try:
            await self._block(offset, patient=True)
            async with self._owner.chases or contextlib.nullcontext():
                stretch = await self._block(offset, patient=False)
                if self._is_at(offset) and stretch.next > offset:
                    await self._send(stretch, offset)
                return stretch.next > offset
        except Gone as gone:
            self._lost(offset, Verdict(self.partition, offset, gone.beginning, gone.beginning, "retention"))
        except Beyond as beyond:
            self._lost(offset, Verdict(self.partition, beyond.end, offset, beyond.end, "truncated"))
        except (KafkaUnavailable, UnknownTopic):
            return False
        return True

    async def _block(self, offset: int, patient: bool) -> Stretch:
        reading = self._reading
        return await reading.blocks.get(reading.source, self.partition, offset, reading.format, patient)

    def _is_at(self, offset: int) -> bool:
        return self.cursor.state == FALLEN and self.place == offset

    async def _send(self, stretch: Stretch, offset: int) -> None:
        await self._owner.outlet.clear()
        if not self._is_at(offset):
            return
        goal = self._reading.goal(self.partition)
        self._exhausted = trio.Event()
        if self.cursor.feed(stretch, goal if goal > offset else None):
            self._owner.outlet.wake()
        await self._exhausted.wait()

    def _look_for_goal(self) -> None:
        """At once, since the other cursor goes on."""
        if 0 < self._reading.goal(self.partition) <= self.place:
            self._reading.pass_goal(self.partition)

    def _lost(self, offset: int, verdict: Verdict) -> None:
        """What it wants next is not in Kafka's log: say so, and go on where the log does."""
        if self._is_at(offset):
            self._reading.miss(verdict)
            self.cursor.move(self.partition, verdict.next)
            self._look_for_goal()
