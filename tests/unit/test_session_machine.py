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
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tailrace.config import Topic
from tailrace.core.access import Access
from tailrace.core.actions import Abandon, Action, Authenticate, Close, End, Open, Produce, Revoke, Send
from tailrace.core.claims import Principal
from tailrace.core.exposure import Exposure
from tailrace.core.lifecycle import Ticket
from tailrace.core.position import Kept
from tailrace.core.protocol import JSON, ErrorMessage, PositionMessage, Subscribed, Unsubscribed
from tailrace.core.session import Session, Terms
from tailrace.disconnect import SHUTDOWN
from tailrace.errors import ErrorCode

TERMS = Terms(Access(Exposure({"open": Topic(), "inbox": Topic(subscribe=False, publish=True)})), 2, authenticates=True)
ME = Principal("me", None, {})
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
        case Open(ticket) | Abandon(ticket) | Close(ticket) | Produce(ticket) | Authenticate(ticket) | Revoke(ticket):
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
        self.id = ticket.id
        self.place = {0: 0, 1: 0}
        self.told = dict(self.place)
        self.kept = Kept()

    def position(self) -> list[str]:
        """What the oracle expects: a position when the place moved since it was last told."""
        moved = self.place != self.told
        self.told = dict(self.place)
        return [f"position {self.id}"] * moved


Report = Callable[[Session, Life], list[Action]]
Said = Callable[[Oracle, Life], list[str]]
Outcome = tuple[Report, Said]


def opened(live: bool) -> Outcome:
    def said(oracle: Oracle, life: Life) -> list[str]:
        oracle.faults = 0
        oracle.uses[life.id] = "live" if live else "catching up"
        return [f"subscribed {life.id}"] + [f"live {life.id}"] * live

    return lambda session, life: session.opened(life.ticket, "open", "t", None, life.place, live), said


def reached_live(oracle: Oracle, life: Life) -> list[str]:
    if oracle.uses[life.id] == "closing":
        return []
    oracle.uses[life.id] = "live"
    return [*life.position(), f"live {life.id}"]


def ended(oracle: Oracle, life: Life) -> list[str]:
    del oracle.uses[life.id]
    return [*life.position(), f"unsubscribed {life.id} topic_deleted"]


def answered(what: str) -> Said:
    def said(oracle: Oracle, life: Life) -> list[str]:
        oracle.faults = 0
        del oracle.uses[life.id]
        return [*life.position(), f"{what} {life.id}", *oracle.release()]

    return said


def at_fault(oracle: Oracle, life: Life) -> list[str]:
    del oracle.uses[life.id]
    return oracle.fault(f"bad_request {life.id}") + oracle.release()


LIVE: Outcome = (lambda session, life: session.live(life.ticket, life.place), reached_live)
POSITION: Outcome = (
    lambda session, life: session.position(life.ticket, life.place),
    lambda oracle, life: life.position(),
)
CLOSED: Outcome = (lambda session, life: session.closed(life.ticket, life.place), answered("unsubscribed"))
ENDED: Outcome = (lambda session, life: session.ended(life.ticket, life.place, ErrorCode.TOPIC_DELETED, ""), ended)
REFUSED: Outcome = (lambda session, life: session.refused(life.ticket, ErrorCode.INTERNAL, ""), answered("internal"))
AT_FAULT: Outcome = (lambda session, life: session.refused(life.ticket, ErrorCode.BAD_REQUEST, ""), at_fault)
PUBLISHED: Outcome = (lambda session, life: session.published(life.ticket, "inbox", 0, 1, None), answered("published"))
GOOD: Outcome = (lambda session, life: session.authenticated(life.ticket, ME), answered("authenticated"))

