"""session: what may be done before a token, under it, and what becomes of subscriptions when it is replaced."""

import json
from typing import Any

import pytest

from tailrace.config import Rule, Topic
from tailrace.core.access import Access
from tailrace.core.actions import Abandon, Action, Authenticate, Close, Open, Produce, Revoke, Send
from tailrace.core.claims import Principal
from tailrace.core.exposure import Exposure
from tailrace.core.lifecycle import Ticket
from tailrace.core.protocol import JSON, Authenticated, ErrorMessage, Pong, PositionMessage, Unsubscribed
from tailrace.core.rules import NOTHING, Rules
from tailrace.core.session import REVOKED, Session, Terms
from tailrace.errors import ErrorCode

EXPOSURE = Exposure({"orders": Topic(publish=True), "prices": Topic(), "secret": Topic()})
RULES = Rules(
    (
        Rule(topics=("prices",), allow=("subscribe",)),
        Rule(topics=("orders",), allow=("subscribe", "publish"), keys=("${claims.tenants}",)),
        Rule(topics=("secret",), allow=("subscribe",), claims={"role": "staff"}),
    ),
    NOTHING,
)
TERMS = Terms(Access(EXPOSURE, RULES), authenticates=True)


def bearer(*tenants: str, subject: str = "me", **claims: Any) -> Principal:
    return Principal(subject, None, {"tenants": list(tenants), **claims})


def session_of(principal: Principal | None) -> Session:
    return Session(JSON, TERMS, principal)


def say(session: Session, type: str, id: int = 7, **fields: Any) -> list[Action]:
    return session.receive(json.dumps({"type": type, "id": id, **fields}))


def opening(session: Session, id: int = 7, **fields: Any) -> Open:
    [action] = say(session, "subscribe", id, **({"topic": "orders"} | fields))
    assert isinstance(action, Open), action
    return action


def live(session: Session, id: int = 7, **fields: Any) -> Ticket:
    ticket = opening(session, id, **fields).ticket
    session.opened(ticket, "orders", "t1", False, {0: 5})
    return ticket


def renewed(session: Session, principal: Principal) -> list[Action]:
    """What follows the answer to an `auth`."""
    [action] = say(session, "auth", 99, token="x")
    assert isinstance(action, Authenticate)
    answer, *rest = session.authenticated(action.ticket, principal)
    assert answer == Send(Authenticated(99, principal.subject, principal.expires_at_ms))
    return rest


def error(actions: list[Action]) -> tuple[str, int, str]:
    [action] = actions
    assert isinstance(action, Send)
    assert isinstance(action.message, ErrorMessage)
    return action.message.code, action.message.id, action.message.message  # type: ignore[return-value]


@pytest.mark.parametrize("type", ["subscribe", "unsubscribe", "publish", "ping"])
def test_before_a_token_there_is_only_auth(type: str) -> None:
    session = session_of(None)
    fields: dict[str, Any] = {"subscribe": {"topic": "orders"}, "publish": {"topic": "orders", "value": 1}}.get(
        type, {}
    )
    assert error(say(session, type, **fields))[:2] == (ErrorCode.UNAUTHENTICATED, 7)
    assert session.subscriptions == 0
    assert renewed(session, bearer("a")) == []
    assert say(session, "ping", 8) == [Send(Pong(8))]


def test_a_refused_token_changes_nothing() -> None:
    session = session_of(None)
    [action] = say(session, "auth", 1, token="x")
    assert isinstance(action, Authenticate)
    say(session, "subscribe", 2, topic="prices")  # held back
    refused, held = session.refused(action.ticket, ErrorCode.UNAUTHENTICATED, "no")
    assert error([refused])[0] == error([held])[0] == ErrorCode.UNAUTHENTICATED
    assert session.principal is None


def test_who_asks_for_no_keys_gets_the_rules() -> None:
    session = session_of(bearer("a", "b"))
    assert opening(session).subscribe.keys == {b"a", b"b"}
    assert opening(session, 8, keys=["b"]).subscribe.keys == {b"b"}
    assert opening(session, 9, topic="prices").subscribe.keys is None


@pytest.mark.parametrize("keys", [["c"], ["a", "c"], [None], ["a", None], [""], ["A"], ["a "]])
def test_who_asks_for_other_keys_gets_none(keys: list[str | None]) -> None:
    session = session_of(bearer("a", "b"))
    assert error(say(session, "subscribe", topic="orders", keys=keys))[0] == ErrorCode.FORBIDDEN
    assert session.subscriptions == 0


