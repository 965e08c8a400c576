"""The chase of a cursor that is not in the tail: what it wants is read back from Kafka until the tail has the rest.

Block by block, at the client's own pace. Rules: a block is asked for only when nothing waits for the client, so that a
stalled one holds no memory; partitions are read in turns, the one with the most left first; one that cannot be read now
holds up neither the others nor the step into the tail (`apart`). Who begins with a snapshot reads its chunks in the
same way, up to its ends, before anything else. Who wants some keys only may look through so much that it does not want
in a second, all of a connection together (`core.pace`), or one that asks for a rare key a thousand times takes a core.

What has to be decided is decided by a task. Between two decisions it sleeps: the blocks that follow are sent by whoever
brings them, as far as the kernel takes them. So whoever moves the cursor meanwhile, or closes it, has it `look_again`.
"""

from typing import TYPE_CHECKING

import trio
from outcome import Outcome, Value

from tailrace._fanout import FALLEN, Stretch, Subscription, Tail
from tailrace.core.begin import Verdict
from tailrace.core.pace import ScanPace
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway.apart import AGAIN_SECONDS
from tailrace.gateway.blocks import Beyond, Gone, Request
from tailrace.gateway.owner import Owner

if TYPE_CHECKING:
    from tailrace.gateway.reading import Reading

STRAIGHT_ON_BLOCKS = 8  # of one partition before the others are looked at


