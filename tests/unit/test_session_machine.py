"""session: any order of commands, outcomes and late outcomes, against an oracle that keeps one word per id.

The machine plays both sides: the client, with three ids so that they collide, and the gateway, which reports every
outcome that a ticket may have, and any outcome at all for tickets that are no longer in use. Beside the oracle, which
says what is answered, the client's rules are checked on what it is told: what it keeps is where the subscription was.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from tailrace.config import Topic
from tailrace.core.actions import Abandon, Action, Authenticate, Close, End, Open, Produce, Send
from tailrace.core.exposure import Exposure
from tailrace.core.lifecycle import Ticket
from tailrace.core.position import Kept
from tailrace.core.protocol import JSON, ErrorMessage, PositionMessage, Subscribed, Unsubscribed
from tailrace.core.session import Session, Terms
from tailrace.disconnect import SHUTDOWN
from tailrace.errors import ErrorCode

TERMS = Terms(Exposure({"open": Topic(), "inbox": Topic(subscribe=False, publish=True)}), 2, authenticates=True)
SUBSCRIPTION = ("pending", "catching up", "live", "closing")
COMMANDS: dict[str, dict[str, Any]] = {
    "subscribe": {"topic": "open"},
    "subscribe secretly": {"topic": "hidden"},
    "unsubscribe": {},
    "publish": {"topic": "inbox", "value": 1},
    "publish elsewhere": {"topic": "open", "value": 1},
    "auth": {"token": "x"},
    "ping": {},
    "misspelt": {},
}


def words(actions: list[Action]) -> list[str]:
    """Actions as the oracle writes them: what, which id, and the code where there is one."""
    return [word(action) for action in actions]


def word(action: Action) -> str:
    match action:
        case Send(ErrorMessage() as error):
            return f"{error.code} {error.id}"
        case Send(message):
            name = type(message).__name__.removesuffix("Message").lower()
            code = f" {message.code}" if isinstance(message, Unsubscribed) and message.code else ""
            return f"{name} {getattr(message, 'id', '')}{code}".strip()
        case End(disconnect):
            return f"end {disconnect.code}"
        case Open(ticket) | Abandon(ticket) | Close(ticket) | Produce(ticket) | Authenticate(ticket):
            return f"{type(action).__name__.upper()} {ticket.id}"


class Oracle:
    """What the protocol says, for ids that are words: `uses[id]` is what the id is used for now."""

    def __init__(self) -> None:
        self.uses: dict[int, str] = {}
        self.faults = 0
        self.over = False
        self.held: list[tuple[str, int]] = []

    def receive(self, command: str, id: int) -> list[str]:
        if self.over:
            return []
        if "auth" in self.uses.values():
            self.held.append((command, id))
            return []
        return self.command(command, id)

    def command(self, command: str, id: int) -> list[str]:
        if command == "misspelt":
            return self.fault(f"unknown_type {id}")
        said = self.unsubscribe(id) if command == "unsubscribe" else self.begin(command, id)
        if said[-1].islower():  # an answer, and not a request to the gateway
            self.faults = 0
        return said

    def begin(self, command: str, id: int) -> list[str]:
        if id in self.uses:
            return [f"id_in_use {id}"]
        refused = {"subscribe secretly": "unknown_topic", "publish elsewhere": "forbidden"}
        if command in refused:
            return [f"{refused[command]} {id}"]
        return self.start(command, id)

    def start(self, command: str, id: int) -> list[str]:
        if command == "ping":
            return [f"pong {id}"]
        if command == "subscribe" and sum(use in SUBSCRIPTION for use in self.uses.values()) == 2:
            return [f"too_many_subscriptions {id}"]
        self.uses[id] = "pending" if command == "subscribe" else command
        return [{"subscribe": "OPEN", "publish": "PRODUCE", "auth": "AUTHENTICATE"}[command] + f" {id}"]

    def unsubscribe(self, id: int) -> list[str]:
        use = self.uses.get(id)
        if use == "pending":
            del self.uses[id]
            return [f"ABANDON {id}", f"unsubscribed {id}"]
        if use in ("catching up", "live"):
            self.uses[id] = "closing"
            return [f"CLOSE {id}"]
        return [f"unknown_id {id}"]

    def fault(self, said: str) -> list[str]:
        self.faults += 1
        self.over = self.faults == 20
        return [said] + ["end 4504"] * self.over

    def release(self) -> list[str]:
        said: list[str] = []
        while self.held and "auth" not in self.uses.values() and not self.over:
            said += self.command(*self.held.pop(0))
        return said


class Life:
    """One ticket as the machine knows it: where its subscription is, and what a client keeps of it."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.place = {0: 0, 1: 0}
        self.told = dict(self.place)
        self.kept = Kept()

    def position(self) -> list[str]:
        """What the oracle expects: a position when the place moved since it was last told."""
        moved = self.place != self.told
        self.told = dict(self.place)
        return [f"position {self.ticket.id}"] * moved


