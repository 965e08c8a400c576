"""Tokens at the door and after, over a Kafka made of dicts: every way to bring one, what a bad one leads to, and what
becomes of a connection whose token is replaced or runs out. On a real broker: tests/integration/test_access.py."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import Raw, handshake, masked, until
from tests.plain_door import House, house
from tests.tokens import OTHER_RSA, OTHER_SECRET, PRIVATE, SECRET, issuer, jwk, token
from trio.testing import wait_all_tasks_blocked

from tailrace.auth import remote
from tailrace.config import Auth, Limits, Rule
from tailrace.core.session import Session
from tailrace.gateway.client import MAX_HELD
from tailrace.gateway.gate import Offer

AUTH = Auth(mode="jwt", algorithms=("HS256",), secret=SECRET, cookie="session", query_parameter="token")
RULES = (
    Rule(topics=("prices",), allow=("subscribe",)),
    Rule(topics=("inbox",), allow=("publish",)),
    Rule(topics=("orders",), allow=("subscribe",), keys=("${claims.tenants}",)),
    Rule(topics=("gone",), allow=("subscribe",)),
)
ORIGIN = "Origin: http://localhost"  # tests.gateway.handshake's Host
ELSEWHERE = "Origin: http://elsewhere.example"
JSON_PROTOCOL = "tailrace.v1.json"


def bearer(text: str) -> str:
    return f"Authorization: Bearer {text}"


def home(**changes: Any) -> Any:
    settings: dict[str, Any] = {"auth": AUTH, "rules": RULES, "orders": [0], "prices": [0], "inbox": [0], "secret": [0]}
    return house(**(settings | changes))


async def answer(place: House, path: str, *lines: str) -> tuple[int, Any]:
    """Status and body of a refusal; its status line and headers are in the body's place for 101."""
    async with place.knock(handshake(path, *lines)) as raw:
        head, _, body = (await raw.end_of_file()).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


async def turned_away(place: House, path: str, *lines: str) -> tuple[list[Any], int]:
    """What a browser hears: the messages, and the close code."""
    async with place.knock(handshake(path, *lines)) as raw:
        await raw.head()
        said = []
        while True:
            opcode, payload = await raw.frame()
            if opcode == 8:
                return said, int.from_bytes(payload[:2], "big")
            said.append(json.loads(payload))


async def say(raw: Raw, type: str, id: int = 1, **fields: Any) -> Any:
    """A command and the next message."""
    await raw.send(masked(1, json.dumps({"type": type, "id": id, **fields}).encode()))
    return await raw.message()


# Every way to bring one


