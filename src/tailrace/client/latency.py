"""A histogram of latencies in bounded memory; buckets are 1/64 wide, so a percentile is off by 1.6 % at most."""

from collections import Counter
from typing import Final

_BITS: Final = 6


class Histogram:
    """Of whole nanoseconds; negative ones count as 0."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.largest = 0

    def add(self, nanoseconds: int, times: int = 1) -> None:
        """So many of that value."""
        nanoseconds = max(0, nanoseconds)
        shift = max(0, nanoseconds.bit_length() - _BITS - 1)
        self._buckets[shift << 32 | nanoseconds >> shift] += times
        self.count += times
        self.largest = max(self.largest, nanoseconds)

    def percentile(self, share: float) -> int:
        """The least value that so large a share (0 to 1) does not exceed, to the width of a bucket; 0 of nothing."""
        wanted, seen = share * self.count, 0
        for bucket in sorted(self._buckets, key=_upper):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_upper(bucket), self.largest)
        return 0


def _upper(bucket: int) -> int:
    """The largest value of a bucket."""
    shift, top = bucket >> 32, bucket & 0xFFFFFFFF
    return ((top + 1) << shift) - 1
