"""One `/ws` connection, sans-io: what a client's message means, and what is said of its outcome.

Every method returns the actions to carry out, in their order; nothing else changes the world. A method is called with
what happened: a whole message came (`receive`), or what an action asked for has an outcome, which names the action's
ticket. An outcome for a ticket that is no longer in use (abandoned, or the session is over) changes nothing and
returns [].

A connection may be idle for days among thousands: an idle session is one object with slots and no dict.
"""

from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from tailrace.core.access import Access, Keys
from tailrace.core.actions import Abandon, Action, Authenticate, Close, End, Open, Produce, Revoke, Send
from tailrace.core.claims import Principal
from tailrace.core.codec import Codec
from tailrace.core.commands import Auth, Command, Ping, Publish, Subscribe, Unsubscribe
from tailrace.core.lifecycle import COMMANDS, SUBSCRIBED, SUBSCRIPTION, TABLE, Event, State, Ticket
from tailrace.core.messages import (
    Authenticated,
    Closing,
    ErrorMessage,
    Live,
    Message,
    Pong,
    Published,
    Subscribed,
    Unsubscribed,
)
from tailrace.core.position import Positions
from tailrace.disconnect import TOO_MANY_ERRORS, UNSUPPORTED_DATA, Disconnect
from tailrace.errors import CommandError, ErrorCode

MAX_FAULTS: Final = 20
FAULTS: Final = frozenset({ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_TYPE, ErrorCode.TOO_LARGE})
"""Errors that only a client which does not speak the protocol keeps making (docs/protocol.md, section 5)."""

REVOKED: Final = "the token there is now allows other keys, or not this topic"

_EVENTS: Final[dict[type[Command], Event]] = {
    Subscribe: Event.SUBSCRIBE,
    Unsubscribe: Event.UNSUBSCRIBE,
    Publish: Event.PUBLISH,
    Auth: Event.AUTH,
    Ping: Event.PING,
}


class Terms(Struct, frozen=True):
    """What holds for every session of a gateway, one object for all. `max_subscriptions` None: any number."""

    access: Access
    max_subscriptions: int | None = 1024
    authenticates: bool = False  # auth.mode is not "none"


class _Grant(Struct, frozen=True):
    """What a subscription was given, to be looked at again under another token: asked for `asked`, sees `given`."""

    topic: str
    asked: Keys
    given: Keys


class _Phase(IntEnum):
    TALKING = 0
    ENDING = 1  # End was asked for
    CLOSED = 2  # `closing` was said