def ways(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Query and header lines, by the way's name."""
    return {
        "header": ("", (bearer(text),)),
        "header, in another case": ("", (f"authorization: bEARER   {text}",)),
        "subprotocol": ("", (f"Sec-WebSocket-Protocol: {JSON_PROTOCOL}, tailrace.token.{text}",)),
        "query": (f"?token={quote(text)}", ()),
        "cookie": ("", (ORIGIN, f'Cookie: a=b; session={text}; c="d"')),
        "quoted cookie": ("", (ORIGIN, f'Cookie: session="{text}"')),
    }


@pytest.mark.parametrize("way", list(ways("")))
async def test_ways_to_bring_a_token(way: str) -> None:
    query, lines = ways(token(tenants=["a"]))[way]
    async with home() as place:
        async with place.visit("/ws" + query, *lines) as raw:
            assert (await say(raw, "subscribe", topic="orders"))["type"] == "subscribed"
        async with place.visit("/topics/orders" + query, *lines) as raw:
            assert (await raw.message())["type"] == "subscribed"


@pytest.mark.parametrize("way", list(ways("")))
@pytest.mark.parametrize("path", ["/ws", "/topics/orders"])
async def test_a_bad_token_however_it_comes(way: str, path: str) -> None:
    for bad in (token(OTHER_SECRET), token(exp=1), "x", ""):
        query, lines = ways(bad)[way]
        async with home() as place:
            browser = any(line.startswith("Origin") for line in lines)
            if browser:
                said, code = await turned_away(place, path + query, *lines)
                assert (code, [message["code"] for message in said]) == (4502, [4502])
            else:
                status, body = await answer(place, path + query, *lines)
                assert (status, body["code"]) == (401, "unauthenticated")
                assert "not good" in body["message"]
            assert place.kafka.questions == []


async def test_the_token_is_never_echoed() -> None:
    text = token()
    async with home() as place:
        lines = (f"Sec-WebSocket-Protocol: tailrace.token.{text}, {JSON_PROTOCOL}",)
        async with place.knock(handshake("/ws", *lines)) as raw:
            await wait_all_tasks_blocked()
            head = await raw.stream.receive_some(65536)
            assert f"sec-websocket-protocol: {JSON_PROTOCOL}\r\n".encode() in head.lower()
            assert text.encode() not in head


async def test_a_token_alone_names_no_protocol() -> None:
    async with home() as place:
        assert (await answer(place, "/ws", f"Sec-WebSocket-Protocol: tailrace.token.{token()}"))[0] == 400


@pytest.mark.parametrize(
    ("origins", "origin", "counts"),
    [
        ((), ORIGIN, True),
        ((), None, False),  # not a page: a cookie is no proof of one
        (("*",), ELSEWHERE, False),  # any page is let in, but not with our user's cookies
        (("*",), ORIGIN, True),
        (("*", "http://elsewhere.example"), ELSEWHERE, True),
        (("http://elsewhere.example",), ELSEWHERE, True),
    ],
)
async def test_cookies_count_for_our_pages_only(origins: tuple[str, ...], origin: str | None, counts: bool) -> None:
    async with home(origins=origins) as place:
        lines = (*([origin] if origin else []), f"Cookie: session={token(tenants=['a'])}")
        async with place.visit("/ws", *lines) as raw:
            answered = await say(raw, "subscribe", topic="orders")
            assert (answered["type"] == "subscribed") is counts, answered


async def test_a_page_from_elsewhere_is_refused_before_its_cookie_is_looked_at() -> None:
    async with home() as place:
        assert (await answer(place, "/ws", ELSEWHERE, f"Cookie: session={token()}"))[0] == 403
        assert place.door.gate.statistics().tokens == (await fresh()).tokens


async def fresh() -> Any:
    async with home() as place:
        return place.door.gate.statistics()


async def test_two_tokens_that_differ_are_none() -> None:
    one, other = token(), token(sub="you")
    async with home() as place:
        assert (await answer(place, "/ws", bearer(one), bearer(other)))[0] == 401
        assert (await answer(place, f"/ws?token={one}", bearer(other)))[0] == 401
        assert (await answer(place, f"/ws?token={one}&token={other}"))[0] == 401
        async with place.visit(f"/ws?token={one}", bearer(one)):
            pass
        async with place.visit("/ws", bearer(one), ORIGIN, f"Cookie: session={other}"):  # who names one means it
            pass


async def test_what_is_not_configured_is_not_looked_at() -> None:
    plain = Auth(mode="jwt", algorithms=("HS256",), secret=SECRET)
    async with home(auth=plain) as place:
        assert (await answer(place, f"/topics/orders?token={token()}"))[1]["code"] == "bad_request"
        for query, lines in (("?token=" + token(), ()), ("", (ORIGIN, f"Cookie: session={token()}"))):
            async with place.visit("/ws" + query, *lines) as raw:
                assert (await say(raw, "ping"))["code"] == "unauthenticated"


async def test_another_scheme_is_somebody_elses() -> None:
    async with home() as place, place.visit("/ws", "Authorization: Basic eDp5") as raw:
        assert (await say(raw, "ping"))["code"] == "unauthenticated"


# None


async def test_no_token_on_a_stream() -> None:
    async with home() as place:
        status, body = await answer(place, "/topics/orders")
        assert (status, body["code"]) == (401, "unauthenticated")
        said, code = await turned_away(place, "/topics/orders", ORIGIN)
        assert (code, [message["type"] for message in said]) == (4500, ["closing"])
        assert await turned_away(place, "/topics/orders?format=value", ORIGIN) == ([], 4500)
        assert place.kafka.questions == []


async def test_no_token_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with home() as place, place.visit("/ws") as raw:
        begun = trio.current_time()
        assert place.door.gate.statistics().waiting == 1
        closing = await raw.message()
        assert (closing["type"], closing["code"]) == ("closing", 4500)
        assert trio.current_time() - begun == pytest.approx(10.0)
        assert (await raw.close_frame())[0] == 4500
        assert place.door.gate.statistics().late == 1


async def test_the_time_can_be_off(autojump_clock: trio.testing.MockClock) -> None:
    async with home(limits=Limits(auth_timeout=None, ping_interval=None)) as place, place.visit("/ws") as raw:
        await trio.sleep(3600)
        assert (await say(raw, "auth", token=token()))["type"] == "authenticated"


async def test_the_first_message_may_bring_it() -> None:
    async with home() as place, place.visit("/ws") as raw:
        for type, fields in (("subscribe", {"topic": "orders"}), ("ping", {}), ("unsubscribe", {})):
            assert (await say(raw, type, **fields))["code"] == "unauthenticated"
        bad = await say(raw, "auth", token=token(OTHER_SECRET))
        assert (bad["type"], bad["code"], bad["command"]) == ("error", "unauthenticated", "auth")
        expires = round(time.time()) + 100
        assert await say(raw, "auth", token=token(exp=expires, tenants=["a"])) == {
            "type": "authenticated",
            "id": 1,
            "subject": "me",
            "expires_at": expires * 1000,
        }
        assert (await say(raw, "subscribe", topic="orders"))["type"] == "subscribed"
        statistics = place.door.gate.statistics()
        assert (statistics.waiting, statistics.timed) == (0, 1)


async def test_a_bad_token_does_not_win_time(autojump_clock: trio.testing.MockClock) -> None:
    async with home() as place, place.visit("/ws") as raw:
        begun = trio.current_time()
        for _ in range(3):
            await trio.sleep(3)
            assert (await say(raw, "auth", token="x"))["code"] == "unauthenticated"
        assert (await raw.message())["code"] == 4500
        assert trio.current_time() - begun == pytest.approx(10.0)


async def test_a_large_token() -> None:
    async with home() as place, place.visit("/ws") as raw:
        assert (await say(raw, "auth", token=token(filler="x" * 10_000)))["code"] == "unauthenticated"


# What it allows


@pytest.mark.parametrize(
    ("topic", "status", "code", "close"),
    [
        ("secret", 404, "unknown_topic", None),  # exposed, and no rule names it
        ("nothing", 404, "unknown_topic", None),
        ("inbox", 404, "unknown_topic", None),  # a rule allows only what its exposure does not
        ("orders?key=b", 403, "forbidden", 4501),
        ("orders?key=a&key=b", 403, "forbidden", 4501),
    ],
)
async def test_topics_one_may_not_read(topic: str, status: int, code: str, close: int | None) -> None:
    good = bearer(token(tenants=["a"]))
    async with home() as place:
        found = await answer(place, f"/topics/{topic}", good)
        assert (found[0], found[1]["code"]) == (status, code)
        if close is None:
            assert (await answer(place, f"/topics/{topic}", good, ORIGIN))[0] == status
        else:
            assert (await turned_away(place, f"/topics/{topic}", good, ORIGIN))[1] == close
        assert place.kafka.questions == []


async def test_a_hidden_topic_answers_like_one_that_does_not_exist() -> None:
    """In the same words, whether Kafka has it or not, and Kafka is not asked."""
    good = bearer(token())
    async with home() as place:
        hidden, missing = [await answer(place, f"/topics/{name}", good) for name in ("secret", "nothing")]
        assert json.dumps(hidden).replace("secret", "nothing") == json.dumps(missing)
        async with place.visit("/ws", good) as raw:
            said = [await say(raw, "subscribe", topic=name) for name in ("secret", "nothing", "orders")]
            assert json.dumps(said[0]).replace("secret", "nothing") == json.dumps(said[1])
            assert json.dumps(said[2]).replace("orders", "nothing") == json.dumps(said[1])  # a token without tenants
        assert place.kafka.questions == []
        allowed = await answer(place, "/topics/gone", good)  # may be seen, and Kafka has none
        assert json.dumps(allowed).replace("gone", "nothing") == json.dumps(missing)
        assert place.kafka.questions == ["describe"]


async def test_only_its_keys() -> None:
    good = bearer(token(tenants=["a", "b"]))
    async with (
        home() as place,
        place.visit("/ws", good) as all_of_them,
        place.visit("/topics/orders?format=value", good) as bare,
        place.visit("/topics/orders?format=value&key=b", good) as one,
    ):
        await say(all_of_them, "subscribe", topic="orders")
        await all_of_them.message()
        for key in (b"a", b"c", None, b"b"):
            await place.produce("orders", b'"of %s"' % (key or b"none"), key=key)
        assert [(await all_of_them.message())["value"] for _ in range(2)] == ["of a", "of b"]
        assert [(await bare.frame())[1] for _ in range(2)] == [b'"of a"', b'"of b"']
        assert (await one.frame())[1] == b'"of b"'


# Another one, and the end


async def test_another_token_goes_on_without_a_break() -> None:
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a"]))) as raw:
        await say(raw, "subscribe", topic="orders")
        await raw.message()
        await place.produce("orders", b"1", key=b"a")
        assert (await raw.message())["value"] == 1
        assert (await say(raw, "auth", 2, token=token(tenants=["a"], exp=None)))["expires_at"] is None
        assert place.door.gate.statistics().timed == 0
        await place.produce("orders", b"2", key=b"a")
        assert (await raw.message())["value"] == 2


async def test_another_token_with_other_keys_ends_the_subscription() -> None:
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a", "b"]))) as raw:
        await say(raw, "subscribe", topic="orders")
        await raw.message()
        await say(raw, "subscribe", 2, topic="prices")
        await raw.message()
        assert (await say(raw, "auth", 9, token=token(tenants=["a"])))["type"] == "authenticated"
        ended = await raw.message()
        assert (ended["type"], ended["id"], ended["code"]) == ("unsubscribed", 1, "forbidden")
        await place.produce("orders", b"1", key=b"a")
        await place.produce("prices", b"2", key=b"a")
        assert (await raw.message())["topic"] == "prices"
        assert (place.users("orders"), place.users("prices")) == (0, 1)


async def test_another_token_while_a_subscription_begins() -> None:
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a"]))) as raw:
        with place.kafka.hold():
            await raw.send(masked(1, b'{"type":"subscribe","id":1,"topic":"orders"}'))
            assert (await say(raw, "auth", 9, token=token(tenants=["b"])))["type"] == "authenticated"
            refused = await raw.message()
            assert (refused["type"], refused["id"], refused["code"]) == ("error", 1, "forbidden")
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


async def test_another_subject() -> None:
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a"]))) as raw:
        assert (await say(raw, "auth", token=token(sub="you", exp=None)))["code"] == "forbidden"
        assert place.door.gate.statistics().timed == 1


@pytest.mark.parametrize("path", ["/ws", "/topics/orders", "/topics/orders?format=value"])
async def test_a_token_that_runs_out(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with home() as place, place.visit(path, bearer(token(tenants=["a"], exp=round(now) + 60))) as raw:
        if path == "/ws":
            await say(raw, "subscribe", topic="orders")
            await raw.message()
        elif "value" not in path:
            await raw.message(), await raw.message()
        await place.produce("orders", b"1", key=b"a")
        assert (await raw.frame())[1]
        expire(place, monkeypatch, now + 61)
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0
        said = []
        while (found := await raw.frame())[0] != 8:
            said.append(json.loads(found[1]))
        assert int.from_bytes(found[1][:2], "big") == 4003
        if "value" not in path:
            assert [message["type"] for message in said] == ["position", "closing"]
            assert (said[1]["code"], said[1]["reason"]) == (4003, "token_expired")
        assert place.door.gate.statistics().expired == 1
    assert len(place.door.gate._expiry) == 0


def expire(place: House, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """Let it be that time."""
    expiry = place.door.gate._expiry
    monkeypatch.setattr(expiry, "_clock", lambda: now)
    expiry._changed.set()


async def for_ever(self: object) -> None:
    await trio.sleep_forever()


async def test_nothing_more_once_it_has_run_out_whatever_the_client_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that reads this client waits for it to read: the subscription ends all the same, at once."""
    now = time.time()
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a"], exp=round(now) + 60))) as raw:
        await say(raw, "subscribe", topic="orders")
        await raw.message()
        (connection,) = place.door.connections
        with monkeypatch.context() as patch:
            patch.setattr(type(connection.outlet), "room", for_ever)
            await raw.send(masked(1, b'{"type":"ping","id":7}'))
            assert (await raw.message())["type"] == "pong"
            expire(place, monkeypatch, now + 61)
            await wait_all_tasks_blocked()
            assert place.users("orders") == 0
            await place.produce("orders", b'"too late"', key=b"a")
        assert b"too late" not in raw.received


async def test_no_subscription_begins_once_it_has_run_out_whatever_the_client_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a"], exp=round(now) + 60))) as raw:
        (connection,) = place.door.connections
        with monkeypatch.context() as patch:
            patch.setattr(type(connection.outlet), "room", for_ever)
            with place.kafka.hold():
                await raw.send(masked(1, b'{"type":"subscribe","id":1,"topic":"orders"}'))
                await wait_all_tasks_blocked()
                expire(place, monkeypatch, now + 61)
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            assert place.users("orders") == 0


async def test_a_subscription_that_begins_after_the_end_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with home() as place, place.visit("/ws", bearer(token(tenants=["a"], exp=round(now) + 60))) as raw:
        with place.kafka.hold():
            await raw.send(masked(1, b'{"type":"subscribe","id":1,"topic":"orders"}'))
            await wait_all_tasks_blocked()
            expire(place, monkeypatch, now + 61)
        assert (await raw.message())["type"] == "closing"
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


async def test_leeway(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    lenient = Auth(mode="jwt", algorithms=("HS256",), secret=SECRET, leeway=30.0)
    async with home(auth=lenient) as place, place.visit("/ws", bearer(token(exp=round(now) - 10))) as raw:
        assert (await say(raw, "ping"))["type"] == "pong"
        expire(place, monkeypatch, now + 15)
        assert (await say(raw, "ping"))["type"] == "pong"
        expire(place, monkeypatch, now + 31)
        assert (await raw.message())["code"] == 4003


async def test_rules_without_tokens() -> None:
    """They hold for everybody, and what no rule decides is as the topics say."""
    rules = (Rule(topics=("secret",), allow=()), Rule(topics=("orders",), allow=("subscribe",), keys=("a",)))
    async with home(auth=Auth(), rules=rules) as place:
        assert (await answer(place, "/topics/secret"))[0] == 404
        assert place.door.gate.offer().topics == ("orders", "prices", "inbox", "gone")
        async with place.visit("/topics/orders?format=value") as raw, place.visit("/topics/prices?format=value") as all:
            await place.produce("orders", b"1", key=b"b")
            await place.produce("orders", b"2", key=b"a")
            await place.produce("prices", b"3")
            assert (await raw.frame())[1] == b"2"
            assert (await all.frame())[1] == b"3"


async def test_the_page_tells_no_names_where_tokens_are_asked_for() -> None:
    async with home() as place:
        assert place.door.gate.offer({"orders"}) == Offer(unlisted=True)


# Keys from a URL


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches may follow one another at once."""
    monkeypatch.setattr(remote, "MIN_SECONDS", 0.0)


async def test_keys_that_cannot_be_fetched(quick: None) -> None:
    """Nobody is told that his token is bad; who has one with a known key comes in."""
    with issuer(jwk(PRIVATE["RS256"], kid="k")) as source:
        keys = Auth(mode="jwt", algorithms=("RS256",), jwks_url=source.url)
        good, other = (
            token(PRIVATE["RS256"], "RS256", headers={"kid": "k"}),
            token(OTHER_RSA, "RS256", headers={"kid": "o"}),
        )
        async with home(auth=keys) as place, place.visit("/ws", bearer(good)) as raw:
            source.status = 503
            assert (await say(raw, "auth", token=other))["code"] == "internal"
            status, body = await answer(place, "/ws", bearer(other))
            assert (status, body["code"]) == (503, "keys_unavailable")
            assert (await say(raw, "ping"))["type"] == "pong"
            async with place.visit("/ws", bearer(good)):
                pass


async def test_a_client_whose_token_is_being_judged_is_read_no_further(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    receive = Session.receive

    def counted(self: Session, data: str | bytes) -> Any:
        actions = receive(self, data)
        held.append(self.held)
        return actions

    monkeypatch.setattr(Session, "receive", counted)
    with issuer(jwk(PRIVATE["RS256"], kid="k")) as source:
        keys = Auth(mode="jwt", algorithms=("RS256",), jwks_url=source.url)
        async with home(auth=keys, limits=Limits(auth_timeout=None)) as place, place.visit("/ws") as raw:
            await until(lambda: source.asked)
            source.hold = True
            unknown = token(OTHER_RSA, "RS256", headers={"kid": "o"})
            auth = json.dumps({"type": "auth", "id": 1, "token": unknown}).encode()
            pings = [masked(1, b'{"type":"ping","id":%d}' % id) for id in range(2, 40)]
            await raw.send(b"".join([masked(1, auth), *pings]))
            await until(lambda: len(held) == 1 + MAX_HELD)
            await wait_all_tasks_blocked(0.05)
            assert held == list(range(1 + MAX_HELD))
            source.hold = False
            source.go.set()
            said = [await raw.message() for _ in range(39)]
            assert [message["id"] for message in said] == list(range(1, 40))


# Nothing is told


async def test_no_token_is_ever_logged() -> None:
    good, bad = token(tenants=["a"]), token(OTHER_SECRET)
    with capture_logs() as log:
        async with home() as place:
            for text in (good, bad):
                for query, lines in ways(text).values():
                    for path in ("/ws", "/topics/orders"):
                        async with place.knock(handshake(path + query, *lines)) as raw:
                            await wait_all_tasks_blocked()
                            await raw.stream.receive_some(65536)
            async with place.visit("/ws") as raw:
                await say(raw, "auth", token=bad)
                await say(raw, "auth", token=good)
    assert log
    assert good not in repr(log)
    assert bad not in repr(log)
    assert SECRET not in repr(log)


async def test_statistics_are_back_at_zero() -> None:
    async with home() as place:
        async with (
            place.visit("/ws"),
            place.visit("/ws", bearer(token())),
            place.visit("/topics/prices", bearer(token())),
        ):
            statistics = place.door.gate.statistics()
            assert (statistics.waiting, statistics.timed) == (1, 2)
        await until(lambda: not place.door.connections)
        statistics = place.door.gate.statistics()
        assert (statistics.waiting, statistics.timed, statistics.late, statistics.expired) == (0, 0, 0, 0)
        assert statistics.tokens is not None
        assert statistics.tokens.accepted == 2
