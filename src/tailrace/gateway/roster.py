"""`/connections`: who is connected, since when, what each reads and where it stands, and why it is slow.

Rules: a page at a time, in the order of the connections' numbers, so that one who comes or goes moves nobody to
another page; the loop is given back every few hundred looks, whatever is asked (a look is at one connection, one
subscription, or a hundred partitions). Tokens, keys and records are not told.
"""

import heapq
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import trio

from tailrace._fanout import ARRIVED, BEHIND, FALLEN, HOLED, LIVE, READING, RESTING
from tailrace.core.position import Positions
from tailrace.gateway.client import Client
from tailrace.gateway.echo import EchoClient
from tailrace.gateway.parts import Parts
from tailrace.gateway.reading import Reading
from tailrace.gateway.stream import StreamClient
from tailrace.http.admin import Route
from tailrace.http.answers import Answer
from tailrace.http.head import Head
from tailrace.http.refusal import MALFORMED, Refused
from tailrace.units import whole_number
from tailrace.websocket.connection import Connection

LOOKS = 200  # between two checkpoints: 1-2 ms when they are long ones
PAGE = 100
LONGEST_PAGE = 1000
PAGE_BYTES = 1024 * 1024  # a page ends early behind the connection that exceeds it

STATES = {
    LIVE: "live",
    RESTING: "live",
    BEHIND: "behind",
    ARRIVED: "behind",
    FALLEN: "catching_up",
    READING: "catching_up",
    HOLED: "catching_up",
}
_ENDPOINTS = {Client: "/ws", StreamClient: "/topics", EchoClient: "/echo"}

AnyClient = Client | StreamClient | EchoClient


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for. after: the last connection of the page before. The others: of whom only."""

    after: str = ""
    limit: int = PAGE
    topic: str | None = None
    state: str | None = None
    remote: str | None = None
    subject: str | None = None


class Followed(msgspec.Struct, frozen=True):
    """One subscription. keys: how many it names, None: every record. lag: offsets that it wants next and that are in
    memory or in Kafka."""

    id: int
    topic: str
    state: str
    slow: str
    keys: int | None
    positions: Positions
    lag: int
    delivered: int


class Present(msgspec.Struct, frozen=True):
    """One connection. since_ms: epoch. waiting_bytes: committed to it, and not taken by the kernel;
    unacknowledged_bytes: those, and what the kernel holds. slow: why it is not at the end; null: it is."""

    connection: str
    endpoint: str
    remote: str
    subject: str | None
    since_ms: int
    waiting_bytes: int
    unacknowledged_bytes: int
    sent_bytes: int
    slow: str | None
    subscriptions: list[Followed]


class _Pace:
    """Gives the loop back after every LOOKS."""

    def __init__(self) -> None:
        self._left = LOOKS

    async def took(self, looks: int = 1) -> None:
        self._left -= looks
        if self._left <= 0:
            self._left = LOOKS
            await trio.lowlevel.checkpoint()


def connections(parts: Parts) -> Route:
    """The route `/connections`."""

    async def answer(head: Head) -> Answer:
        query, pace = parse(head.target), _Pace()
        chosen, more = await _choose(parts, query, pace)
        told: list[bytes] = []
        last, size = "", 0
        for connection, client in chosen:
            if size > PAGE_BYTES:
                more = True
                break
            told.append(msgspec.json.encode(await _present(parts, connection, client, pace)))
            last, size = connection.id, size + len(told[-1])
        ending = msgspec.json.encode({"next": last if more else None})
        return Answer(200, b'{"connections":[' + b",".join(told) + b"]," + ending[1:], headers=_UNCACHED)

    return answer


_UNCACHED = (("Cache-Control", "no-store"),)


def parse(target: str) -> Query:
    """The query of a request target; Refused (400) says what is wrong with it."""
    given = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
    try:
        query = msgspec.convert(given, Query, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(MALFORMED.because(str(error).replace("`", ""))) from None
    if not 1 <= query.limit <= LONGEST_PAGE:
        raise Refused(MALFORMED.because(f"limit must be from 1 to {LONGEST_PAGE}"))
    if query.state is not None and query.state not in STATES.values():
        raise Refused(MALFORMED.because(f"state must be one of {', '.join(dict.fromkeys(STATES.values()))}"))
    if query.after and number_of(query.after) == 0:
        raise Refused(MALFORMED.because("after must be a connection's id"))
    return query


def number_of(id: str) -> int:
    """A connection's number, from 1 on, of its id; 0 when it is none."""
    return whole_number(id.rpartition("-")[2]) or 0


