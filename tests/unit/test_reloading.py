"""What a configuration read anew changes: topics and rules, and nothing else."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from tailrace.config import Auth, Config, Limits, Listen, Rule, Topic
from tailrace.core.access import Access
from tailrace.core.exposure import Exposure
from tailrace.errors import CommandError, ConfigError, ErrorCode
from tailrace.gateway.gate import Gate
from tailrace.gateway.reloading import Reloading, fixed, merged

ORDERS = {"orders": Topic()}


def test_what_cannot_change_is_named() -> None:
    running = Config(kafka={"bootstrap.servers": "a:1", "client.id": "x"}, topics=ORDERS)
    written = Config(
        kafka={"bootstrap.servers": "b:1", "client.id": "x"},
        limits=Limits(slow_bytes=5),
        listen=Listen(tls_certificate="other.pem"),
        topics={},
        rules=(Rule(topics=("*",), allow=()),),
    )
    assert list(fixed(merged(running, written), written)) == [
        "listen.tls_certificate",
        'kafka."bootstrap.servers"',
        "limits.slow_bytes",
    ]
    assert list(fixed(running, running)) == []


def test_only_topics_and_rules_are_taken_over() -> None:
    written = Config(limits=Limits(slow_bytes=5), topics=ORDERS, rules=(Rule(topics=("*",), allow=()),))
    assert merged(Config(), written) == Config(topics=ORDERS, rules=written.rules)


SECRET = Auth(mode="jwt", algorithms=("HS256",), secret="old", issuer="me")
FILE = Auth(mode="jwt", algorithms=("RS256",), public_key_file="key.pem", issuer="me")
URL = Auth(mode="jwt", algorithms=("RS256",), jwks_url="https://keys.example", issuer="me")


@pytest.mark.parametrize(
    ("running", "written", "stay"),
    [
        (SECRET, replace(SECRET, secret="new", leeway=5.0), ["auth.leeway"]),
        (SECRET, FILE, []),
        (FILE, replace(FILE, public_key_file="other.pem", issuer="you"), ["auth.issuer"]),
        (FILE, URL, ["auth.public_key_file", "auth.jwks_url"]),
        (URL, replace(URL, algorithms=("ES256",)), ["auth.algorithms"]),
        (SECRET, Auth(issuer="me"), ["auth.mode", "auth.algorithms", "auth.secret"]),
    ],
)
def test_the_key_for_tokens_changes_and_nothing_else_of_auth(running: Auth, written: Auth, stay: list[str]) -> None:
    now = merged(Config(auth=running), Config(auth=written))
    assert list(fixed(now, Config(auth=written))) == stay


class Reading:
    """A subscription that remembers how it was ended."""

    def __init__(self, topic: str, keys: frozenset[bytes | None] | None = None) -> None:
        self.topic = topic
        self.cursor = SimpleNamespace(keys=keys)
        self.owner = SimpleNamespace(principal=None)
        self.ended_with: ErrorCode | None = None

    def ended(self, code: ErrorCode, message: str) -> None:
        self.ended_with = code


async def reloaded(read: Callable[[], Config], *readings: Reading, **running: Any) -> Access:
    config = Config(**({"topics": {"*": Topic()}} | running))
    gate = Gate(config)
    held = [SimpleNamespace(readings=dict.fromkeys(readings))]
    topics: Any = SimpleNamespace(held=held, exposure=Exposure(config.topics))
    async with trio.open_nursery() as nursery:
        try:
            await Reloading(read, config, gate, topics, lambda: None, nursery).reload()
        finally:
            nursery.cancel_scope.cancel()
    return gate.access


async def test_subscriptions_of_what_is_no_longer_allowed_end_and_the_others_go_on() -> None:
    gone, stays = Reading("prices"), Reading("orders")
    await reloaded(lambda: Config(topics=ORDERS), gone, stays)
    assert (gone.ended_with, stays.ended_with) == (ErrorCode.FORBIDDEN, None)


async def test_rules_are_judged_by_what_a_subscription_sees() -> None:
    rules = (Rule(topics=("*",), allow=("subscribe",), keys=("a",)),)
    everything, own, other = (
        Reading("orders"),
        Reading("orders", frozenset({b"a"})),
        Reading("orders", frozenset({b"b"})),
    )
    await reloaded(lambda: Config(topics=ORDERS, rules=rules), everything, own, other)
    assert [each.ended_with for each in (everything, own, other)] == [ErrorCode.FORBIDDEN, None, ErrorCode.FORBIDDEN]


async def test_connections_that_are_open_ask_by_the_new_ones() -> None:
    """Every session keeps the one Access it was given."""
    access = await reloaded(lambda: Config(topics=ORDERS))
    assert access.readable(None, "orders", None) is None
    with pytest.raises(CommandError, match="there is no topic prices"):
        access.readable(None, "prices", None)


async def test_a_fault_changes_nothing() -> None:
    def faulty() -> Config:
        raise ConfigError("limits.slow_bytes: no")

    reading = Reading("prices")
    with pytest.RaisesGroup(ConfigError):
        await reloaded(faulty, reading)
    assert reading.ended_with is None


async def test_many_are_looked_at_in_steps() -> None:
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await trio.lowlevel.checkpoint()

    readings = [Reading("prices") for _ in range(5000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await reloaded(lambda: Config(topics=ORDERS), *readings)
        nursery.cancel_scope.cancel()
    assert all(each.ended_with for each in readings)
    assert rounds >= 50
