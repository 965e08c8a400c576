"""`orders`: a shop's orders, one record for each step from basket to door, keyed by the order's number.

Orders arrive as a Poisson process and move on by themselves; time is compressed, so that an order lives about a
minute. One in fifteen is cancelled. Long after its end an order is erased, which is the topic's tombstone.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from random import Random

import msgspec

from tailrace.demo.event import Event, Headers, rfc3339

ORDERS_PER_SECOND = 1.3
CANCELLED_SHARE = 1 / 15
WARM_SECONDS = 150.0  # the shop has been open for a while: every status is seen from the first second

# status -> (the next status, mean seconds until then); an absent status is the end.
STEPS = {
    "placed": ("paid", 4.0),
    "paid": ("packed", 12.0),
    "packed": ("shipped", 10.0),
    "shipped": ("delivered", 25.0),
    "delivered": ("erased", 60.0),
    "cancelled": ("erased", 45.0),
}

PRODUCTS = (
    ("KB-8807", "Mechanical keyboard, 75 %", 129.00),
    ("HD-2210", "Studio headphones", 189.00),
    ("LM-0042", "Desk lamp, oak", 74.50),
    ("CF-1180", "Espresso beans, 1 kg", 24.90),
    ("BP-3301", "Roll-top backpack, 22 l", 98.00),
    ("NB-0510", "Dotted notebook, A5", 14.20),
    ("CB-7720", "USB-C cable, 2 m", 17.90),
    ("MG-0091", "Stoneware mug", 16.00),
    ("TR-6400", "Trail running shoes", 139.95),
    ("WB-2007", "Steel bottle, 750 ml", 29.50),
    ("RC-4415", "Rain jacket", 164.00),
    ("ST-8123", "Standing desk mat", 59.00),
)
CUSTOMERS = (
    ("Mara Lindqvist", "SE", "Malmö"),
    ("Jonas Weber", "DE", "Leipzig"),
    ("Aoife Byrne", "IE", "Cork"),
    ("Tomás Ferreira", "PT", "Porto"),
    ("Camille Laurent", "FR", "Nantes"),
    ("Ewa Kowalczyk", "PL", "Gdańsk"),
    ("Luca Moretti", "IT", "Bologna"),
    ("Sanne de Vries", "NL", "Utrecht"),
    ("Νίκος Παππάς", "GR", "Θεσσαλονίκη"),
    ("Inés Navarro", "ES", "Valencia"),
    ("Eero Virtanen", "FI", "Tampere"),
    ("Petra Nováková", "CZ", "Brno"),
)
CARRIERS = ("Norrpost", "Swiftcart", "Kurier24", "Blue Parcel")
SOURCES = (b"checkout-web", b"checkout-ios", b"checkout-android")


class Item(msgspec.Struct):
    """A line of an order; `price` is for one, in the order's currency."""

    sku: str
    name: str
    quantity: int
    price: float


class Order(msgspec.Struct, omit_defaults=True):
    """The value of a record, as it is written to the topic."""

    order: str
    status: str
    total: float
    currency: str
    customer: dict[str, str]
    items: list[Item]
    shipment: dict[str, str] | None = None
    reason: str | None = None
    updated_at: str = ""


def orders(seed: int, start: float) -> Iterator[Event]:
    """Yield the shop's events for ever; `start` is epoch seconds."""
    rng = Random(f"orders {seed}")
    numbers = count(100_000 + rng.randrange(900_000))
    ties = count()
    due: list[tuple[float, int, Order | None]] = [(start - WARM_SECONDS, next(ties), None)]
    before = start
    while True:
        now, _, order = heapq.heappop(due)
        if order is None:
            order = _placed(rng, next(numbers))
            heapq.heappush(due, (now + rng.expovariate(ORDERS_PER_SECOND), next(ties), None))
        if now >= start:
            yield _event(rng, order, now, now - before)
            before = now
        wait = _advance(rng, order)
        if wait is not None:
            heapq.heappush(due, (now + wait, next(ties), order))


def _placed(rng: Random, number: int) -> Order:
    name, country, city = rng.choice(CUSTOMERS)
    chosen = rng.sample(PRODUCTS, rng.choices((1, 2, 3, 4), (50, 30, 15, 5))[0])
    items = [Item(sku, title, rng.choices((1, 2, 3), (80, 15, 5))[0], price) for sku, title, price in chosen]
    total = round(sum(item.price * item.quantity for item in items), 2)
    return Order(f"ORD-{number}", "placed", total, "EUR", {"name": name, "country": country, "city": city}, items)


def _event(rng: Random, order: Order, now: float, delay: float) -> Event:
    headers: Headers = (("source", rng.choice(SOURCES)), ("trace-id", f"{rng.getrandbits(64):016x}".encode()))
    order.updated_at = rfc3339(now)
    value = None if order.status == "erased" else msgspec.json.encode(order)
    return Event("orders", order.order.encode(), value, headers, delay)


def _advance(rng: Random, order: Order) -> float | None:
    """Move the order to its next status and return the seconds until then, or None at its end."""
    if order.status not in STEPS:
        return None
    order.status, mean_seconds = STEPS[order.status]
    if order.status == "paid" and rng.random() < CANCELLED_SHARE:
        order.status, order.reason = "cancelled", rng.choice(("payment declined", "changed their mind"))
    elif order.status == "shipped":
        order.shipment = {"carrier": rng.choice(CARRIERS), "tracking": f"{rng.randrange(10**11):011d}"}
    return rng.gammavariate(2.0, mean_seconds / 2.0)