class Chase:
    """Of one reading, whose cursors come and go. `running`: a task is at it, which ends with the connection."""

    __slots__ = (
        "_chases",
        "_exhausted",
        "_fed",
        "_feeding",
        "_outlet",
        "_owner",
        "_partition",
        "_reading",
        "_request",
        "_rests_until",
        "_scans",
        "_straight_on",
        "running",
    )

    def __init__(self, reading: "Reading", owner: Owner) -> None:
        self._reading = reading
        self._outlet = owner.outlet
        self._chases = owner.chases
        self._owner = owner
        self._scans: ScanPace | None = None
        self._fed: tuple[int, int] | None = None  # the block's records, and how many had been delivered before
        self._rests_until = 0.0
        self.running = False
        self._straight_on = 0  # blocks that may still follow the one that is sent
        self._partition = 0  # which that is of
        self._feeding = False
        self._exhausted: trio.Event | None = None  # while it is waited for
        self._request: Request | None = None  # for the block that follows, if it was not there

    def start(self) -> None:
        """Read back until the tail has what is still wanted."""
        self._outlet.start_soon(self._run)

    def look_again(self) -> None:
        """Nobody wants the block any more that is sent or asked for, or something else is to be done first."""
        self._feeding = False
        self._withdraw()
        if self._exhausted is not None:
            self._exhausted.set()

    def sent(self) -> None:
        """The block has been, or was revoked on the way: on with the next."""
        if self._pay() or not self._go_straight_on():
            self.look_again()

    def _pay(self) -> bool:
        """For what was looked through and not wanted: True when the next block has to wait."""
        fed, self._fed = self._fed, None
        if fed is None:
            return False
        self._scans = self._scans or self._owner.scan_pace()
        records, before = fed
        now = trio.current_time()
        wait = self._scans.take(records, self._reading.delivered - before, now)
        self._rests_until = now + wait
        return wait > 0

    async def _run(self) -> None:
        if self.running:
            return
        self.running = True
        try:
            if self._chases is None:
                await self._read_back()
            else:
                async with self._chases:
                    await self._read_back()
        finally:
            self.running = False
            self._withdraw()

    async def _read_back(self) -> None:
        resting: dict[int, float] = {}  # partitions that have nothing now, and until when they are left alone
        unreadable: set[int] = set()
        reading = self._reading
        if not await reading.until_built():
            return
        while True:
            # Evicted between two rounds: what it missed is the next one.
            rests_until = max(reading.rest_until, self._rests_until)
            if rests_until > trio.current_time():
                await trio.sleep_until(rests_until)
            if self._outlet.waiting_bytes:  # a checkpoint for nothing else: each way on from here has one
                await self._outlet.clear()
            subscription = reading.cursor
            if subscription.state != FALLEN:
                return
            reading.pass_goals()
            seq = None if reading.snapshot else subscription.tail.entry(subscription.positions)
            if seq is not None:
                subscription.enter(seq)
                wake(subscription.tail)
                return
            await self._read_block(subscription, resting, unreadable)

    async def _read_block(self, subscription: Subscription, resting: dict[int, float], unreadable: set[int]) -> None:
        """Have one more block of one partition sent, and wait until it has been."""
        partition = self._next_partition(subscription, resting)
        if partition is None:
            apart = self._reading.set_apart(self._left(subscription), unreadable)
            await trio.sleep(0.0 if apart else AGAIN_SECONDS)
            return
        positions = subscription.positions
        try:
            stretch = await self._block(subscription, partition, positions[partition])
        except Gone as gone:
            verdict = Verdict(partition, positions[partition], gone.beginning, gone.beginning, "retention")
            self._lost(subscription, verdict)
        except Beyond as beyond:
            self._lost(subscription, Verdict(partition, beyond.end, positions[partition], beyond.end, "truncated"))
        except (KafkaUnavailable, UnknownTopic):
            resting[partition] = trio.current_time() + AGAIN_SECONDS
            unreadable.add(partition)
            await trio.lowlevel.checkpoint()  # it may have been known before anything was asked
        else:
            unreadable.discard(partition)
            if not self._still_at(subscription, partition, positions[partition]):
                return
            if stretch.next <= positions[partition]:  # nothing there yet: what comes next has to be committed first
                resting[partition] = trio.current_time() + AGAIN_SECONDS
                return
            self._straight_on = STRAIGHT_ON_BLOCKS
            self._feed(stretch, positions[partition])
            await self._sent()

    async def _sent(self) -> None:
        """Until what was fed has been sent; no wait, and no checkpoint, when it has."""
        if self._feeding:
            self._exhausted = trio.Event()
            await self._exhausted.wait()
            self._exhausted = None

    def _feed(self, stretch: Stretch, offset: int) -> None:
        """Have a block sent from this offset on, as far as the goal: there `live` is to be said."""
        goal = self._reading.goal(stretch.partition)
        self._partition = stretch.partition
        if self._reading.filtered:
            self._fed = stretch.records, self._reading.delivered
        self._feeding = True
        if self._reading.cursor.feed(stretch, goal if goal > offset else None):
            self._outlet.write()

    def _go_straight_on(self) -> bool:
        """Have the block that follows sent, now or when it comes, if nothing has to be decided: to wake the chase for
        it would cost as much as sending a hundred records. False when it has to be woken."""
        reading, subscription, partition = self._reading, self._reading.cursor, self._partition
        if not self._feeding or self._straight_on == 0 or reading.snapshot is not None or self._outlet.waiting_bytes:
            return False
        offset = subscription.positions[partition]
        if offset >= subscription.tail.start_positions[partition] or 0 < reading.goal(partition) <= offset:
            return False
        self._straight_on -= 1
        stretch = reading.blocks.found(reading.source, partition, offset, subscription.tail.format)
        if stretch is not None:
            self._feed(stretch, offset)
            return True
        try:
            self._request = reading.blocks.ask(reading.source, partition, offset, reading.format, self._came)
        except KafkaUnavailable:
            return False
        return True

    def _came(self, answer: Outcome[Stretch]) -> None:
        """What was asked for. Why it was not to be had the chase hears when it asks for itself."""
        try:
            request, self._request = self._request, None
            assert request is not None
            stretch = answer.value if isinstance(answer, Value) else None
            at = self._still_at(self._reading.cursor, self._partition, request.offset)
            if stretch is not None and at and stretch.next > request.offset:
                self._feed(stretch, request.offset)
            else:
                self.look_again()
        except Exception as fault:  # noqa: BLE001  ours: it is this connection's, whoever brought the block
            self._outlet.blame(fault)

    def _withdraw(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            self._reading.blocks.withdraw(request)

    async def _block(self, subscription: Subscription, partition: int, offset: int) -> Stretch:
        """The one that holds this offset. Raises as `Blocks.get`; at once where others need not wait for it."""
        reading = self._reading
        if reading.snapshot is not None:
            try:
                return reading.snapshot.get(partition, offset)
            finally:  # not before it: meanwhile the client may leave, and the snapshot with it
                await trio.lowlevel.checkpoint()
        patient = not reading.may_be_apart(self._left(subscription))
        return await reading.blocks.get(reading.source, partition, offset, reading.format, patient)

    def _next_partition(self, subscription: Subscription, resting: dict[int, float]) -> int | None:
        """The one with the most left before the tail has it; None when those that are left are at rest."""
        now, left = trio.current_time(), self._left(subscription)
        ready = [partition for partition in left if resting.get(partition, now) <= now]
        return max(ready, key=lambda partition: left[partition], default=None)

    def _left(self, subscription: Subscription) -> dict[int, int]:
        """How many offsets of each partition are missing until the tail, or the snapshot's end."""
        positions = subscription.positions
        snapshot = self._reading.snapshot
        until = subscription.tail.start_positions if snapshot is None else snapshot.ends
        return {
            partition: offset - positions[partition]
            for partition, offset in until.items()
            if offset > positions.get(partition, offset)
        }

    def _still_at(self, subscription: Subscription, partition: int, offset: int | None) -> bool:
        """Whether an answer about this offset still concerns it: while it was awaited, anything may have happened."""
        current = subscription is self._reading.cursor and subscription.state == FALLEN
        return current and subscription.positions[partition] == offset

    def _lost(self, subscription: Subscription, verdict: Verdict) -> None:
        """What it wants next is not in Kafka's log: say so, and go on where the log does."""
        wanted = verdict.to if verdict.reason == "truncated" else verdict.from_
        if self._still_at(subscription, verdict.partition, wanted):
            self._reading.miss(verdict)
            subscription.move(verdict.partition, verdict.next)


def wake(tail: Tail) -> None:
    """Start the writers that the tail asks for."""
    for outlet in tail.take_woken():
        outlet.wake()
