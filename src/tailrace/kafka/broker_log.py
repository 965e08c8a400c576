"""librdkafka's own log lines, taken from stderr into structlog, at most one a minute of each kind.

A broker that is down makes librdkafka log every attempt to reach it (20 a second while something waits): the first
line of a kind tells what happened, `Health` tells when it is over. What is left out is counted in the next line.
"""

import logging
import time
from collections.abc import Callable

import structlog

QUIET_SECONDS = 60.0
# One dict for every client goes to all three kinds of client, and each complains about the keys of the others.
_OTHERS_KEY = "property and will be ignored by this"
_MOCK = "MOCK"  # that there is a mock cluster is no news to whoever has asked for it

_log = structlog.get_logger("tailrace.kafka")


class BrokerLog:
    """What librdkafka takes for a `logger`: only `log` is ever called, in whatever thread polls the client."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def log(self, level: int, pattern: str, kind: str, client: str, text: str, *_: object) -> None:
        """`level` as in `logging`; `kind` is librdkafka's facility: FAIL, ERROR, CONFWARN, ..."""
        if kind == _MOCK or _OTHERS_KEY in text:
            return
        now = self._clock()
        if now - self._last.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._last[kind] = now
        _log.log(_at_most_warning(level), "librdkafka", kind=kind, client=client, text=text, **self._left_out(kind))

    def _left_out(self, kind: str) -> dict[str, int]:
        suppressed = self._suppressed.pop(kind, 0)
        return {"suppressed": suppressed} if suppressed else {}


def _at_most_warning(level: int) -> int:
    """A broker's trouble is not an error of ours."""
    return min(level, logging.WARNING)
