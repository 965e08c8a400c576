"""Tokens and rules end to end: the real broker, the `websockets` client, every way to bring a token and to read.

Each record is marked with the tenant whose it is; what a client has received is searched for the marks of others. Live
reading under any rules and claims: tests/unit/test_access_property.py.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, JSON, MSGPACK, Client, Gateway, process, running, until
from tests.kafka_broker import Broker
from tests.tokens import OTHER_RSA, OTHER_SECRET, PRIVATE, SECRET, forged, hs256, issuer, jwk, pem, token
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tailrace.auth import remote
from tailrace.config import Auth, Limits, Rule, Topic

AUTH = Auth(
    mode="jwt", algorithms=("HS256",), secret=SECRET, audience="us", cookie="session", query_parameter="access_token"
)
PER_KEY = 40
TENANTS = ("red", "blue")
FROMS: dict[str, tuple[Any, str]] = {  # as a command, and as a URL has it
    "latest": ("latest", "latest"),
    "earliest": ("earliest", "earliest"),
    "last": ({"last": 70}, "last:70"),
    "offsets": ({"offsets": {"0": 3, "1": 5}}, "offsets:0=3,1=5"),
    "timestamp": ({"timestamp": 1}, "timestamp:1"),
    "snapshot": ("snapshot", "snapshot"),
}
WAYS = ("header", "cookie", "subprotocol", "query", "message")
numbers = itertools.count()


def rules(topic: str) -> tuple[Rule, ...]:
    return (
        Rule(topics=(topic,), allow=("subscribe",), claims={"role": "staff"}),
        Rule(topics=(topic,), allow=("subscribe",), keys=("${claims.tenants}", "shared")),
    )


def mark(tenant: str) -> str:
    return f"belongs to {tenant}"


def fill(kafka: Broker) -> str:
    """A compacted topic whose records lie in two partitions, every tenant's in both."""
    topic = kafka.topic(2, cleanup_policy="compact")
    for partition in (0, 1):
        records = [(tenant, f'"{mark(tenant)}, {turn}"') for turn in range(PER_KEY) for tenant in (*TENANTS, "shared")]
        kafka.produce(topic, records, partition)
    return topic


def good(*tenants: str, **claims: Any) -> str:
    return token(**{"aud": "us", "tenants": list(tenants)} | claims)


def bad_tokens() -> dict[str, str]:
    """Each would let red's and everybody's records be seen, were it believed."""
    claims = {"sub": "me", "aud": "us", "tenants": ["red"], "role": "staff", "exp": round(time.time()) + 100}
    head, _, signature = good("blue").split(".")
    return {
        "expired": good("red", role="staff", exp=round(time.time()) - 1),
        "not valid yet": good("red", role="staff", nbf=round(time.time()) + 1000),
        "signed by another": token(OTHER_SECRET, **claims),
        "for another audience": good("red", role="staff", aud="them"),
        "for no audience": good("red", role="staff", aud=None),
        "not signed": forged({"alg": "HS256"}, claims),
        "alg none": forged({"alg": "none"}, claims),
        "alg none, signed": forged({"alg": "none"}, claims, hs256(SECRET.encode())),
        "with other claims than were signed": f"{head}.{forged({}, claims).split('.')[1]}.{signature}",
        "no token": "nonsense",
    }


def options(way: str, text: str, subprotocol: str) -> tuple[str, dict[str, Any]]:
    """The query, and how to connect."""
    offered = [subprotocol, f"tailrace.token.{text}"] if way == "subprotocol" else [subprotocol]
    headers = {"Authorization": f"Bearer {text}"} if way == "header" else {}
    headers = {"Cookie": f"session={text}"} if way == "cookie" else headers
    query = f"access_token={text}" if way == "query" else ""
    return query, {"subprotocols": offered, "additional_headers": headers}


async def read(gateway: Gateway, kafka: Broker, topic: str, way: str, text: str, from_: str, target: str) -> str:
    """All that a client hears, up to a shared record that is written once it has begun, or to its end."""
    query, connecting = options(way, text, MSGPACK if target == "msgpack" else JSON)
    if way == "cookie":
        connecting["origin"] = f"http://{gateway.public}"
    path = "/ws?" if target in ("ws", "msgpack") else f"/topics/{topic}?from={FROMS[from_][1]}&format={target}&"
    heard: list[str] = []
    try:
        async with gateway.connect((path + query).rstrip("?&"), **connecting) as connection:
            client = Client(connection)
            if path == "/ws?" and not await begun(client, topic, way, text, from_, heard):
                return "".join(heard)
            end = f"end {next(numbers)}"
            kafka.produce(topic, [("shared", json.dumps(end))], 0)
            while end not in "".join(heard[-1:]):
                message = await client.bare()
                heard.append(message if isinstance(message, str) else message.decode(errors="replace"))
    except (ConnectionClosed, InvalidStatus) as ended:
        heard.append(repr(ended))
    return "".join(heard)


