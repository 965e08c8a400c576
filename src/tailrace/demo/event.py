"""One event of a synthetic feed, and the simulated time that its values are stamped with.

The time is the caller's start plus the delays so far, never the wall clock: under the same seed and start a feed gives
the same bytes, which is what its tests rest on.
"""

from datetime import UTC, datetime
from typing import NamedTuple

Headers = tuple[tuple[str, bytes], ...]


class Event(NamedTuple):
    """What to produce next, and when: `delay_seconds` after the event before it. A `value` of None is a tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers
    delay_seconds: float


def rfc3339(epoch_seconds: float) -> str:
    """Format as `2026-11-23T14:07:31.204Z`, in UTC and with milliseconds."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
