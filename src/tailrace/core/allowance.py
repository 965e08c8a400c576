"""A ceiling in bytes per second: a token bucket that may go into debt. Pure: whoever asks tells the time.

What is taken is known only afterwards (a block has the size it turns out to have), so taking never fails; the debt is
paid off by waiting, and the rate holds in the long run.
"""

BURST_SECONDS = 0.25  # saved up at most while nothing was taken


class Allowance:
    """`bytes_per_second` None: no ceiling. Times in seconds, of one monotonic clock."""

    def __init__(self, bytes_per_second: int | None, now: float) -> None:
        self._rate = bytes_per_second
        self._burst = (bytes_per_second or 0) * BURST_SECONDS
        self._left = self._burst
        self._at = now

    def take(self, count_bytes: int, now: float) -> None:
        if self._rate is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate) - count_bytes
            self._at = now

    def wait_seconds(self, now: float) -> float:
        """How long until something may be taken; 0: now."""
        if self._rate is None:
            return 0.0
        return max(0.0, -self._left / self._rate - (now - self._at))
