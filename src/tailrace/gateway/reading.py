"""One subscription's joints: the cursor in the core, the topic it holds open, and whoever is told when it ends."""

from collections.abc import Callable
from typing import Any

from tailrace._fanout import HOLED, Line, Subscription
from tailrace.core.position import Positions
from tailrace.errors import ErrorCode
from tailrace.gateway.topics import Start, Topics

OnEnded = Callable[["Reading", Positions, ErrorCode, str], None]
"""(who, last positions, code, message): the gateway ended it."""


class Reading:
    """A subscription that runs. `close` ends it; `on_ended` is told when the gateway does."""

    __slots__ = ("_held", "_on_ended", "_subscription", "_topics", "ticket")

    def __init__(
        self,
        topics: Topics,
        start: Start,
        line: Line,
        id: int,
        keys: frozenset[bytes | None] | None,
        ticket: Any,
        on_ended: OnEnded,
    ) -> None:
        """Takes over the topic held in `start`. ValueError: the tail no longer has that place (the topic stays
        held)."""
        self._subscription = Subscription(line, start.tail, id, keys, start.seq, start.positions, self)
        self._topics = topics
        self._held = start.held
        self._on_ended = on_ended
        self.ticket = ticket
        self._held.readers.add(self)
        for outlet in start.tail.take_woken():
            outlet.wake()

    @property
    def positions(self) -> Positions:
        """The next offset of every partition."""
        return self._subscription.positions

    @property
    def delivered(self) -> int:
        """Records committed to the connection."""
        return self._subscription.delivered

    def close(self) -> Positions:
        """Nothing of it is sent any more: the last positions."""
        self._held.readers.discard(self)
        self._topics.release(self._held)
        return self._subscription.close()

    def ended(self, code: ErrorCode, message: str) -> None:
        """The gateway ends it."""
        self._on_ended(self, self.close(), code, message)

    def dropped(self) -> None:
        """It cannot go on from the tail: the client was too slow for the gateway's memory, or a record could not be
        shown."""
        if self._subscription.state == HOLED:
            self.ended(ErrorCode.INTERNAL, "a record could not be shown")
        else:
            self.ended(
                ErrorCode.INTERNAL,
                "too slow: the records wanted next are no longer in the gateway's memory; subscribe again",
            )
