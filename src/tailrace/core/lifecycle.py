"""The life of an id on one connection, as a table: (state, event) -> state; an absent entry is the error.

Whose error depends on the event: a command that the table refuses is the client's fault (`id_in_use`, `unknown_id`),
an outcome that it refuses is ours (LifecycleError).

A Ticket stands for one use of an id. Outcomes are reported for the ticket and not for the number, because the number
may be in use again by the time the outcome of an abandoned subscribe arrives.
"""

from enum import StrEnum
from typing import Final

from tailrace.core.messages import PositionMessage
from tailrace.core.position import Positions, moved


class State(StrEnum):
    """Of an id; but for FREE, of its ticket."""

    FREE = "free"
    OPENING = "opening"  # subscribe is not answered yet
    CATCHING_UP = "catching up"  # subscribed, `live` not sent
    LIVE = "live"
    CLOSING = "closing"  # unsubscribe is not answered yet
    PRODUCING = "producing"
    AUTHENTICATING = "authenticating"


class Event(StrEnum):
    """What moves an id: the client's commands, then the outcomes of what was asked for."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    PUBLISH = "publish"
    AUTH = "auth"
    PING = "ping"

    OPENED = "opened"
    REACHED_LIVE = "reached live"
    CLOSED = "closed"
    ENDED = "ended"
    PUBLISHED = "published"
    AUTHENTICATED = "authenticated"
    REFUSED = "refused"


TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.FREE, Event.SUBSCRIBE): State.OPENING,
    (State.FREE, Event.PUBLISH): State.PRODUCING,
    (State.FREE, Event.AUTH): State.AUTHENTICATING,
    (State.FREE, Event.PING): State.FREE,
    (State.OPENING, Event.OPENED): State.CATCHING_UP,
    (State.OPENING, Event.REFUSED): State.FREE,
    (State.OPENING, Event.UNSUBSCRIBE): State.FREE,
    (State.CATCHING_UP, Event.REACHED_LIVE): State.LIVE,
    (State.CATCHING_UP, Event.UNSUBSCRIBE): State.CLOSING,
    (State.CATCHING_UP, Event.ENDED): State.FREE,
    (State.LIVE, Event.UNSUBSCRIBE): State.CLOSING,
    (State.LIVE, Event.ENDED): State.FREE,
    (State.CLOSING, Event.REACHED_LIVE): State.CLOSING,  # they crossed; nobody waits for it any more
    (State.CLOSING, Event.CLOSED): State.FREE,
    (State.CLOSING, Event.ENDED): State.FREE,
    (State.PRODUCING, Event.PUBLISHED): State.FREE,
    (State.PRODUCING, Event.REFUSED): State.FREE,
    (State.AUTHENTICATING, Event.AUTHENTICATED): State.FREE,
    (State.AUTHENTICATING, Event.REFUSED): State.FREE,
}

SUBSCRIBED: Final = frozenset({State.CATCHING_UP, State.LIVE, State.CLOSING})
SUBSCRIPTION: Final = SUBSCRIBED | {State.OPENING}

COMMANDS: Final = {
    State.OPENING: Event.SUBSCRIBE,
    State.PRODUCING: Event.PUBLISH,
    State.AUTHENTICATING: Event.AUTH,
}
"""Which command a state waits to answer: `error.command`."""


class LifecycleError(Exception):
    """An outcome for a ticket that cannot have it: a fault of ours."""


class Ticket:
    """One use of an id, told apart from every other by identity. `told` is the vector the client was last told."""

    __slots__ = ("id", "state", "told")

    def __init__(self, id: int, state: State) -> None:
        self.id = id
        self.state = state
        self.told: Positions = {}

    def __repr__(self) -> str:
        return f"<Ticket {self.id}, {self.state}>"

    def step(self, event: Event) -> None:
        """Follow the table; LifecycleError where it has no entry."""
        after = TABLE.get((self.state, event))
        if after is None:
            raise LifecycleError(f"{event!s} for {self!r}")
        self.state = after

    def position(self, positions: Positions) -> list[PositionMessage]:
        """What is to be said of a vector: nothing, or the partitions that moved since the client was last told."""
        changed = moved(self.told, positions)
        if not changed:
            return []
        self.told = positions
        return [PositionMessage(self.id, changed)]