async def begun(client: Client, topic: str, way: str, text: str, from_: str, heard: list[str]) -> bool:
    """Authenticate, if that is the way, and subscribe; False when it is refused."""
    if way == "message":
        await client.send(type="auth", id=2, token=text)
    start = FROMS[from_][0]
    if from_ == "offsets" and client.connection.subprotocol == MSGPACK:
        start = {"offsets": {0: 3, 1: 5}}
    await client.send(type="subscribe", id=1, topic=topic, from_=start)
    while True:
        message = await client.receive()
        heard.append(repr(message))
        if message["type"] == "subscribed" or (message["type"] == "error" and message["command"] == "subscribe"):
            return message["type"] == "subscribed"  # type: ignore[no-any-return]


@pytest.mark.parametrize("target", ["ws", "msgpack", "record", "value"])
async def test_who_may_read_what(kafka: Broker, target: str) -> None:
    """Every way to bring a token, every place to begin: a tenant's token shows that tenant's records and no other's,
    a member of the staff's shows all."""
    topic = fill(kafka)
    async with running(kafka, auth=AUTH, rules=rules(topic)) as gateway:
        ways = [way for way in WAYS if way != "message" or target in ("ws", "msgpack")]
        for way, from_ in itertools.product(ways, FROMS):
            heard = await read(gateway, kafka, topic, way, good("red"), from_, target)
            assert mark("blue") not in heard, (way, from_)
            assert (mark("red") in heard) is (from_ != "latest"), (way, from_, heard)
        everything = await read(gateway, kafka, topic, ways[0], good(role="staff"), "earliest", target)
        assert [everything.count(mark(tenant)) for tenant in TENANTS] == [2 * PER_KEY] * 2
        both = await read(gateway, kafka, topic, ways[0], good("red", "blue"), "snapshot", target)
        assert [both.count(mark(tenant)) for tenant in TENANTS] == [2, 2]
        nobody = await read(gateway, kafka, topic, ways[0], good(), "earliest", target)
        assert mark("shared") in nobody
        assert mark("red") not in nobody


@pytest.mark.parametrize("kind", list(bad_tokens()))
async def test_bad_tokens_see_nothing(kafka: Broker, kind: str) -> None:
    """Not a byte of a record, however they come and wherever they would begin; and in no log."""
    topic, text = fill(kafka), bad_tokens()[kind]
    async with running(kafka, auth=AUTH, rules=rules(topic)) as gateway:
        for way, target in itertools.product(WAYS, ("ws", "msgpack", "record", "value")):
            if way == "message" and target in ("record", "value"):
                continue
            for from_ in ("earliest", "snapshot", "latest"):
                heard = await read(gateway, kafka, topic, way, text, from_, target)
                assert "belongs to" not in heard, (way, target, from_)
                assert "end " not in heard, (way, target, from_)
                assert "unauthenticated" in heard or "401" in heard or "4502" in heard, heard
        assert text not in repr(gateway.log) or text == "nonsense"
        assert gateway.users(topic) == 0
        assert gateway.topics.held == []  # Kafka was asked for nothing


@pytest.mark.parametrize("query", ["", "&format=value"])
async def test_no_token_sees_nothing(kafka: Broker, query: str) -> None:
    topic = fill(kafka)
    patient, quick = Limits(auth_timeout=DEADLINE_SECONDS), Limits(auth_timeout=0.5)
    async with running(kafka, auth=AUTH, rules=rules(topic), limits=patient) as gateway:
        answer = await gateway.refused(f"/topics/{topic}?from=earliest{query}")
        assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        async with gateway.client() as client:
            assert (await client.ask("subscribe", topic=topic, from_="earliest"))["code"] == "unauthenticated"
    async with running(kafka, auth=AUTH, rules=rules(topic), limits=quick) as gateway:
        async with gateway.stream(f"/topics/{topic}?from=earliest{query}", origin=f"http://{gateway.public}") as client:
            if not query:
                assert (await client.receive())["code"] == 4500
            assert await client.closed() == (4500, "unauthenticated")
        async with gateway.client() as client:
            assert (await client.expect("closing"))["code"] == 4500
            assert await client.closed() == (4500, "unauthenticated")


