"""Readiness: whether a broker answers, asked every 2 s, and why not, in words.

The answer to a question is what counts, not error events: librdkafka tells of every broker that goes, also of one in
three, and tells nothing when it is back. An event only makes the next question come at once. Bounds: lost is noticed
within 2 + 3 s, back within 2 s plus librdkafka's own second between attempts. One log line when lost, one when back.
"""

import math
from typing import Protocol

import structlog
import trio

from tailrace.errors import KafkaUnavailable
from tailrace.kafka.trouble import Trouble

INTERVAL_SECONDS = 2.0
PROBE_SECONDS = 3.0
PAUSE_SECONDS = 0.5

_log = structlog.get_logger("tailrace.kafka")


class Probed(Protocol):
    """What is asked: `Cluster`."""

    async def probe(self, timeout_seconds: float) -> None: ...


class Health:
    """`ready` and, while it is not, `reason`. `run` keeps them true."""

    def __init__(self, cluster: Probed) -> None:
        self._cluster = cluster
        self._soon = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._asked = False
        self._deaf_until = math.inf
        self.ready = False
        self.reason = "not asked yet"

    async def run(self) -> None:
        """Until cancelled."""
        self._token = trio.lowlevel.current_trio_token()
        while True:
            await self.check()
            self._soon = trio.Event()
            self._deaf_until = trio.current_time() + PAUSE_SECONDS
            with trio.move_on_after(INTERVAL_SECONDS):
                await self._soon.wait()

    async def check(self) -> None:
        """Asks once."""
        try:
            await self._cluster.probe(PROBE_SECONDS)
        except KafkaUnavailable as error:
            self._lost(str(error))
        else:
            self._found()

    def note(self, trouble: Trouble) -> None:
        """An error event of any client, in any thread: ask now, while everything seems well."""
        if self.ready and self._token is not None:
            try:
                self._token.run_sync_soon(self._ask_now, idempotent=True)
            except trio.RunFinishedError:
                pass

    def _ask_now(self) -> None:
        """One broker of three that is down makes events without end: they hasten a question, not many."""
        if trio.current_time() >= self._deaf_until:
            self._soon.set()

    def _lost(self, reason: str) -> None:
        if self.ready or not self._asked:
            _log.warning("kafka is not available", reason=reason)
        self.ready, self.reason, self._asked = False, reason, True

    def _found(self) -> None:
        if not self.ready:
            _log.info("kafka is available")
        self.ready, self.reason, self._asked = True, "", True
