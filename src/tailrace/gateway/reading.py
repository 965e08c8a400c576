"""One subscription that runs: its cursor in the core, the topic it holds open, and what its client is told of it.

A cursor that is not in the tail (it began further back, or its client was slower than the tail is long) is chased
(`chase`): read back from Kafka until the tail has everything it still wants. Then it enters, and nothing is lost or
repeated on the way, since its place is a vector of offsets all the time. A partition that cannot be read now catches
up `apart`.
"""

from collections.abc import Set as AbstractSet
from typing import Any

import trio

from tailrace._fanout import ARRIVED, BEHIND, FALLEN, HOLED, RESTING, VALUE, Subscription, Tail
from tailrace.core.begin import Verdict
from tailrace.core.commands import Slow
from tailrace.core.position import Positions
from tailrace.disconnect import GAP, SLOW
from tailrace.errors import CommandError, ErrorCode
from tailrace.gateway.apart import NOWHERE, Apart
from tailrace.gateway.blocks import Blocks, Source
from tailrace.gateway.chase import Chase, wake
from tailrace.gateway.owner import Owner
from tailrace.gateway.snapshots import Lease
from tailrace.gateway.topics import Start, Topics


class Reading:
    """A subscription that runs, from its making until `close`, or until the gateway ends it and tells the owner."""

    __slots__ = (
        "_apart",
        "_carried",
        "_chase",
        "_delivered",
        "_goal",
        "_held",
        "_interval",
        "_owner",
        "_subscription",
        "_topics",
        "rest_until",
        "slow",
        "snapshot",
        "ticket",
    )

    def __init__(
        self,
        topics: Topics,
        start: Start,
        owner: Owner,
        id: int,
        keys: frozenset[bytes | None] | None,
        slow: Slow = Slow.WAIT,
        interval_ms: int = 0,
        ticket: Any = None,
    ) -> None:
        """Takes over the topic that `start` holds. `subscribed` and what goes with it have been said."""
        beginning = start.beginning
        self._topics = topics
        self._held = start.held
        self._owner = owner
        self.slow = slow
        self._apart: dict[int, Apart] = {}  # by partition
        self._carried = 0  # delivered by cursors before this one
        self._chase: Chase | None = None  # from the first block on that is read back for it
        self._delivered = 0
        self._goal = {p: end for p, end in beginning.goal.items() if beginning.positions[p] < end}
        self.ticket = ticket
        self.snapshot: Lease | None = start.snapshot
        self._held.readings[self] = None
        self._count_gaps(beginning.verdicts)
        if slow in (Slow.SKIP, Slow.CLOSE):
            self._held.impatient[self] = None
            topics.impatience.set()
        self._interval = interval_ms / 1000 if slow is Slow.LATEST else 0.0
        self.rest_until = 0.0  # the earliest time of the next round
        self._subscription = self._begin(start.tail, start.seq, beginning.positions, id, keys)

    def _begin(
        self,
        tail: Tail,
        seq: int | None,
        positions: dict[int, int],
        id: int,
        keys: AbstractSet[bytes | None] | None,
    ) -> Subscription:
        """A cursor at these offsets: in the tail if it has them all, else away, to be chased."""
        positions = positions | dict.fromkeys(self._apart, NOWHERE)
        if self.snapshot is not None:
            seq = None  # the tail has also what a snapshot leaves out
        elif seq is None or not tail.start <= seq:
            seq = tail.entry(positions)
        line = self._owner.outlet.line
        wanted = None if keys is None else frozenset(keys)
        goal = {partition: end for partition, end in self._goal.items() if partition not in self._apart}
        subscription = Subscription(line, tail, id, wanted, seq, positions, self, seq is None, goal)
        self._conflate(subscription)
        wake(tail)
        if seq is None:
            self._start_chase()
        return subscription

    def _start_chase(self) -> None:
        self._chase = self._chase or Chase(self, self._owner)
        self._chase.start()

    def _look_again(self) -> None:
        if self._chase is not None:
            self._chase.look_again()

    def _conflate(self, subscription: Subscription) -> None:
        """From `live` on a subscription that wants only the newest gets its records in rounds."""
        if self.slow is Slow.LATEST and not self._goal:
            subscription.conflate(self._interval > 0)

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return self._owner

    @property
    def cursor(self) -> Subscription:
        """Its cursor in the core: to look at, for who tells of it."""
        return self._subscription

    @property
    def positions(self) -> Positions:
        """The next offset of every partition."""
        return self._whole(self._subscription.positions)

    def _whole(self, positions: Positions) -> dict[int, int]:
        return {**positions, **{partition: apart.place for partition, apart in self._apart.items()}}

    @property
    def delivered(self) -> int:
        """Records committed to the connection."""
        cursors = [self._subscription, *(apart.cursor for apart in self._apart.values())]
        return self._carried + sum(cursor.delivered for cursor in cursors)

    @property
    def topic(self) -> str:
        """Its name."""
        return self._held.open.name

    @property
    def source(self) -> Source:
        """What is read back."""
        return self._held.source

    @property
    def blocks(self) -> Blocks:
        """Where from."""
        return self._topics.blocks

    @property
    def format(self) -> int:
        """Of its tail."""
        return self._subscription.tail.format

    @property
    def filtered(self) -> bool:
        """It wants some keys only, so that its place may move without a record."""
        return self._subscription.keys is not None

    def close(self) -> Positions:
        """Nothing of it is sent any more: the last positions."""
        self._held.readings.pop(self, None)
        self._held.impatient.pop(self, None)
        self._topics.release(self._held)
        self._leave_snapshot()
        self._look_again()
        return self._close_cursors()

    def _close_cursors(self) -> dict[int, int]:
        """The last positions; the partitions that were apart are so no longer."""
        last = self._whole(self._subscription.close())
        for apart in self._apart.values():
            apart.close()
            self._carried += apart.cursor.delivered
        self._apart = {}
        return last

    def _begin_anew(self, tail: Tail, positions: dict[int, int]) -> None:
        """With another cursor; the one before is closed."""
        before = self._subscription
        self._carried += before.delivered
        self._subscription = self._begin(tail, None, positions, before.id, before.keys)
        self._look_again()

    def ended(self, code: ErrorCode, message: str) -> None:
        """The gateway ends it."""
        self._owner.ended(self, self.close(), code, message)

    def rebase(self, tail: Tail, verdicts: list[Verdict], positions: dict[int, int]) -> None:
        """The topic has a new tail, since its log is another one, or lost records: tell the verdicts, go on there."""
        self._close_cursors()
        self._leave_snapshot()
        if verdicts:
            self._miss(verdicts)
        passed = {verdict.partition for verdict in verdicts if verdict.reason != "retention"}  # named to its end
        passed |= self._goal.keys() - positions.keys()  # recreated without it
        if self._goal and self._goal.keys() <= passed:
            self._say_live(positions)
        self._goal = {partition: end for partition, end in self._goal.items() if partition not in passed}
        self._begin_anew(tail, positions)

    # ------------------------------------------------------------------------------------ what the core tells of it

    def stopped(self, subscription: Subscription) -> None:
        """The cursor cannot go on by itself."""
        if subscription is not self._subscription:
            return
        if subscription.state == ARRIVED:
            self._arrived()
            subscription.go_on()
            wake(subscription.tail)
        elif subscription.state == RESTING:
            self.rest_until = trio.current_time() + self._interval
            self._owner.outlet.start_soon(self._rest)
        elif subscription.state == HOLED and self.format == VALUE:  # too large; it has no words for that
            self._hole(subscription)
        elif subscription.state == HOLED:
            self.ended(ErrorCode.INTERNAL, "a record could not be shown")
        elif subscription.state == FALLEN:
            self._fallen()

    def _hole(self, subscription: Subscription) -> None:
        """A client that has seen nothing yet misses nothing; to another the hole would be silent."""
        if self.delivered:
            self._owner.close(GAP)
            return
        subscription.pass_hole()
        wake(subscription.tail)
        if subscription.state == FALLEN:
            self._fallen()

    def _fallen(self) -> None:
        chase = self._chase
        if chase is not None and chase.running:
            chase.sent()
        elif not self.give_up_if_slow():
            self._held.open.traffic.fallen += 1
            self._start_chase()

    def _arrived(self) -> None:
        """This cursor has passed its goals; those that are apart may have some left."""
        self._pass_goals(self._goal.keys() - self._apart.keys())

    def _pass_goals(self, partitions: AbstractSet[int]) -> None:
        left = {partition: end for partition, end in self._goal.items() if partition not in partitions}
        if self._goal and not left:
            self._say_live(self.positions)
            self._conflate(self._subscription)
        self._goal = left

    def _say_live(self, positions: Positions) -> None:
        self._goal = {}
        self._leave_snapshot()
        self._owner.reached_live(self, positions)

    def _leave_snapshot(self) -> None:
        """What comes from here on is the log."""
        lease, self.snapshot = self.snapshot, None
        if lease is not None:
            lease.release()

    def give_up_if_slow(self, slow_bytes: int = 0) -> bool:
        """Apply the policy of a client that is behind by more than this: True when it did something.

        `skip` jumps to the end and says what it left out, `close` ends the connection; both only after `live`.
        """
        subscription = self._subscription
        if self._goal or self.slow not in (Slow.SKIP, Slow.CLOSE) or subscription.state not in (BEHIND, FALLEN):
            return False
        if not subscription.waits(slow_bytes):
            return False
        self._topics.counts.slow[self.slow] += 1
        if self.slow is Slow.CLOSE:
            self._owner.close(SLOW)
            return True
        before, tail = subscription.jump(), subscription.tail
        self._look_again()
        now = tail.positions
        moved = [p for p in sorted(now) if before.get(p, 0) < now[p]]
        self._miss([Verdict(p, before.get(p, 0), now[p], now[p], "slow") for p in moved])
        wake(tail)
        return True

    def _miss(self, verdicts: list[Verdict]) -> None:
        self._count_gaps(verdicts)
        self._owner.missed(self, verdicts)

    def _count_gaps(self, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            self._held.open.traffic.gaps[verdict.reason] += 1

    # ------------------------------------------------------------------------------------------------- for the chase

    async def until_built(self) -> bool:
        """The snapshot, whose ends are the goal, if it begins with one. False when it cannot be had, which is said."""
        lease = self.snapshot
        if lease is None:
            return True
        try:
            ends = await lease.ready()
        except CommandError as error:
            if self.snapshot is not lease:  # in the same moment it was closed, or its topic read anew
                return True
            self.ended(error.code, error.message)
            return False
        if self.snapshot is lease and ends != self._goal:
            positions = self._close_cursors()
            self._goal = {partition: end for partition, end in ends.items() if positions.get(partition, 0) < end}
            self._begin_anew(self._subscription.tail, positions)
        return True

    def pass_goals(self) -> None:
        """Those that its place has reached."""
        if self._goal and self._subscription.pass_goals():
            self._arrived()

    # ------------------------------------------------------------------------------------------ what is caught up apart

    def may_be_apart(self, left: dict[int, int]) -> bool:
        """Whether it has other partitions too, which these keep out of the tail. left: as `Chase` counts it."""
        return len(left) + len(self._apart) < len(self._subscription.positions)

    def set_apart(self, left: dict[int, int], unreadable: set[int]) -> bool:
        """When only partitions that cannot be read keep it out of the tail, it goes there without them. False: they
        are not all."""
        subscription = self._subscription
        if self.snapshot is not None or not left or not left.keys() <= unreadable or not self.may_be_apart(left):
            return False
        positions = self._whole(subscription.close())
        for partition in left:
            apart = self._apart[partition] = Apart(self, self._owner, subscription, partition, positions[partition])
            self._owner.outlet.start_soon(apart.run)
        self._begin_anew(subscription.tail, positions)
        return True

    def rejoin(self, partition: int) -> None:
        """The tail has what is still wanted of it."""
        positions = self._whole(self._subscription.close())
        apart = self._apart.pop(partition)
        apart.close()
        self._carried += apart.cursor.delivered
        self._begin_anew(self._subscription.tail, positions)

    def goal(self, partition: int) -> int:
        """The offset where `live` may have to be said; 0 when there is none."""
        return self._goal.get(partition, 0)

    def pass_goal(self, partition: int) -> None:
        """It has been reached there."""
        self._pass_goals({partition})

    def miss(self, verdict: Verdict) -> None:
        """Something will not be sent."""
        self._miss([verdict])

    # ----------------------------------------------------------------------------------------------- now and then

    async def _rest(self) -> None:
        """Between two rounds of a conflated subscription: `interval_ms` behind the last, the next may be."""
        subscription = self._subscription
        await trio.sleep_until(self.rest_until)
        subscription.round()
        wake(subscription.tail)

    def tell_place(self) -> None:
        """The place moved though no record came (a rare key): tell it, so that a client that resumes need not read
        all that again. Its records of one partition tell nothing of the others."""
        delivered, self._delivered = self._delivered, self.delivered
        positions = self.positions
        if delivered == self._delivered or len(positions) > 1:
            self._owner.moved(self, positions)


def stopped(subscriptions: list[Subscription]) -> None:
    """For `Outlet.on_dropped`: each reading knows what its cursor stands for."""
    for subscription in subscriptions:
        subscription.owner.stopped(subscription)