async def to_the_end(client: Client) -> tuple[list[Any], ConnectionClosed]:
    """Every message, and how it ended."""
    said: list[Any] = []
    while True:
        try:
            said.append(await client.bare())
        except ConnectionClosed as ended:
            return said, ended


def let_pass(gateway: Gateway, seconds: float) -> None:
    """So much later, for what tokens run out by."""
    expiry = gateway.door.gate._expiry
    expiry._clock = lambda: time.time() + seconds
    expiry._changed.set()


@pytest.mark.parametrize("path", ["/ws", "/topics/{}?from=earliest", "/topics/{}?from=earliest&format=value"])
async def test_a_token_that_runs_out_ends_it(kafka: Broker, path: str) -> None:
    """With its place, so that another token goes on there."""
    topic = fill(kafka)
    async with running(kafka, auth=AUTH, rules=rules(topic)) as gateway:
        headers = {"Authorization": f"Bearer {good('red', exp=round(time.time()) + 1000)}"}
        async with gateway.stream(path.format(topic), additional_headers=headers) as client:
            if path == "/ws":
                await client.expect("welcome")
                await client.send(type="subscribe", id=1, topic=topic, from_="earliest")
            red = 0
            while red < 2 * PER_KEY:
                red += mark("red") in str(await client.bare())
            let_pass(gateway, 1001)
            said, ended = await to_the_end(client)
            assert ended.rcvd is not None
            assert (ended.rcvd.code, ended.rcvd.reason) == (4003, "token_expired")
            assert not any(mark("red") in str(message) for message in said)
            if "value" not in path:
                closing = json.loads(said[-1])
                assert (closing["type"], closing["code"]) == ("closing", 4003)
        await until(lambda: gateway.users(topic) == 0)
        kafka.produce(topic, [("red", f'"{mark("red")}"')], 0)
        again = await read(gateway, kafka, topic, "header", good("red"), "earliest", "ws")
        assert again.count(mark("red")) == 2 * PER_KEY + 1


async def test_a_new_token_prolongs_without_a_break(kafka: Broker) -> None:
    topic = kafka.topic(1)
    async with running(kafka, auth=AUTH, rules=rules(topic)) as gateway:
        ends = round(time.time()) + 1000
        headers = {"Authorization": f"Bearer {good('red', exp=ends)}"}
        async with gateway.client(additional_headers=headers) as client:
            await client.subscribe(topic)
            answer = await client.ask("auth", 2, token=good("red", exp=ends + 1000))
            assert (answer["type"], answer["expires_at"]) == ("authenticated", (ends + 1000) * 1000)
            let_pass(gateway, 1001)
            assert (await client.ask("ping", 9))["type"] == "pong"
            kafka.produce(topic, [("blue", "1"), ("red", "2")])
            assert (await client.expect("record"))["value"] == 2
            assert (await client.ask("auth", 3, token=good("red", sub="you")))["code"] == "forbidden"
            assert (await client.ask("auth", 4, token=good("red", exp=1)))["code"] == "unauthenticated"
            assert (await client.ask("auth", 5, token=good("blue")))["type"] == "authenticated"
            await client.expect("position", id=1)
            ended = await client.expect("unsubscribed", id=1, code="forbidden")
            assert ended["message"]
            kafka.produce(topic, [("blue", "3"), ("red", "4")])
            await client.subscribe(topic)
            kafka.produce(topic, [("red", "5"), ("blue", "6")])
            assert (await client.expect("record"))["value"] == 6


