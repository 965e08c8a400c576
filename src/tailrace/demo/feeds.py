"""The demo's topics: what each is called, how many partitions it has, and who writes it.

Rates are chosen for a person's eyes: `prices` ticks about forty times a second, `orders` eight times, `chat` about
twice. Adding a topic to the demo is one entry here.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tailrace.demo.chat import chat
from tailrace.demo.event import Event
from tailrace.demo.orders import orders
from tailrace.demo.prices import prices


class Feed(NamedTuple):
    """A topic and its endless generator: `events(seed, start_epoch_seconds)`."""

    topic: str
    partitions: int
    events: Callable[[int, float], Iterator[Event]]


# Few partitions: librdkafka's mock cluster keeps about 5 MB for each.
FEEDS = (Feed("orders", 3, orders), Feed("prices", 4, prices), Feed("chat", 2, chat))