async def _choose(parts: Parts, query: Query, pace: _Pace) -> tuple[list[tuple[Connection, AnyClient]], bool]:
    """The first `limit` connections behind `after` that are asked for, in order, and whether there are more."""
    after = number_of(query.after)
    found: list[tuple[int, Connection, AnyClient]] = []
    more = False
    for connection, client in list(parts.door.connections.items()):
        await pace.took()
        number = number_of(connection.id)
        if number <= after or connection.ending is not None or not await _matches(query, connection, client, pace):
            continue
        found.append((number, connection, client))
        if len(found) >= 2 * query.limit:
            more, found = True, _first(query.limit, found)
    more = more or len(found) > query.limit
    return [(connection, client) for _, connection, client in _first(query.limit, found)], more


def _first(count: int, found: Iterable[tuple[int, Connection, AnyClient]]) -> list[tuple[int, Connection, AnyClient]]:
    return heapq.nsmallest(count, found, key=lambda each: each[0])


async def _matches(query: Query, connection: Connection, client: AnyClient, pace: _Pace) -> bool:
    if query.remote is not None and query.remote != connection.remote:
        return False
    if query.subject is not None and query.subject != subject_of(client):
        return False
    if query.topic is None and query.state is None:
        return True
    for reading in readings_of(client):
        await pace.took()
        if query.topic in (None, reading.topic) and query.state in (None, STATES.get(reading.cursor.state)):
            return True
    return False


async def _present(parts: Parts, connection: Connection, client: AnyClient, pace: _Pace) -> Present:
    followed = []
    for reading in readings_of(client):
        one = _followed(reading)
        if one is not None:
            followed.append(one)
            await pace.took(1 + len(one.positions) // 100)
    line = connection.outlet.line
    return Present(
        connection=connection.id,
        endpoint=_ENDPOINTS[type(client)],
        remote=connection.remote,
        subject=subject_of(client),
        since_ms=connection.since_ms,
        waiting_bytes=line.waiting_bytes,
        unacknowledged_bytes=0 if line.error or connection.ending else connection.outlet.unacknowledged_bytes,
        sent_bytes=line.sent_bytes,
        slow=why_slow(line.waiting_bytes, followed, parts.blocks.trouble),
        subscriptions=followed,
    )


def _followed(reading: Reading) -> Followed | None:
    cursor = reading.cursor
    if cursor.state not in STATES:  # it was closed meanwhile
        return None
    places, ends = cursor.positions, cursor.tail.positions
    lag = sum(max(0, end - places.get(partition, end)) for partition, end in ends.items())
    keys = None if cursor.keys is None else len(cursor.keys)
    return Followed(cursor.id, reading.topic, STATES[cursor.state], reading.slow, keys, places, lag, cursor.delivered)


def why_slow(waiting_bytes: int, followed: Collection[Followed], trouble: Callable[[str], str | None]) -> str | None:
    """In words for an operator; None: every subscription is live, and nothing waits."""
    back = [each.topic for each in followed if each.state == "catching_up"]
    if waiting_bytes:
        return f"the client reads slowly: {waiting_bytes} bytes wait for it"
    for topic in dict.fromkeys(back):
        if (why := trouble(topic)) is not None:
            return f"cannot read {topic} back: {why}"
    if back:
        return f"catching up with {', '.join(dict.fromkeys(back))} from Kafka"
    if any(each.state == "behind" for each in followed):
        return "a moment behind, within memory"
    return None


def readings_of(client: AnyClient) -> list[Reading]:
    """Its subscriptions at this moment."""
    return [] if isinstance(client, EchoClient) else client.readings


def subject_of(client: Any) -> str | None:
    """Whom its token names; None without one."""
    principal = getattr(client, "principal", None)
    return None if principal is None else principal.subject
