"""When to ping a client, and when to give it up: one pulse a connection, decided purely, swept by one task for all.

A slow reader is not a dead one: behind 64 KiB of records a ping is answered after minutes, so while anything else
waits to be sent there is no pong clock, only the write timeout, and both look at what the client's kernel
acknowledged (TIOCOUTQ). Measured: at 2 KB/s and default buffers the kernel sees no progress for 60-110 s at a time.
"""

import math
from enum import Enum

import msgspec

PING_BYTES = 2  # an empty ping frame: all that may be outstanding while its answer is awaited


class Verdict(Enum):
    """What a look at the pulse asks for."""

    WELL = "well"
    PING = "ping"
    NO_PONG = "no_pong"
    WRITE_TIMEOUT = "write_timeout"


class Times(msgspec.Struct, frozen=True):
    """Seconds; None is off."""

    ping_interval: float | None
    pong_timeout: float | None
    write_timeout: float | None

    @property
    def look(self) -> float:
        """How often to look, in seconds: a quarter of the shortest clock, so that none runs more than twice that
        over (how many are looked at in one go moves each one's moment by less than a look)."""
        clocks = (self.ping_interval, self.pong_timeout, self.write_timeout)
        return min((clock / 4 for clock in clocks if clock is not None), default=60.0)


class Pulse:
    """What was last seen of one connection."""

    __slots__ = ("_acknowledged", "_acknowledged_at", "_pinged_at", "_received", "_rests_until", "_stuck_since")

    def __init__(self, now: float) -> None:
        self._acknowledged = 0
        self._acknowledged_at = now
        self._received = 0
        self._pinged_at: float | None = None
        self._stuck_since: float | None = None  # bytes wait, and none was acknowledged since
        self._rests_until = 0.0  # as long as nothing happens: what the last look found, not later than the next ping

    def rests(self, until: float, committed: int, received: int) -> bool:
        """Whether looks up to then would find nothing to do, if nothing happens; told without asking the kernel: all
        that was ever committed had been acknowledged at the last one, which found the client well. `committed`: bytes
        since the beginning."""
        return committed == self._acknowledged and received == self._received and until < self._rests_until

    def look(self, now: float, acknowledged: int, received: int, waiting: int, times: Times) -> Verdict:
        """Judge: `acknowledged` and `received` are bytes since the beginning, `waiting` bytes not yet acknowledged."""
        self._rests_until = 0.0
        if (
            not waiting
            and acknowledged == self._acknowledged
            and received == self._received
            and self._pinged_at is None
        ):
            self._stuck_since = None  # nothing has happened: what most looks find
            return self._judge_quiet(now, acknowledged, times)
        if not waiting and self._pinged_at is None and acknowledged != self._acknowledged:
            self._stuck_since = None  # all that was sent since is there: what most looks at busy ones find
            self._acknowledged_at, self._acknowledged, self._received = now, acknowledged, received
            self._rests_until = math.inf if times.ping_interval is None else now + times.ping_interval
            return Verdict.WELL
        own = 0 if self._pinged_at is None else PING_BYTES
        if acknowledged - self._acknowledged > own or received != self._received or waiting > own:
            self._pinged_at = None
        taken = acknowledged != self._acknowledged and self._pinged_at is None
        if taken:
            self._acknowledged_at, self._acknowledged = now, acknowledged
        self._received = received
        if waiting > own:
            return self._judge_waiting(now, taken, times)
        self._stuck_since = None
        return self._judge_quiet(now, acknowledged, times)

    def forgive(self) -> None:
        """A pong may have come and not been read: the one that is awaited is not, a ping is sent anew in its time."""
        self._pinged_at = None

    def _judge_waiting(self, now: float, taken: bool, times: Times) -> Verdict:
        if taken or self._stuck_since is None:
            self._stuck_since = now
        if times.write_timeout is not None and now - self._stuck_since >= times.write_timeout:
            return Verdict.WRITE_TIMEOUT
        return Verdict.WELL

    def _judge_quiet(self, now: float, acknowledged: int, times: Times) -> Verdict:
        if self._pinged_at is not None:
            late = times.pong_timeout is not None and now - self._pinged_at >= times.pong_timeout
            return Verdict.NO_PONG if late else Verdict.WELL
        if times.ping_interval is not None and now - self._acknowledged_at >= times.ping_interval:
            self._pinged_at = self._acknowledged_at = now
            self._acknowledged = acknowledged
            return Verdict.PING
        self._rests_until = math.inf if times.ping_interval is None else self._acknowledged_at + times.ping_interval
        return Verdict.WELL