class Session:
    """One connection's commands, ids and subscriptions; see the module for how to call it."""

    __slots__ = (
        "_faults", "_grants", "_held", "_judged", "_phase", "_subscriptions", "_terms", "_tickets", "codec",
        "principal",
    )  # fmt: skip

    def __init__(self, codec: Codec, terms: Terms, principal: Principal | None = None) -> None:
        """principal: whose token came with the handshake."""
        self.codec: Final = codec
        self.principal = principal
        self._terms = terms
        self._phase = _Phase.TALKING
        self._faults = 0  # in a row
        self._subscriptions = 0
        self._tickets: dict[int, Ticket] | None = None
        self._judged: Ticket | None = None  # an `auth` whose outcome is awaited
        self._held: deque[str | bytes] | None = None  # what came meanwhile
        self._grants: dict[Ticket, _Grant] | None = None  # of every subscription, where tokens can be replaced

    # What the client says

    def receive(self, data: str | bytes) -> list[Action]:
        """A whole message. Held back while an `auth` is judged, for it may decide what the next commands may do."""
        if self._phase is not _Phase.TALKING:
            return []
        if self._judged is None:
            return self._take_in(data)
        if self._held is None:
            self._held = deque()
        self._held.append(data)
        return []

    def too_fast(self, data: str | bytes) -> list[Action]:
        """A whole message of a client that has sent too many for too long: refused, whatever it is."""
        if self._phase is not _Phase.TALKING or isinstance(data, str) is not self.codec.text:
            return self.receive(data)
        try:
            command = self.codec.decode(data)
        except CommandError as error:
            return self._answer(ErrorMessage.of(error))
        refused = CommandError(ErrorCode.RATE_LIMITED, "too many commands", command.id, _EVENTS[type(command)])
        return self._answer(ErrorMessage.of(refused))

    @property
    def held(self) -> int:
        """How many messages wait for the outcome of an `auth`: whoever reads the client stops at a bound of its own."""
        return len(self._held) if self._held else 0

    @property
    def subscriptions(self) -> int:
        """How many ids stand for a subscription, pending ones included."""
        return self._subscriptions

    def wants(self, ticket: Ticket) -> bool:
        """Whether an outcome for this ticket would still be told."""
        return self._phase is _Phase.TALKING and self._find(ticket.id) is ticket

    # Outcomes of what was asked for; every vector is the caller's, who never changes it afterwards

    def opened(
        self,
        ticket: Ticket,
        topic: str,
        topic_id: str | None,
        compacted: bool | None,
        positions: Positions,
        live: bool = True,
    ) -> list[Action]:
        """Of `Open`: reading begins at `positions`. `live`: that is the end, so nothing has to be caught up with."""
        if not self.wants(ticket):
            return []
        self._step(ticket, Event.OPENED)
        ticket.told = positions
        actions = self._answer(Subscribed(ticket.id, topic, topic_id, compacted, positions))
        return actions + self.live(ticket, positions) if live else actions

    def live(self, ticket: Ticket, positions: Positions) -> list[Action]:
        """The subscription has passed the end that was listed when it began: once."""
        if not self.wants(ticket):
            return []
        self._step(ticket, Event.REACHED_LIVE)
        if ticket.state is not State.LIVE:
            return []
        return _say(*ticket.position(positions), Live(ticket.id))

    def position(self, ticket: Ticket, positions: Positions) -> list[Action]:
        """The subscription is here, to be told between records; no more than every 10 s."""
        return _say(*ticket.position(positions)) if self.wants(ticket) and ticket.state in SUBSCRIBED else []

    def closed(self, ticket: Ticket, positions: Positions) -> list[Action]:
        """Of `Close`: nothing of the subscription comes after this."""
        if not self.wants(ticket):
            return []
        self._step(ticket, Event.CLOSED)
        return _say(*ticket.position(positions)) + self._answer(Unsubscribed(ticket.id))

    def ended(self, ticket: Ticket, positions: Positions, code: ErrorCode, message: str) -> list[Action]:
        """The gateway ended the subscription. That answers no command, so it does not interrupt a row of faults."""
        if not self.wants(ticket):
            return []
        self._step(ticket, Event.ENDED)
        return _say(*ticket.position(positions), Unsubscribed(ticket.id, code, message))

    def refused(self, ticket: Ticket, code: ErrorCode, message: str) -> list[Action]:
        """Of `Open`, `Produce` or `Authenticate`: the command failed."""
        if not self.wants(ticket):
            return []
        command = COMMANDS.get(ticket.state)
        self._step(ticket, Event.REFUSED)
        return self._answer(ErrorMessage(code, message, ticket.id, command or UNSET)) + self._release(ticket)

    def published(self, ticket: Ticket, topic: str, partition: int, offset: int, timestamp: int | None) -> list[Action]:
        """Of `Produce`: the broker acknowledged it."""
        if not self.wants(ticket):
            return []
        self._step(ticket, Event.PUBLISHED)
        return self._answer(Published(ticket.id, topic, partition, offset, timestamp))

    def authenticated(self, ticket: Ticket, principal: Principal) -> list[Action]:
        """Of `Authenticate`: the token is good. What it does not allow ends, then what was held back starts.

        A connection stays its first bearer's: another one's token is refused, and `principal` stays who it was.
        """
        if not self.wants(ticket):
            return []
        if self.principal is not None and self.principal.identity != principal.identity:
            return self.refused(ticket, ErrorCode.FORBIDDEN, "this connection belongs to another subject")
        self._step(ticket, Event.AUTHENTICATED)
        self.principal = principal
        answer = self._answer(Authenticated(ticket.id, principal.subject, principal.expires_at_ms))
        return answer + self._revoke() + self._release(ticket)

    def closing(
        self,
        disconnect: Disconnect,
        retry_after_ms: int | None = None,
        positions: Iterable[tuple[Ticket, Positions]] = (),
    ) -> list[Action]:
        """The connection ends, by `End` or by the gateway: the last that is said. `positions`: all subscriptions'."""
        if self._phase is _Phase.CLOSED:
            return []
        told = [
            message
            for ticket, now in positions
            if self._find(ticket.id) is ticket and ticket.state in SUBSCRIBED
            for message in ticket.position(now)
        ]
        self._phase, self._tickets, self._judged, self._held = _Phase.CLOSED, None, None, None
        return _say(*told, Closing.of(disconnect, retry_after_ms))

    # One command

    def _take_in(self, data: str | bytes) -> list[Action]:
        if isinstance(data, str) is not self.codec.text:
            return self._end(UNSUPPORTED_DATA)
        try:
            return self._command(self.codec.decode(data))
        except CommandError as error:
            return self._answer(ErrorMessage.of(error))

    def _command(self, command: Command) -> list[Action]:
        event = _EVENTS[type(command)]
        if self._terms.authenticates and self.principal is None and event is not Event.AUTH:
            raise CommandError(ErrorCode.UNAUTHENTICATED, "a token comes first (auth)", command.id, event)
        ticket = self._find(command.id)
        if (ticket.state if ticket else State.FREE, event) not in TABLE:
            raise _misused(command.id, event)
        try:
            return self._start(command, ticket)
        except CommandError as error:
            raise CommandError(error.code, error.message, command.id, event) from None

    def _start(self, command: Command, ticket: Ticket | None) -> list[Action]:
        match command:
            case Subscribe():
                return self._subscribe(command)
            case Publish():
                self._terms.access.check_writable(self.principal, command.topic, command.key)
                return [Produce(self._take(command.id, State.PRODUCING), command)]
            case Auth():
                return self._authenticate(command)
            case Ping():
                return self._answer(Pong(command.id))
            case Unsubscribe():
                assert ticket is not None  # or the table would have refused it
                return self._unsubscribe(ticket)

    def _subscribe(self, command: Subscribe) -> list[Action]:
        keys = self._terms.access.readable(self.principal, command.topic, command.keys)
        most = self._terms.max_subscriptions
        if most is not None and self._subscriptions >= most:
            raise CommandError(ErrorCode.TOO_MANY_SUBSCRIPTIONS, f"a connection has at most {most} subscriptions")
        self._subscriptions += 1
        ticket = self._take(command.id, State.OPENING)
        if self._terms.authenticates:
            self._grants = self._grants or {}
            self._grants[ticket] = _Grant(command.topic, command.keys, keys)
        return [Open(ticket, command if keys is command.keys else msgspec.structs.replace(command, keys=keys))]

    def _unsubscribe(self, ticket: Ticket) -> list[Action]:
        self._step(ticket, Event.UNSUBSCRIBE)
        if ticket.state is State.FREE:  # it was pending
            return [Abandon(ticket), *self._answer(Unsubscribed(ticket.id))]
        return [Close(ticket)]

    def _authenticate(self, command: Auth) -> list[Action]:
        if not self._terms.authenticates:
            raise CommandError(ErrorCode.BAD_REQUEST, "this gateway takes no tokens (auth.mode is none)")
        self._judged = self._take(command.id, State.AUTHENTICATING)
        return [Authenticate(self._judged, command)]

    def _revoke(self) -> list[Action]:
        """End every subscription that would see something else under the token there is now."""
        actions: list[Action] = []
        for ticket, grant in list((self._grants or {}).items()):
            if self._still_given(grant):
                continue
            if ticket.state is State.OPENING:
                actions += [Abandon(ticket), *self.refused(ticket, ErrorCode.FORBIDDEN, REVOKED)]
            else:
                actions.append(Revoke(ticket))
        return actions

    def _still_given(self, grant: _Grant) -> bool:
        try:
            return self._terms.access.readable(self.principal, grant.topic, grant.asked) == grant.given
        except CommandError:
            return False

    # Bookkeeping

    def _find(self, id: int) -> Ticket | None:
        return self._tickets.get(id) if self._tickets else None

    def _take(self, id: int, state: State) -> Ticket:
        if self._tickets is None:
            self._tickets = {}
        ticket = self._tickets[id] = Ticket(id, state)
        return ticket

    def _step(self, ticket: Ticket, event: Event) -> None:
        before = ticket.state
        ticket.step(event)
        if ticket.state is State.FREE and self._tickets:
            del self._tickets[ticket.id]
            if self._grants:
                self._grants.pop(ticket, None)
            self._subscriptions -= before in SUBSCRIPTION

    def _release(self, ticket: Ticket) -> list[Action]:
        """After the outcome of an `auth`: what was held back, up to the next one."""
        if ticket is not self._judged:
            return []
        self._judged = None
        actions: list[Action] = []
        while self._held and self._judged is None and self._phase is _Phase.TALKING:
            actions += self._take_in(self._held.popleft())
        return actions

    def _answer(self, message: Message) -> list[Action]:
        fault = isinstance(message, ErrorMessage) and message.code in FAULTS
        self._faults = self._faults + 1 if fault else 0
        return _say(message) + (self._end(TOO_MANY_ERRORS) if self._faults >= MAX_FAULTS else [])

    def _end(self, disconnect: Disconnect) -> list[Action]:
        self._phase = _Phase.ENDING
        return [End(disconnect)]


def _say(*messages: Message) -> list[Action]:
    return [Send(message) for message in messages]


def _misused(id: int, event: Event) -> CommandError:
    if event is Event.UNSUBSCRIBE:
        return CommandError(ErrorCode.UNKNOWN_ID, f"id {id} is no subscription", id, event)
    return CommandError(ErrorCode.ID_IN_USE, f"id {id} is in use", id, event)