class SessionMachine(RuleBasedStateMachine):
    lives = Bundle("lives")

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(JSON, TERMS)
        self.oracle = Oracle()
        self.current: dict[int, Life] = {}

    def check(self, actions: list[Action], expected: list[str]) -> Any:
        """Compare, let the client keep what it is told, and give the lives that began."""
        assert words(actions) == expected
        begun = []
        for action in actions:
            match action:
                case Open(ticket) | Produce(ticket) | Authenticate(ticket):
                    self.current[ticket.id] = Life(ticket)
                    begun.append(self.current[ticket.id])
                case Send(Subscribed() as message):
                    self.current[message.id].kept.subscribed(message)
                case Send(PositionMessage() as message):
                    self.current[message.id].kept.position(message)
                case Send(Unsubscribed() as message) if (life := self.current.pop(message.id)).kept.positions:
                    assert life.kept.positions == life.place
        return multiple(*begun)

    def use(self, life: Life) -> str | None:
        """What the life's ticket is used for now; None when it is not."""
        if self.oracle.over or self.current.get(life.ticket.id) is not life:
            return None
        return self.oracle.uses.get(life.ticket.id)

    def outcome(
        self, life: Life, uses: tuple[str, ...], report: Callable[[], list[Action]], said: Callable[[], list[str]]
    ) -> Any:
        """Report an outcome if the gateway could: for a ticket of these uses, or for one that is no longer in use."""
        use = self.use(life)
        if use is None:
            assert report() == []
            return multiple()
        return self.check(report(), said()) if use in uses else multiple()

    @rule(target=lives, command=st.sampled_from(sorted(COMMANDS)), id=st.integers(1, 3))
    def receive(self, command: str, id: int) -> Any:
        data = json.dumps({"type": command.split()[0], "id": id, **COMMANDS[command]})
        return self.check(self.session.receive(data), self.oracle.receive(command, id))

    @rule(target=lives, times=st.integers(15, 22))
    def misspell_often(self, times: int) -> Any:
        for _ in range(times):
            self.receive("misspelt", 1)
        return multiple()

    @rule(life=lives, partition=st.integers(0, 1), offsets=st.integers(1, 3))
    def move(self, life: Life, partition: int, offsets: int) -> None:
        if self.use(life) in SUBSCRIPTION[1:]:
            life.place = {**life.place, partition: life.place[partition] + offsets}

    @rule(target=lives, life=lives, live=st.booleans())
    def opened(self, life: Life, live: bool) -> Any:
        def said() -> list[str]:
            self.oracle.faults = 0
            self.oracle.uses[id] = "live" if live else "catching up"
            return [f"subscribed {id}"] + [f"live {id}"] * live

        id = life.ticket.id
        return self.outcome(
            life, ("pending",), lambda: self.session.opened(life.ticket, "open", "t", None, life.place, live), said
        )

    @rule(target=lives, life=lives)
    def live(self, life: Life) -> Any:
        def said() -> list[str]:
            if self.oracle.uses[id] == "closing":
                return []
            self.oracle.uses[id] = "live"
            return [*life.position(), f"live {id}"]

        id = life.ticket.id
        return self.outcome(life, ("catching up",), lambda: self.session.live(life.ticket, life.place), said)

    @rule(target=lives, life=lives)
    def position(self, life: Life) -> Any:
        return self.outcome(
            life, SUBSCRIPTION[1:], lambda: self.session.position(life.ticket, life.place), life.position
        )

    @rule(target=lives, life=lives)
    def closed(self, life: Life) -> Any:
        def said() -> list[str]:
            self.oracle.faults = 0
            del self.oracle.uses[life.ticket.id]
            return [*life.position(), f"unsubscribed {life.ticket.id}"]

        return self.outcome(life, ("closing",), lambda: self.session.closed(life.ticket, life.place), said)

    @rule(target=lives, life=lives)
    def ended(self, life: Life) -> Any:
        def said() -> list[str]:
            del self.oracle.uses[life.ticket.id]
            return [*life.position(), f"unsubscribed {life.ticket.id} topic_deleted"]

        return self.outcome(
            life,
            SUBSCRIPTION[1:],
            lambda: self.session.ended(life.ticket, life.place, ErrorCode.TOPIC_DELETED, ""),
            said,
        )

    @rule(target=lives, life=lives, code=st.sampled_from([ErrorCode.KAFKA_UNAVAILABLE, ErrorCode.BAD_REQUEST]))
    def refused(self, life: Life, code: ErrorCode) -> Any:
        def said() -> list[str]:
            self.oracle.faults = 0 if code is ErrorCode.KAFKA_UNAVAILABLE else self.oracle.faults
            use = self.oracle.uses.pop(life.ticket.id)
            error = f"{code} {life.ticket.id}"
            answer = self.oracle.fault(error) if code is ErrorCode.BAD_REQUEST else [error]
            return answer + (self.oracle.release() if use == "auth" else [])

        return self.outcome(
            life, ("pending", "publish", "auth"), lambda: self.session.refused(life.ticket, code, ""), said
        )

    @rule(target=lives, life=lives)
    def published(self, life: Life) -> Any:
        def said() -> list[str]:
            self.oracle.faults = 0
            del self.oracle.uses[life.ticket.id]
            return [f"published {life.ticket.id}"]

        return self.outcome(life, ("publish",), lambda: self.session.published(life.ticket, "inbox", 0, 1, None), said)

    @rule(target=lives, life=lives)
    def authenticated(self, life: Life) -> Any:
        def said() -> list[str]:
            self.oracle.faults = 0
            del self.oracle.uses[life.ticket.id]
            return [f"authenticated {life.ticket.id}", *self.oracle.release()]

        return self.outcome(life, ("auth",), lambda: self.session.authenticated(life.ticket, None, None), said)

    @rule()
    def close(self) -> None:
        """The end of one connection; the machine goes on with another."""
        open = [life for id, life in self.current.items() if self.oracle.uses.get(id) in SUBSCRIPTION[1:]]
        positions = [(life.ticket, life.place) for life in self.current.values()]
        expected = [said for life in open for said in life.position()] + ["closing"]
        self.check(self.session.closing(SHUTDOWN, 5, positions), expected)
        assert all(life.kept.positions == life.place for life in open)
        assert self.session.closing(SHUTDOWN, 5, positions) == []
        assert self.session.receive("{") == []
        self.session, self.oracle, self.current = Session(JSON, TERMS), Oracle(), {}

    @invariant()
    def counts_agree(self) -> None:
        if not self.oracle.over:
            assert self.session.subscriptions == sum(use in SUBSCRIPTION for use in self.oracle.uses.values())
            assert self.session.held == len(self.oracle.held)


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None, derandomize=True)