def test_publishing_is_held_to_the_same_keys() -> None:
    session = session_of(bearer("a"))
    [action] = say(session, "publish", topic="orders", value=1, key="a")
    assert isinstance(action, Produce)
    assert error(say(session, "publish", 8, topic="orders", value=1, key="b"))[0] == ErrorCode.FORBIDDEN
    assert error(say(session, "publish", 8, topic="orders", value=1))[0] == ErrorCode.FORBIDDEN
    assert error(say(session, "publish", 8, topic="prices", value=1))[0] == ErrorCode.FORBIDDEN
    assert error(say(session, "publish", 8, topic="secret", value=1))[0] == ErrorCode.UNKNOWN_TOPIC


def test_a_topic_one_may_not_see_answers_as_one_that_does_not_exist() -> None:
    session = session_of(bearer("a"))
    said = {name: error(say(session, "subscribe", topic=name)) for name in ("secret", "nothing")}
    assert said["secret"][0] == ErrorCode.UNKNOWN_TOPIC
    assert said["secret"][2].replace("secret", "nothing") == said["nothing"][2]
    assert error(say(session_of(bearer()), "subscribe", topic="orders"))[0] == ErrorCode.UNKNOWN_TOPIC


def test_another_subject_is_refused_and_the_first_stays() -> None:
    session = session_of(bearer("a"))
    live(session)
    for other in (bearer("a", subject="you"), Principal("me", "elsewhere", {"tenants": ["a"]})):
        [action] = say(session, "auth", 99, token="x")
        assert isinstance(action, Authenticate)
        assert error(session.authenticated(action.ticket, other))[:2] == (ErrorCode.FORBIDDEN, 99)
        assert session.principal == bearer("a")
    assert session.subscriptions == 1


def test_the_same_keys_under_a_new_token_go_on() -> None:
    session = session_of(bearer("a", "b"))
    live(session, 1), live(session, 2, keys=["a"]), opening(session, 3, topic="prices")
    assert renewed(session, bearer("b", "a", role="staff")) == []
    assert session.subscriptions == 3


@pytest.mark.parametrize("tenants", [("a", "c"), ("a",), ("a", "b", "c"), ()])
def test_other_keys_under_a_new_token_end_it(tenants: tuple[str, ...]) -> None:
    session = session_of(bearer("a", "b"))
    ticket = live(session)
    assert renewed(session, bearer(*tenants)) == [Revoke(ticket)]
    assert session.ended(ticket, {0: 6}, ErrorCode.FORBIDDEN, REVOKED) == [
        Send(PositionMessage(7, {0: 6})),
        Send(Unsubscribed(7, ErrorCode.FORBIDDEN, REVOKED)),
    ]
    assert session.subscriptions == 0
    assert renewed(session, bearer("d")) == []


def test_keys_that_were_asked_for_end_when_one_of_them_is_lost() -> None:
    session = session_of(bearer("a", "b", "c"))
    lost, kept = live(session, 1, keys=["a", "b"]), live(session, 2, keys=["b"])
    assert renewed(session, bearer("b")) == [Revoke(lost)]
    assert session.wants(kept)


def test_a_topic_that_is_lost_ends() -> None:
    session = session_of(bearer(role="staff"))
    ticket = live(session, topic="secret")
    assert renewed(session, bearer()) == [Revoke(ticket)]


def test_a_pending_subscription_is_refused() -> None:
    session = session_of(bearer("a"))
    ticket = opening(session).ticket
    abandon, refused = renewed(session, bearer("b"))
    assert abandon == Abandon(ticket)
    assert error([refused]) == (ErrorCode.FORBIDDEN, 7, REVOKED)
    assert session.opened(ticket, "orders", "t1", False, {0: 5}) == []


def test_unsubscribing_crosses_the_end_of_a_permission() -> None:
    """The held `unsubscribe` is started when the token is judged, before the end is carried out: one answer."""
    session = session_of(bearer("a"))
    ticket = live(session)
    [action] = say(session, "auth", 99, token="x")
    assert isinstance(action, Authenticate)
    say(session, "unsubscribe")
    assert session.authenticated(action.ticket, bearer("b"))[1:] == [Revoke(ticket), Close(ticket)]
    assert session.ended(ticket, {0: 5}, ErrorCode.FORBIDDEN, "") == [Send(Unsubscribed(7, ErrorCode.FORBIDDEN, ""))]
    assert session.closed(ticket, {0: 5}) == []


def test_what_has_ended_is_not_looked_at_again() -> None:
    session = session_of(bearer("a"))
    ticket = live(session)
    assert say(session, "unsubscribe") == [Close(ticket)]
    session.closed(ticket, {0: 5})
    assert renewed(session, bearer("b")) == []


def test_without_tokens_nothing_is_kept_of_a_subscription() -> None:
    session = Session(JSON, Terms(Access(EXPOSURE)))
    live(session)
    assert session._grants is None