async def test_publishing_is_held_to_the_rules(kafka: Broker) -> None:
    open_, own = kafka.topic(1), kafka.topic(1)
    may = (
        Rule(topics=(open_,), allow=("publish", "subscribe"), claims={"role": "staff"}),
        Rule(topics=(own,), allow=("publish",), keys=("${claims.tenants}",)),
    )
    async with running(kafka, auth=AUTH, rules=may, topics={"topic-*": Topic(publish=True)}) as gateway:
        async with gateway.client(additional_headers={"Authorization": f"Bearer {good('red')}"}) as client:
            assert (await client.ask("publish", topic=own, value=1, key="red"))["type"] == "published"
            assert (await client.ask("publish", topic=own, value=2, key="blue"))["code"] == "forbidden"
            assert (await client.ask("publish", topic=own, value=3))["code"] == "forbidden"
            assert (await client.ask("publish", topic=open_, value=4, key="red"))["code"] == "unknown_topic"
            assert (await client.ask("subscribe", topic=own))["code"] == "forbidden"
        async with gateway.client(additional_headers={"Authorization": f"Bearer {good(role='staff')}"}) as client:
            await client.subscribe(open_, from_="earliest")
            assert (await client.ask("publish", 2, topic=open_, value=5))["type"] in ("published", "record")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches of keys may follow one another at once."""
    monkeypatch.setattr(remote, "MIN_SECONDS", 0.0)


async def test_keys_from_a_url_that_change_and_go_away(kafka: Broker, quick: None) -> None:
    """Rotation lets the new key in; an outage logs out nobody who is there, nor anybody with a known key."""
    topic = kafka.topic(1)
    with issuer(jwk(PRIVATE["RS256"], kid="old")) as source:
        old = token(PRIVATE["RS256"], "RS256", headers={"kid": "old"}, role="staff")
        new = token(OTHER_RSA, "RS256", headers={"kid": "new"}, role="staff")
        keys = Auth(mode="jwt", algorithms=("RS256", "ES256"), jwks_url=source.url)
        async with running(kafka, auth=keys, rules=rules(topic)) as gateway:
            assert (await gateway.refused("/ws", authorization=f"Bearer {new}")).status == 401
            source.keys.append(jwk(OTHER_RSA, kid="new"))
            for text in (old, new):
                async with gateway.client(additional_headers={"Authorization": f"Bearer {text}"}) as client:
                    await client.subscribe(topic)
            async with gateway.client(additional_headers={"Authorization": f"Bearer {old}"}) as client:
                await client.subscribe(topic)
                source.status = 500
                unknown = token(PRIVATE["ES256"], "ES256", headers={"kid": "x"}, role="staff")
                answer = await gateway.refused("/ws", authorization=f"Bearer {unknown}")
                assert (answer.status, answer.json["code"]) == (503, "keys_unavailable")
                assert answer.headers["retry-after"]
                async with gateway.client(additional_headers={"Authorization": f"Bearer {new}"}) as other:
                    await other.subscribe(topic)
                kafka.produce(topic, ["1"])
                assert (await client.expect("record"))["value"] == 1
            # The oldest trick, over the wire: HMAC with the public key.
            trick = forged({"alg": "HS256", "kid": "old"}, {"role": "staff"}, hs256(pem(PRIVATE["RS256"])))
            assert (await gateway.refused("/ws", authorization=f"Bearer {trick}")).status == 401


async def test_the_commands_together(kafka: Broker, tmp_path: Path) -> None:
    """`serve` with a configuration file, `token` for its secret, `tail` with that token; nothing of both in the log."""
    topic = fill(kafka)
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'[auth]\nmode = "jwt"\nalgorithms = ["HS256"]\nsecret = "{SECRET}"\n'
        f'[[rules]]\ntopics = ["{topic}"]\nallow = ["subscribe"]\nkeys = ["${{claims.tenant}}"]\n'
    )
    command = [sys.executable, "-m", "tailrace"]
    signed = await trio.run_process(
        [*command, "token", "--claim", "tenant=red"],
        capture_stdout=True,
        env=os.environ | {"TAILRACE_AUTH__SECRET": SECRET},
    )
    text = signed.stdout.decode().strip()
    async with process(tmp_path, kafka, "--config", str(file), "--log-level", "debug") as gateway:
        await gateway.until_ready()
        tail = [*command, "tail", f"ws://{gateway.public}/topics/{topic}?from=earliest"]
        refused = await trio.run_process(tail, capture_stderr=True, check=False)
        assert refused.returncode == 1
        assert b"refused with 401: unauthenticated" in refused.stderr
        reading = await trio.lowlevel.open_process(
            tail, stdout=subprocess.PIPE, env=os.environ | {"TAILRACE_TOKEN": text}
        )
        assert reading.stdout is not None
        lines = b""
        with trio.fail_after(DEADLINE_SECONDS):
            while lines.count(b"\n") < 2 * PER_KEY:
                lines += await reading.stdout.receive_some()
        reading.terminate()
        await reading.wait()
        assert {json.loads(line)["key"] for line in lines.splitlines()} == {"red"}
        assert text not in gateway.log
        assert SECRET not in gateway.log
