"""No byte of a record reaches who may not have it: any rules, any claims, tokens good and bad, every way to read live.

The oracle says in a few lines, and in its own, which keys of which topic the bearer of some claims may see. Records
carry a mark of their topic and key, and every byte that comes out of the gateway is searched for the marks that it may
not hold; those that it must hold are there. From Kafka (catching up, snapshots): tests/integration/test_access.py.
"""

import itertools
import json
import time
from fnmatch import fnmatchcase
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway import Raw, handshake, masked
from tests.plain_door import House, house
from tests.tokens import OTHER_SECRET, SECRET, forged, hs256, token
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.config import Auth, Rule

AUTH = Auth(mode="jwt", algorithms=("HS256",), secret=SECRET, issuer="us", audience="gateway", query_parameter="t")
TOPICS = ("t.open", "t.closed", "u")
KEYS: tuple[bytes | None, ...] = (b"a", b"b", b"c", None)

CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.sampled_from(["a", "b", "", None, ["a", "b"], ["c", 7], True, {"a": "b"}]),
        "role": st.sampled_from(["staff", "guest", ["guest", "staff"], None, 1]),
        "deep": st.fixed_dictionaries({"tenant": st.sampled_from(["a", ["b", "c"], None])}),
    },
)
RULES = st.lists(
    st.builds(
        Rule,
        topics=st.sampled_from([("t.*",), ("t.open",), ("*",), ("u", "t.closed")]),
        allow=st.sampled_from([("subscribe",), ("publish",), ("subscribe", "publish"), ()]),
        claims=st.sampled_from([{}, {}, {"role": "staff"}, {"role": ["staff", "admin"]}, {"deep": {"tenant": "a"}}]),
        keys=st.sampled_from(
            [None, ("${claims.tenant}",), ("${claims.deep.tenant}",), ("c",), ("${claims.tenant}", "b")]
        ),
    ),
    min_size=1,
    max_size=4,
)
ASKED = st.sampled_from([None, None, [b"a"], [b"b", b"c"], [b"a", b"b", b"c"]])
KINDS = st.sampled_from(
    ["good"] * 4 + ["none", "expired", "other key", "other audience", "other issuer", "not yet", "unsigned", "alg none"]
)
WAYS = ("ws header", "ws auth", "ws msgpack", "stream", "stream value", "stream query")


def make(kind: str, claims: dict[str, Any]) -> str | None:
    """A token of that kind; only a good one is good."""
    ours: dict[str, Any] = {"iss": "us", "aud": "gateway"} | claims
    payload = {"sub": "me", "exp": round(time.time()) + 100} | ours
    match kind:
        case "none":
            return None
        case "expired":
            return token(**ours, exp=round(time.time()) - 1)
        case "other key":
            return token(OTHER_SECRET, **ours)
        case "other audience":
            return token(**ours | {"aud": "billing"})
        case "other issuer":
            return token(**ours | {"iss": "them"})
        case "not yet":
            return token(**ours, nbf=round(time.time()) + 1000)
        case "unsigned":
            return forged({"alg": "HS256"}, payload)
        case "alg none":
            return forged({"alg": "none"}, payload, hs256(SECRET.encode()))
    return forged({"alg": "HS256"}, payload, hs256(SECRET.encode()))


def oracle(rules: list[Rule], claims: dict[str, Any], topic: str) -> set[bytes | None]:
    """Which keys of the topic the bearer may read."""
    for rule in rules:
        if not any(fnmatchcase(topic, pattern) for pattern in rule.topics):
            continue
        role, deep = claims.get("role"), claims.get("deep", {}).get("tenant")
        if "role" in rule.claims and not (role == "staff" or (isinstance(role, list) and "staff" in role)):
            continue
        if "deep" in rule.claims and deep != "a":
            continue
        if "subscribe" not in rule.allow:
            return set()
        return set(KEYS) if rule.keys is None else {key for each in rule.keys for key in keys_of(each, claims, deep)}
    return set()


def keys_of(template: str, claims: dict[str, Any], deep: Any) -> set[bytes | None]:
    value = {"${claims.tenant}": claims.get("tenant"), "${claims.deep.tenant}": deep}.get(template, template)
    texts = value if isinstance(value, list) else [value]
    return {str(text).encode() for text in texts if text and isinstance(text, str | int) and text is not True}


def mark(topic: str, key: bytes | None, turn: int) -> bytes:
    return b"<%s|%s|%d>" % (topic.encode(), key or b"-", turn)


async def read(place: House, way: str, text: str | None, topic: str, asked: list[bytes] | None, turn: int) -> bytes:
    """Every byte the gateway says, while records of every topic and key are written."""
    query = "&".join(f"key={key.decode()}" for key in asked or ())
    lines = [f"Authorization: Bearer {text}"] if text is not None and way not in ("ws auth", "stream query") else []
    query += f"&t={text}" if text is not None and way == "stream query" else ""
    path = "/ws" if way.startswith("ws") else f"/topics/{topic}?{query}"
    path += "&format=value" if way == "stream value" else ""
    lines += ["Sec-WebSocket-Protocol: tailrace.v1.msgpack"] if way == "ws msgpack" else []
    async with place.knock(handshake(path, *lines)) as raw:
        if path == "/ws":
            if way == "ws auth" and text is not None:
                await raw.send(masked(1, json.dumps({"type": "auth", "id": 9, "token": text}).encode()))
            await raw.send(subscribe(way, topic, asked))
        await wait_all_tasks_blocked()
        for other, key in itertools.product(TOPICS, KEYS):
            if other in place.kafka.assigned:
                await place.produce(other, b'"' + mark(other, key, turn) + b'"', key=key)
        return await everything(raw)


def subscribe(way: str, topic: str, asked: list[bytes] | None) -> bytes:
    if way == "ws msgpack":
        import msgpack

        fields = {"type": "subscribe", "id": 1, "topic": topic} | ({} if asked is None else {"keys": asked})
        return masked(2, msgpack.packb(fields))
    keys = {} if asked is None else {"keys": [key.decode() for key in asked]}
    return masked(1, json.dumps({"type": "subscribe", "id": 1, "topic": topic, **keys}).encode())


async def everything(raw: Raw) -> bytes:
    """What was said until nothing more comes."""
    received = raw.received
    with trio.move_on_after(0.5):
        while data := await raw.stream.receive_some(65536):
            received += data
    return received


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, st.lists(st.tuples(st.sampled_from(TOPICS), CLAIMS, KINDS, ASKED), min_size=3, max_size=6))
@pytest.mark.filterwarnings("ignore")
def test_no_byte_for_who_may_not_have_it(
    rules: list[Rule], readers: list[tuple[str, dict[str, Any], str, list[bytes] | None]]
) -> None:
    async def main() -> None:
        async with house(auth=AUTH, rules=tuple(rules), **{topic: [0] for topic in TOPICS}) as place:
            for topic in TOPICS:  # somebody reads them all, so that there are records to be had
                await place.topics.hold(topic)
            for turn, ((topic, claims, kind, asked), way) in enumerate(zip(readers, itertools.cycle(WAYS))):
                seen = await read(place, way, make(kind, claims), topic, asked, turn)
                allowed = oracle(rules, claims, topic) if kind == "good" else set()
                if asked is not None:
                    allowed = set(asked) if set(asked) <= allowed else set()
                for other, key in itertools.product(TOPICS, KEYS):
                    expected = other == topic and key in allowed
                    assert (mark(other, key, turn) in seen) is expected, (way, kind, other, key, seen)

    trio.run(main, clock=MockClock(autojump_threshold=0.05))
