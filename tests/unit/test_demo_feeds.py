"""tailrace.demo: the feeds are deterministic, believable, and shaped as the console and the README show them."""

from collections.abc import Iterator
from itertools import islice
from statistics import median

import msgspec
import pytest

from tailrace.demo import FEEDS, Event, Feed
from tailrace.demo.event import rfc3339
from tailrace.demo.orders import STEPS
from tailrace.demo.prices import TICKERS, YEAR_SECONDS

START = 1_763_862_162.044
BY_TOPIC = {feed.topic: feed for feed in FEEDS}


def take(topic: str, count: int, seed: int = 1) -> list[Event]:
    return list(islice(BY_TOPIC[topic].events(seed, START), count))


def values(events: list[Event]) -> Iterator[dict[str, object]]:
    return (msgspec.json.decode(event.value) for event in events if event.value is not None)


def test_topics_are_the_documented_ones() -> None:
    assert [feed.topic for feed in FEEDS] == ["orders", "prices", "chat"]


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
def test_a_seed_decides_every_byte(feed: Feed) -> None:
    assert take(feed.topic, 300) == take(feed.topic, 300)
    assert take(feed.topic, 300) != take(feed.topic, 300, seed=2)


@pytest.mark.parametrize(("topic", "least", "most"), [("orders", 5, 12), ("prices", 36, 44), ("chat", 0.8, 4)])
def test_the_rate_suits_a_persons_eyes(topic: str, least: float, most: float) -> None:
    seconds = sum(event.delay_seconds for event in take(topic, 2_000))
    assert least <= 2_000 / seconds <= most


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.topic)
def test_events_are_records_of_their_own_topic(feed: Feed) -> None:
    for event in take(feed.topic, 500):
        assert event.topic == feed.topic
        assert event.key
        assert event.delay_seconds >= 0.0
        assert all(name and isinstance(value, bytes) for name, value in event.headers)
        assert event.value is None or isinstance(msgspec.json.decode(event.value), dict)


def test_an_orders_statuses_follow_the_steps() -> None:
    seen: dict[bytes, str] = {}
    for event in take("orders", 3_000):
        status = "erased" if event.value is None else msgspec.json.decode(event.value)["status"]
        before = seen.get(event.key)
        if before is not None:
            assert status == STEPS[before][0] or (before, status) == ("placed", "cancelled")
        seen[event.key] = status
    assert {"paid", "packed", "shipped", "delivered", "cancelled", "erased"} <= set(seen.values())


def test_every_status_is_there_from_the_first_minute() -> None:
    statuses = {value["status"] for value in values(take("orders", 400))}
    assert {"placed", "paid", "packed", "shipped", "delivered"} <= statuses
    assert any(event.value is None for event in take("orders", 400))


def test_an_orders_total_is_that_of_its_items() -> None:
    for order in values(take("orders", 300)):
        items = order["items"]
        assert isinstance(items, list)
        assert order["total"] == pytest.approx(sum(item["price"] * item["quantity"] for item in items))


def test_prices_walk_with_their_tickers_volatility() -> None:
    """Typical returns over 10 s, scaled to a year, lie within a factor of 2 of the table (news jumps are the tails)."""
    marks: dict[str, list[float]] = {symbol: [] for symbol in TICKERS}
    clock, step = 0.0, 0
    latest: dict[str, float] = {}
    for event in take("prices", 60_000):
        clock += event.delay_seconds
        assert event.value is not None
        quote = msgspec.json.decode(event.value)
        latest[quote["symbol"]] = (quote["bid"] + quote["ask"]) / 2
        if clock >= 10.0 * (step + 1):
            step += 1
            for symbol, price in latest.items():
                marks[symbol].append(price)
    for symbol in ("HYDR", "TRBN", "AQFR"):  # dear and busy: cents and gaps between ticks hardly count
        returns = [after / before - 1.0 for before, after in zip(marks[symbol], marks[symbol][1:], strict=False)]
        sigma = median(map(abs, returns)) / 0.6745  # of a normal distribution
        yearly = sigma * (YEAR_SECONDS / 10.0) ** 0.5
        assert TICKERS[symbol][1] / 2.0 < yearly < TICKERS[symbol][1] * 2.0


def test_a_quote_is_one_that_could_be_traded() -> None:
    volume: dict[str, int] = {}
    for event in take("prices", 3_000):
        assert event.value is not None
        quote = msgspec.json.decode(event.value)
        assert event.key.decode() == quote["symbol"]
        assert 0.0 < quote["bid"] < quote["ask"]
        assert quote["last"] in (quote["bid"], quote["ask"])
        assert quote["volume"] == volume.get(quote["symbol"], 0) + quote["size"]
        volume[quote["symbol"]] = quote["volume"]


def test_a_chat_message_names_its_room_as_its_key() -> None:
    messages = take("chat", 500)
    assert all(event.key.decode() == value["room"] for event, value in zip(messages, values(messages), strict=True))
    assert len({event.key for event in messages}) >= 4
    assert not any("{" in str(value["text"]) for value in values(messages))


def test_time_is_simulated_from_the_start() -> None:
    for feed in FEEDS:
        clock = START
        for event in islice(feed.events(1, START), 50):
            clock += event.delay_seconds
            if event.value is not None:
                stamped = next(iter(value for value in msgspec.json.decode(event.value).values() if _is_time(value)))
                assert stamped in (rfc3339(clock), rfc3339(clock + 0.001), rfc3339(clock - 0.001))


def _is_time(value: object) -> bool:
    return isinstance(value, str) and value.startswith("2025-11-23T") and value.endswith("Z")
