"""session: what each command and each outcome leads to, one rule at a time."""

import json
import sys
from typing import Any

import pytest

from tailrace.config import Topic
from tailrace.core.access import Access
from tailrace.core.actions import Abandon, Action, Authenticate, Close, End, Open, Produce, Send
from tailrace.core.claims import Principal
from tailrace.core.exposure import Exposure
from tailrace.core.lifecycle import LifecycleError, State, Ticket
from tailrace.core.protocol import (
    JSON,
    MSGPACK,
    Auth,
    Authenticated,
    Closing,
    ErrorMessage,
    Last,
    Live,
    Pong,
    PositionMessage,
    Publish,
    Published,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from tailrace.core.session import Session, Terms
from tailrace.disconnect import SHUTDOWN, TOO_MANY_ERRORS, UNSUPPORTED_DATA
from tailrace.errors import ErrorCode

EXPOSURE = Exposure(
    {
        "orders": Topic(),
        "both": Topic(publish=True),
        "inbox": Topic(subscribe=False, publish=True),
        "hidden": Topic(subscribe=False),
    }
)


ME = Principal("me", None, {}, 0.005)


def new(authenticates: bool = False, max_subscriptions: int | None = 3) -> Session:
    """Where tokens are asked for, one has come with the handshake."""
    return Session(JSON, Terms(Access(EXPOSURE), max_subscriptions, authenticates), ME if authenticates else None)


@pytest.fixture
def session() -> Session:
    return new()


def say(session: Session, type: str, id: int = 7, **fields: Any) -> list[Action]:
    return session.receive(json.dumps({"type": type, "id": id, **fields}))


def subscribe(session: Session, id: int = 7) -> Ticket:
    [action] = say(session, "subscribe", id, topic="orders")
    assert isinstance(action, Open)
    return action.ticket


def opened(
    session: Session, ticket: Ticket, positions: dict[int, int] | None = None, live: bool = True
) -> list[Action]:
    return session.opened(ticket, "orders", "t1", False, {0: 5, 1: 5} if positions is None else positions, live)


def live(session: Session, id: int = 7) -> Ticket:
    ticket = subscribe(session, id)
    opened(session, ticket)
    return ticket


def closing(session: Session, id: int = 7) -> Ticket:
    ticket = live(session, id)
    assert say(session, "unsubscribe", id) == [Close(ticket)]
    return ticket


def publishing(session: Session, id: int = 7) -> Ticket:
    [action] = say(session, "publish", id, topic="both", value=1)
    assert isinstance(action, Produce)
    return action.ticket


def judged(session: Session, id: int = 7) -> Ticket:
    [action] = say(session, "auth", id, token="x")
    assert isinstance(action, Authenticate)
    return action.ticket


def code(actions: list[Action]) -> ErrorCode:
    [action] = actions
    assert isinstance(action, Send)
    assert isinstance(action.message, ErrorMessage)
    return action.message.code


# Commands


def test_ping(session: Session) -> None:
    assert say(session, "ping", 9) == [Send(Pong(9))]


def test_subscribe_asks_to_open_whatever_it_starts_from(session: Session) -> None:
    [action] = say(session, "subscribe", topic="orders", **{"from": {"last": 3}})
    assert isinstance(action, Open)
    assert action.subscribe == Subscribe(7, "orders", Last(3))
    assert (action.ticket.id, session.subscriptions, session.wants(action.ticket)) == (7, 1, True)


def test_commands_are_started_in_the_order_they_came(session: Session) -> None:
    first, second = subscribe(session, 1), subscribe(session, 2)
    assert opened(session, second)[0] == Send(Subscribed(2, "orders", "t1", False, {0: 5, 1: 5}))
    assert opened(session, first)[0] == Send(Subscribed(1, "orders", "t1", False, {0: 5, 1: 5}))


@pytest.mark.parametrize(
    ("topic", "of_subscribe", "of_publish"),
    [
        ("orders", None, ErrorCode.FORBIDDEN),
        ("both", None, None),
        ("inbox", ErrorCode.FORBIDDEN, None),
        ("hidden", ErrorCode.UNKNOWN_TOPIC, ErrorCode.UNKNOWN_TOPIC),
        ("other", ErrorCode.UNKNOWN_TOPIC, ErrorCode.UNKNOWN_TOPIC),
        ("a/b", ErrorCode.UNKNOWN_TOPIC, ErrorCode.UNKNOWN_TOPIC),
    ],
)
def test_exposure(topic: str, of_subscribe: ErrorCode | None, of_publish: ErrorCode | None) -> None:
    for type, more, expected in (("subscribe", {}, of_subscribe), ("publish", {"value": 1}, of_publish)):
        session = new()
        actions = say(session, type, topic=topic, **more)
        if expected is None:
            assert isinstance(actions[0], Open | Produce)
            continue
        [action] = actions
        assert isinstance(action, Send)
        assert isinstance(action.message, ErrorMessage)
        assert (action.message.code, action.message.id, action.message.command) == (expected, 7, type)
        assert session.subscriptions == 0
        assert say(session, "ping") == [Send(Pong(7))]  # the id is free


@pytest.mark.parametrize("occupy", [subscribe, live, closing, publishing])
def test_an_id_in_use(occupy: Any, session: Session) -> None:
    ticket = occupy(session)
    for type, more in (("subscribe", {"topic": "orders"}), ("publish", {"topic": "both", "value": 1}), ("ping", {})):
        actions = say(session, type, 7, **more)
        assert code(actions) is ErrorCode.ID_IN_USE
        assert actions[0].message.command == type  # type: ignore[union-attr]
    assert session.wants(ticket)
    assert say(session, "ping", 8) == [Send(Pong(8))]


@pytest.mark.parametrize("occupy", [closing, publishing, lambda session: None])
def test_an_id_that_is_no_subscription(occupy: Any, session: Session) -> None:
    occupy(session)
    actions = say(session, "unsubscribe")
    assert code(actions) is ErrorCode.UNKNOWN_ID
    assert (actions[0].message.id, actions[0].message.command) == (7, "unsubscribe")  # type: ignore[union-attr]


def test_too_many_subscriptions(session: Session) -> None:
    tickets = [subscribe(session, 1), live(session, 2), closing(session, 3)]
    assert code(say(session, "subscribe", 4, topic="orders")) is ErrorCode.TOO_MANY_SUBSCRIPTIONS
    session.closed(tickets[2], {})
    subscribe(session, 4)
    assert code(say(session, "subscribe", 5, topic="orders")) is ErrorCode.TOO_MANY_SUBSCRIPTIONS
    publishing(session, 5)


def test_every_way_a_subscription_ends_makes_room() -> None:
    session = new(max_subscriptions=1)
    for _ in range(2):
        session.refused(subscribe(session), ErrorCode.KAFKA_UNAVAILABLE, "")
        subscribe(session)
        say(session, "unsubscribe")
        session.closed(closing(session), {})
        session.ended(live(session), {}, ErrorCode.TOPIC_DELETED, "")
        session.ended(closing(session), {}, ErrorCode.TOPIC_DELETED, "")
        assert session.subscriptions == 0


def test_no_limit_on_subscriptions() -> None:
    session = new(max_subscriptions=None)
    for id in range(1, 2000):
        subscribe(session, id)
    assert session.subscriptions == 1999


# A subscription's life


def test_opened_at_the_end(session: Session) -> None:
    assert opened(session, subscribe(session), {0: 5}) == [
        Send(Subscribed(7, "orders", "t1", False, {0: 5})),
        Send(Live(7)),
    ]


def test_opened_behind_the_end(session: Session) -> None:
    ticket = subscribe(session)
    assert opened(session, ticket, {0: 5, 1: 5}, live=False) == [
        Send(Subscribed(7, "orders", "t1", False, {0: 5, 1: 5}))
    ]
    assert session.position(ticket, {0: 6, 1: 5}) == [Send(PositionMessage(7, {0: 6}))]
    assert session.live(ticket, {0: 6, 1: 9, 2: 0}) == [Send(PositionMessage(7, {1: 9, 2: 0})), Send(Live(7))]
    assert ticket.state is State.LIVE


def test_position_tells_only_what_moved_since(session: Session) -> None:
    ticket = live(session)
    assert session.position(ticket, {0: 5, 1: 5}) == []
    assert session.position(ticket, {0: 8, 1: 5}) == [Send(PositionMessage(7, {0: 8}))]
    assert session.position(ticket, {0: 8, 1: 5}) == []
    assert session.position(ticket, {0: 2, 1: 5}) == [Send(PositionMessage(7, {0: 2}))]


@pytest.mark.parametrize(("positions", "told"), [({0: 5, 1: 5}, {}), ({0: 5, 1: 6}, {1: 6})])
def test_unsubscribing(session: Session, positions: dict[int, int], told: dict[int, int]) -> None:
    ticket = closing(session)
    expected: list[Action] = [Send(PositionMessage(7, told))] if told else []
    assert session.closed(ticket, positions) == [*expected, Send(Unsubscribed(7))]
    assert not session.wants(ticket)
    subscribe(session)  # the id is free


def test_ended_by_the_gateway(session: Session) -> None:
    ticket = live(session)
    assert session.ended(ticket, {0: 9, 1: 5}, ErrorCode.TOPIC_DELETED, "gone") == [
        Send(PositionMessage(7, {0: 9})),
        Send(Unsubscribed(7, ErrorCode.TOPIC_DELETED, "gone")),
    ]
    assert code(say(session, "unsubscribe")) is ErrorCode.UNKNOWN_ID


def test_ended_while_unsubscribing_is_told_once(session: Session) -> None:
    ticket = closing(session)
    assert len(session.ended(ticket, {0: 5, 1: 5}, ErrorCode.TOPIC_DELETED, "gone")) == 1
    assert session.closed(ticket, {0: 5, 1: 5}) == []


def test_live_that_crosses_unsubscribe_is_not_told(session: Session) -> None:
    ticket = subscribe(session)
    opened(session, ticket, live=False)
    say(session, "unsubscribe")
    assert session.live(ticket, {0: 9, 1: 5}) == []
    assert session.closed(ticket, {0: 9, 1: 5}) == [Send(PositionMessage(7, {0: 9})), Send(Unsubscribed(7))]


@pytest.mark.parametrize(("occupy", "command"), [(subscribe, "subscribe"), (publishing, "publish")])
def test_refused(occupy: Any, command: str, session: Session) -> None:
    ticket = occupy(session)
    assert session.refused(ticket, ErrorCode.KAFKA_UNAVAILABLE, "no broker") == [
        Send(ErrorMessage(ErrorCode.KAFKA_UNAVAILABLE, "no broker", 7, command))
    ]
    assert say(session, "ping") == [Send(Pong(7))]


def test_unsubscribing_what_is_pending_answers_only_that(session: Session) -> None:
    ticket = subscribe(session)
    assert say(session, "unsubscribe") == [Abandon(ticket), Send(Unsubscribed(7))]
    assert not session.wants(ticket)
    assert opened(session, ticket) == []
    assert session.subscriptions == 0


def test_a_late_outcome_does_not_touch_the_ids_next_use(session: Session) -> None:
    abandoned = subscribe(session)
    say(session, "unsubscribe")
    again = subscribe(session)
    assert opened(session, abandoned) == []
    assert session.refused(abandoned, ErrorCode.INTERNAL, "") == []
    assert (again.state, session.subscriptions) == (State.OPENING, 1)
    assert len(opened(session, again)) == 2
    for late in (
        session.live(abandoned, {0: 9}),
        session.position(abandoned, {0: 9}),
        session.closed(abandoned, {0: 9}),
        session.ended(abandoned, {0: 9}, ErrorCode.INTERNAL, ""),
    ):
        assert late == []
    assert (again.state, session.subscriptions) == (State.LIVE, 1)


def test_outcomes_that_cannot_be_are_faults_of_ours(session: Session) -> None:
    ticket = live(session)
    with pytest.raises(LifecycleError, match="opened for <Ticket 7, live>"):
        opened(session, ticket)
    with pytest.raises(LifecycleError):
        session.closed(ticket, {})
    with pytest.raises(LifecycleError):
        session.refused(ticket, ErrorCode.INTERNAL, "")
    with pytest.raises(LifecycleError):
        session.live(ticket, {})
    with pytest.raises(LifecycleError):
        session.published(ticket, "orders", 0, 1, None)
    assert ticket.state is State.LIVE


# Publish and auth


def test_publish(session: Session) -> None:
    [action] = say(session, "publish", topic="both", value={"a": 1}, key="k")
    assert isinstance(action, Produce)
    assert action.publish == Publish(7, "both", b'{"a": 1}', b"k")
    assert session.published(action.ticket, "both", 0, 124, None) == [Send(Published(7, "both", 0, 124, None))]
    assert session.published(action.ticket, "both", 0, 124, None) == []


def test_auth_where_nobody_authenticates(session: Session) -> None:
    actions = say(session, "auth", token="x")
    assert code(actions) is ErrorCode.BAD_REQUEST
    assert (actions[0].message.id, actions[0].message.command) == (7, "auth")  # type: ignore[union-attr]
    assert say(session, "ping") == [Send(Pong(7))]


def test_auth_completes_before_anything_else_starts() -> None:
    session = new(authenticates=True)
    [action] = say(session, "auth", 1, token="x")
    assert isinstance(action, Authenticate)
    assert action.auth == Auth(1, "x")
    assert say(session, "ping", 2) == []
    assert session.receive("{") == []
    assert say(session, "subscribe", 3, topic="orders") == []
    assert session.held == 3
    authenticated, pong, error, open = session.authenticated(action.ticket, ME)
    assert authenticated == Send(Authenticated(1, "me", 5))
    assert pong == Send(Pong(2))
    assert code([error]) is ErrorCode.BAD_REQUEST
    assert isinstance(open, Open)
    assert session.held == 0


def test_what_is_held_waits_for_the_next_auth_too() -> None:
    session = new(authenticates=True)
    first = judged(session, 1)
    say(session, "auth", 2, token="y")
    say(session, "ping", 3)
    error, second = session.refused(first, ErrorCode.UNAUTHENTICATED, "bad token")
    assert error == Send(ErrorMessage(ErrorCode.UNAUTHENTICATED, "bad token", 1, "auth"))
    assert isinstance(second, Authenticate)
    assert session.held == 1
    assert session.authenticated(second.ticket, ME)[1:] == [Send(Pong(3))]


def test_other_outcomes_do_not_release_what_an_auth_holds() -> None:
    session = new(authenticates=True)
    pending = subscribe(session, 1)
    ticket = judged(session, 2)
    say(session, "ping", 3)
    assert len(session.refused(pending, ErrorCode.KAFKA_UNAVAILABLE, "")) == 1
    assert session.held == 1
    assert len(session.authenticated(ticket, ME)) == 2


# Errors in a row, and endings


@pytest.mark.parametrize("bad", ["{", '{"type":"pong","id":1}', '{"type":"ping","id":0}'])
def test_twenty_faults_in_a_row_end_the_session(bad: str, session: Session) -> None:
    for _ in range(19):
        assert len(session.receive(bad)) == 1
    error, end = session.receive(bad)
    assert isinstance(error, Send)
    assert end == End(TOO_MANY_ERRORS)
    assert session.receive(bad) == []
    assert say(session, "ping") == []


@pytest.mark.parametrize("answered_by", ["pong", "other error", "subscribed", "unsubscribed", "published", "refused"])
def test_any_other_answer_starts_the_count_anew(answered_by: str, session: Session) -> None:
    pending, other, publish = subscribe(session, 1), closing(session, 2), publishing(session, 3)
    for _ in range(19):
        session.receive("{")
    if answered_by == "pong":
        say(session, "ping", 9)
    elif answered_by == "other error":
        say(session, "unsubscribe", 9)
    elif answered_by == "subscribed":
        opened(session, pending)
    elif answered_by == "unsubscribed":
        session.closed(other, {})
    elif answered_by == "published":
        session.published(publish, "both", 0, 0, None)
    else:
        session.refused(pending, ErrorCode.KAFKA_UNAVAILABLE, "")
    for _ in range(19):
        assert len(session.receive("{")) == 1
    assert session.receive("{")[-1] == End(TOO_MANY_ERRORS)


def test_what_answers_nothing_does_not_start_the_count_anew(session: Session) -> None:
    first, second = live(session, 1), live(session, 2)
    for _ in range(19):
        session.receive("{")
    session.position(first, {0: 9})
    session.ended(second, {0: 9}, ErrorCode.TOPIC_DELETED, "")
    assert session.receive("{")[-1] == End(TOO_MANY_ERRORS)


def test_a_refusal_can_be_the_twentieth_fault(session: Session) -> None:
    tickets = [subscribe(session, 1), publishing(session, 2)]
    for _ in range(18):
        session.receive("{")
    assert len(session.refused(tickets[0], ErrorCode.BAD_REQUEST, "")) == 1
    assert session.refused(tickets[1], ErrorCode.TOO_LARGE, "")[-1] == End(TOO_MANY_ERRORS)


def test_the_twentieth_fault_may_have_been_held_back() -> None:
    session = new(authenticates=True)
    ticket = judged(session)
    for _ in range(25):
        session.receive("{")
    actions = session.authenticated(ticket, ME)
    assert len(actions) == 1 + 20 + 1
    assert actions[-1] == End(TOO_MANY_ERRORS)


def test_the_wrong_kind_of_message_ends_the_session() -> None:
    for codec, wrong, right in ((JSON, b"{}", "{}"), (MSGPACK, "{}", b"\x80")):
        session = Session(codec, Terms(Access(EXPOSURE)))
        assert code(session.receive(right)) is ErrorCode.BAD_REQUEST
        assert session.receive(wrong) == [End(UNSUPPORTED_DATA)]
        assert session.receive(right) == []


def test_after_the_end_outcomes_change_nothing(session: Session) -> None:
    pending, subscribed = subscribe(session, 1), live(session, 2)
    assert session.receive(b"") == [End(UNSUPPORTED_DATA)]
    assert opened(session, pending) == []
    assert session.ended(subscribed, {}, ErrorCode.INTERNAL, "") == []
    assert not session.wants(subscribed)


def test_closing_tells_every_position_that_moved(session: Session) -> None:
    first, second, pending = live(session, 1), live(session, 2), subscribe(session, 3)
    vectors = [(first, {0: 9, 1: 5}), (second, {0: 5, 1: 5}), (pending, {0: 9})]
    assert session.closing(SHUTDOWN, 1500, vectors) == [
        Send(PositionMessage(1, {0: 9})),
        Send(Closing(4000, "shutdown", 1500)),
    ]
    assert session.closing(SHUTDOWN, 1500, vectors) == []
    assert say(session, "ping") == []
    assert opened(session, pending) == []


def test_closing_after_an_end_tells_positions_too(session: Session) -> None:
    ticket, old = live(session, 1), subscribe(session, 2)
    say(session, "unsubscribe", 2)
    session.receive(b"")
    assert session.closing(UNSUPPORTED_DATA, positions=[(ticket, {0: 9}), (old, {0: 9})]) == [
        Send(PositionMessage(1, {0: 9})),
        Send(Closing(1003, "unsupported_data", None)),
    ]


def test_an_idle_session_is_small() -> None:
    session = new()
    say(session, "ping")
    size = sys.getsizeof(session) + sum(
        sys.getsizeof(getattr(session, name)) for name in ("_tickets", "_held", "_judged")
    )
    assert not hasattr(session, "__dict__")
    assert size <= 200  # CPython 3.11: 104 for the object, 16 for each None
