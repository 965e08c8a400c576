"""How fast clients may talk, and Kafka be read back: token buckets that may go into debt. Whoever asks tells the time.

What is taken is known only once it has been read, so taking never fails; whoever is in debt reads on when it is paid,
and the rate holds in the long run. Commands have an end besides: a client that is slowed down for LASTING_SECONDS
without a pause is told `rate_limited` (docs/protocol.md, section 5).
"""

import math
from typing import Final

from msgspec import Struct

COMMANDS_BURST_SECONDS: Final = 12.0  # 1,200 at 100 a second: 1,024 subscribes of a client that comes back, and more
INCOMING_BURST_SECONDS: Final = 2.0
CATCHUP_BURST_SECONDS: Final = 0.25  # of `catchup.bytes_per_second`
LASTING_SECONDS: Final = 10.0
# A million records: five times what the readers bring of a log in a second, so that only what is cached, and what many
# subscriptions look through, is slowed down. The burst has a thousand of them resume two blocks back without a wait.
SCANNED_BLOCKS_PER_SECOND: Final = 1000
SCANNED_BURST_SECONDS: Final = 2.0
# All who wait go on together then, and who is at it stays at it for so long: the loop woken for each block cost more
# than twice as much as the blocks themselves.
SCAN_TICK_SECONDS: Final = 0.01


class Bucket:
    """rate: per second; None: no bound. Full at first; holds `burst_seconds` of the rate."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: int | None, burst_seconds: float, now: float) -> None:
        self._rate = rate
        self._burst = self._left = (rate or 0) * burst_seconds
        self._at = now

    def take(self, count: float, now: float) -> float:
        """Take so many; seconds until the debt is paid, 0 when there is none."""
        if self._rate is None:
            return 0.0
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - count
        self._at = now
        return max(0.0, -self._left / self._rate)


class CommandPace:
    """Of one connection's commands."""

    __slots__ = ("_bucket", "_since")

    def __init__(self, per_second: int | None, now: float) -> None:
        self._bucket = Bucket(per_second, COMMANDS_BURST_SECONDS, now)
        self._since: float | None = None  # slowed down without a pause

    def take(self, now: float) -> float:
        """One command has come: seconds until it may be looked at."""
        wait = self._bucket.take(1, now)
        if not wait:
            self._since = None
        elif self._since is None:
            self._since = now
        return wait

    def lasts(self, now: float) -> bool:
        """The client has been too fast for so long that its command is refused."""
        return self._since is not None and now - self._since >= LASTING_SECONDS


class ScanPace:
    """Of one connection: what its subscriptions look through, since they want some keys only, and are not sent."""

    __slots__ = ("_bucket",)

    def __init__(self, now: float) -> None:
        self._bucket = Bucket(SCANNED_BLOCKS_PER_SECOND, SCANNED_BURST_SECONDS, now)

    def take(self, records: int, delivered: int, now: float) -> float:
        """One has looked through a block of so many and was sent so many: seconds until it may have the next."""
        wait = self._bucket.take(max(0.0, 1 - delivered / records) if records else 1, now)
        if wait < SCAN_TICK_SECONDS:
            return 0.0
        return math.ceil((now + wait) / SCAN_TICK_SECONDS) * SCAN_TICK_SECONDS - now


class IncomingRates(Struct, frozen=True):
    """Of a connection, per second; None: no bound."""

    frames: int | None
    bytes: int | None


class Incoming:
    """Frames and bytes of one connection, by its totals."""

    __slots__ = ("_bytes", "_frames", "_seen_bytes", "_seen_frames")

    def __init__(self, rates: IncomingRates, now: float) -> None:
        self._frames = Bucket(rates.frames, INCOMING_BURST_SECONDS, now)
        self._bytes = Bucket(rates.bytes, INCOMING_BURST_SECONDS, now)
        self._seen_frames = self._seen_bytes = 0

    def take(self, frames: int, received_bytes: int, now: float) -> float:
        """So many have come since the beginning: seconds until more may be read."""
        wait = max(
            self._frames.take(frames - self._seen_frames, now),
            self._bytes.take(received_bytes - self._seen_bytes, now),
        )
        self._seen_frames, self._seen_bytes = frames, received_bytes
        return wait
