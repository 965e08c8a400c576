"""Synthetic live data for `tailrace demo`: three topics that look like somebody's real ones.

Pure: the feeds are generators of events under a seed; they read no clock and send nothing. Each event says how long
to wait before it, so whoever produces sets the pace. `orders` are orders on their way from basket to door,
`prices` are quotes keyed by ticker, `chat` are rooms of people talking.
"""

from tailrace.demo.event import Event
from tailrace.demo.feeds import FEEDS, Feed

__all__ = ["FEEDS", "Event", "Feed"]