# Weighted: a subscription that ends at once shows little.
OUTCOMES: dict[str, list[Outcome]] = {
    "pending": [opened(live=True), opened(live=False), opened(live=False), REFUSED, AT_FAULT],
    "catching up": [LIVE, POSITION, POSITION, ENDED],
    "live": [POSITION, POSITION, POSITION, ENDED],
    "closing": [CLOSED, POSITION, ENDED, LIVE],
    "publish": [PUBLISHED, REFUSED, AT_FAULT],
    "auth": [GOOD, REFUSED, AT_FAULT],
}
ANY = [outcome for outcomes in OUTCOMES.values() for outcome in outcomes]


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        self.session, self.oracle = Session(JSON, TERMS, ME), Oracle()
        self.lives: dict[int, Life] = {}
        self.former: list[Life] = []

    def check(self, actions: list[Action], expected: list[str]) -> None:
        """Compare, and let the client keep what it is told."""
        assert words(actions) == expected
        for action in actions:
            match action:
                case Open(ticket) | Produce(ticket) | Authenticate(ticket):
                    self.former += [self.lives[ticket.id]] if ticket.id in self.lives else []
                    self.lives[ticket.id] = Life(ticket)
                case Send(Subscribed() as message):
                    self.lives[message.id].kept.subscribed(message)
                case Send(PositionMessage() as message):
                    self.lives[message.id].kept.position(message)
                case Send(Unsubscribed() as message):
                    life = self.lives[message.id]
                    assert life.kept.positions in ({}, life.place)  # {}: it was never subscribed

    @rule(command=st.sampled_from(sorted(COMMANDS)), id=st.integers(1, 3))
    def receive(self, command: str, id: int) -> None:
        data = json.dumps({"type": command.split()[0], "id": id, **COMMANDS[command]})
        self.check(self.session.receive(data), self.oracle.receive(command, id))

    @rule(id=st.integers(1, 3))
    def subscribe(self, id: int) -> None:
        self.receive("subscribe", id)

    @precondition(lambda self: self.oracle.uses)
    @rule(which=st.integers(0, 2))
    def unsubscribe(self, which: int) -> None:
        self.receive("unsubscribe", self.pick(which))

    @precondition(lambda self: self.oracle.uses and not self.oracle.over)
    @rule(which=st.integers(0, 2), choice=st.integers(0, 19))
    def settle(self, which: int, choice: int) -> None:
        """One of the outcomes that what the id is used for can have."""
        id = self.pick(which)
        outcomes = OUTCOMES[self.oracle.uses[id]]
        report, said = outcomes[choice % len(outcomes)]
        self.check(report(self.session, self.lives[id]), said(self.oracle, self.lives[id]))

    @precondition(lambda self: self.oracle.uses)
    @rule(which=st.integers(0, 2), partition=st.integers(0, 1), offsets=st.integers(1, 3))
    def move(self, which: int, partition: int, offsets: int) -> None:
        id = self.pick(which)
        if self.oracle.uses[id] in SUBSCRIPTION[1:]:
            life = self.lives[id]
            life.place = {**life.place, partition: life.place[partition] + offsets}

    def pick(self, which: int) -> int:
        """One of the ids in use."""
        return sorted(self.oracle.uses)[which % len(self.oracle.uses)]

    @rule(outcome=st.sampled_from(ANY), which=st.integers(0, 9))
    def late(self, outcome: Outcome, which: int) -> None:
        """Any outcome of a ticket whose id is free, or in use by another, changes nothing."""
        gone = [life for id, life in self.lives.items() if id not in self.oracle.uses or self.oracle.over]
        if lives := self.former + gone:
            assert outcome[0](self.session, lives[which % len(lives)]) == []

    @rule(times=st.integers(10, 20))
    def misspell_often(self, times: int) -> None:
        for _ in range(times):
            self.receive("misspelt", 1)

    @precondition(lambda self: self.oracle.over)
    @rule()
    def close(self) -> None:
        """The end of one connection; the machine goes on with another."""
        open = [life for id, life in self.lives.items() if self.oracle.uses.get(id) in SUBSCRIPTION[1:]]
        positions = [(life.ticket, life.place) for life in self.lives.values()]
        expected = [said for life in open for said in life.position()] + ["closing"]
        self.check(self.session.closing(SHUTDOWN, 5, positions), expected)
        assert all(life.kept.positions == life.place for life in open)
        assert self.session.closing(SHUTDOWN, 5, positions) == []
        assert self.session.receive("{") == []
        self.begin()

    def teardown(self) -> None:
        self.close()

    @invariant()
    def counts_agree(self) -> None:
        if not self.oracle.over:
            assert self.session.subscriptions == sum(use in SUBSCRIPTION for use in self.oracle.uses.values())
            assert self.session.held == len(self.oracle.held)


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True)
