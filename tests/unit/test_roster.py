"""`/connections` over made-up connections: pages, filters, and that the loop is given back however many there are."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from tailrace._fanout import BEHIND, CLOSED, FALLEN, LIVE
from tailrace.disconnect import SHUTDOWN
from tailrace.gateway import roster
from tailrace.gateway.client import Client
from tailrace.gateway.roster import LOOKS, Followed, connections, parse, why_slow
from tailrace.http.head import Head
from tailrace.http.refusal import Refused


class Visitor(Client):
    """A client without a connection: what it reads, and whose token it brought."""

    __slots__ = ("own", "subject")

    def __init__(self, subject: str | None = None, *readings: Any) -> None:
        self.own, self.subject = list(readings), subject

    @property
    def readings(self) -> list[Any]:
        return self.own

    @property
    def principal(self) -> Any:
        return None if self.subject is None else SimpleNamespace(subject=self.subject)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(roster._ENDPOINTS, Visitor, "/ws")


def reading(topic: str, state: int = LIVE, place: int = 5, end: int = 5, partitions: int = 1) -> Any:
    tail = SimpleNamespace(positions=dict.fromkeys(range(partitions), end))
    cursor = SimpleNamespace(
        id=1, state=state, keys=None, delivered=3, tail=tail, positions=dict.fromkeys(range(partitions), place)
    )
    return SimpleNamespace(topic=topic, slow="wait", cursor=cursor)


class Connected(SimpleNamespace):
    """One of those that the door knows: a key there."""

    __hash__ = object.__hash__


def connection(number: int, remote: str = "10.0.0.1", waiting: int = 0) -> Any:
    line = SimpleNamespace(waiting_bytes=waiting, sent_bytes=7, error=0)
    outlet = SimpleNamespace(line=line, unacknowledged_bytes=waiting + 1)
    return Connected(id=f"abc-{number}", remote=remote, since_ms=1000, ending=None, outlet=outlet)


class House:
    """Connections by number, and what the blocks have trouble with."""

    def __init__(self) -> None:
        self.troubles: dict[str, str] = {}
        self.door = SimpleNamespace(connections={})
        self.blocks = SimpleNamespace(trouble=self.troubles.get)

    def let_in(self, number: int, client: Any = None, **options: Any) -> Any:
        one = connection(number, **options)
        self.door.connections[one] = client or Visitor()
        return one

    async def ask(self, query: str = "") -> Any:
        head = Head("GET", f"/connections?{query}", "/connections", "1.1", (), b"")
        answer = await connections(self)(head)  # type: ignore[arg-type,misc]
        assert answer.status == 200
        return msgspec.json.decode(answer.body)

    async def names(self, query: str = "") -> list[int]:
        return [int(each["connection"].partition("-")[2]) for each in (await self.ask(query))["connections"]]


async def test_what_is_told_of_a_connection() -> None:
    house = House()
    house.let_in(7, Visitor("ann", reading("orders", BEHIND, place=3, end=5)), waiting=10)
    [told] = (await house.ask())["connections"]
    assert told == {
        "connection": "abc-7",
        "endpoint": "/ws",
        "remote": "10.0.0.1",
        "subject": "ann",
        "since_ms": 1000,
        "waiting_bytes": 10,
        "unacknowledged_bytes": 11,
        "sent_bytes": 7,
        "slow": "the client reads slowly: 10 bytes wait for it",
        "subscriptions": [
            {
                "id": 1,
                "topic": "orders",
                "state": "behind",
                "slow": "wait",
                "keys": None,
                "positions": {"0": 3},
                "lag": 2,
                "delivered": 3,
            }
        ],
    }


async def test_pages_follow_one_another_whoever_comes_and_goes() -> None:
    house = House()
    here = [house.let_in(number) for number in (9, 2, 5, 1, 30, 4)]
    first = await house.ask("limit=2")
    assert [each["connection"] for each in first["connections"]] == ["abc-1", "abc-2"]
    del house.door.connections[here[1]]  # the last one of the page
    house.let_in(3)
    assert await house.names(f"limit=2&after={first['next']}") == [3, 4]
    last = await house.ask("limit=10&after=abc-4")
    assert [each["connection"] for each in last["connections"]] == ["abc-5", "abc-9", "abc-30"]
    assert last["next"] is None


async def test_a_page_that_is_just_full_is_the_last() -> None:
    house = House()
    for number in (1, 2):
        house.let_in(number)
    assert (await house.ask("limit=2"))["next"] is None


async def test_many_are_paged_in_order() -> None:
    house = House()
    for number in range(1000, 0, -1):
        house.let_in(number)
    seen, after = [], ""
    while after is not None:
        page = await house.ask(f"limit=70&after={after}")
        seen += [each["connection"] for each in page["connections"]]
        after = page["next"]
    assert seen == [f"abc-{number}" for number in range(1, 1001)]


async def test_who_is_leaving_is_not_told() -> None:
    house = House()
    house.let_in(1).ending = SHUTDOWN
    assert await house.names() == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("topic=orders", [1, 2]),
        ("topic=prices", [2]),
        ("state=live", [1, 2]),
        ("state=catching_up", [2]),
        ("topic=orders&state=catching_up", []),
        ("topic=prices&state=catching_up", [2]),
        ("remote=10.0.0.9", [3]),
        ("subject=ann", [1]),
        ("subject=", []),
        ("subject=ann&remote=10.0.0.9", []),
    ],
)
async def test_filters(query: str, found: list[int]) -> None:
    house = House()
    house.let_in(1, Visitor("ann", reading("orders")))
    house.let_in(2, Visitor("bob", reading("orders"), reading("prices", FALLEN)))
    house.let_in(3, remote="10.0.0.9")
    assert await house.names(query) == found


async def test_a_subscription_that_ended_meanwhile_is_left_out() -> None:
    house = House()
    house.let_in(1, Visitor(None, reading("orders", CLOSED), reading("prices")))
    [told] = (await house.ask())["connections"]
    assert [each["topic"] for each in told["subscriptions"]] == ["prices"]


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("limit=0", "limit must be from 1 to 1000"),
        ("limit=1001", "limit must be from 1 to 1000"),
        ("limit=many", "limit"),
        ("state=asleep", "state must be one of live, behind, catching_up"),
        ("after=me", "after must be a connection's id"),
        ("after=a-" + "9" * 5000, "after must be a connection's id"),
        ("topics=orders", "topics"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: str, what: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(f"/connections?{query}")
    assert refused.value.refusal.status == 400
    assert what in refused.value.refusal.message


def followed(state: str, topic: str = "orders") -> Followed:
    return Followed(1, topic, state, "wait", None, {}, 0, 0)


@pytest.mark.parametrize(
    ("waiting", "states", "troubles", "why"),
    [
        (0, ["live"], {}, None),
        (0, [], {}, None),
        (9, ["catching_up"], {"orders": "no leader"}, "the client reads slowly: 9 bytes wait for it"),
        (0, ["live", "catching_up"], {"orders": "no leader"}, "cannot read orders back: no leader"),
        (0, ["catching_up"], {"prices": "no leader"}, "catching up with orders from Kafka"),
        (0, ["behind"], {}, "a moment behind, within memory"),
    ],
)
def test_why_a_connection_is_slow(waiting: int, states: list[str], troubles: dict[str, str], why: str | None) -> None:
    assert why_slow(waiting, [followed(state) for state in states], troubles.get) == why


async def rounds_while(ask: Any) -> int:
    """How often the loop went round while it was answered."""
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await ask
        nursery.cancel_scope.cancel()
    return rounds


async def test_the_loop_is_given_back_while_many_are_looked_at() -> None:
    house = House()
    for number in range(1, 5001):
        house.let_in(number)
    assert await rounds_while(house.ask("limit=1")) >= 0.9 * 5000 / LOOKS


async def test_the_loop_is_given_back_within_one_connection() -> None:
    house = House()
    house.let_in(1, Visitor(None, *(reading("orders", partitions=1000) for _ in range(1000))))
    assert await rounds_while(house.ask()) >= 0.9 * 1000 * 11 / LOOKS


async def test_a_page_ends_early_when_it_gets_long() -> None:
    house = House()
    for number in (1, 2, 3):
        house.let_in(number, Visitor(None, *(reading("orders", partitions=500) for _ in range(200))))
    page = await house.ask()
    assert [each["connection"] for each in page["connections"]] == ["abc-1", "abc-2"]
    assert page["next"] == "abc-2"
    assert await house.names(f"after={page['next']}") == [3]
