"""What the gateway has counted since it began: the numbers behind the metrics that nothing else keeps.

Rules: counting is an addition, done per connection, command, batch or turn, never per record and subscriber; what is
counted per record stands in the compiled core and is taken over when a tail goes (`OpenTopic.forget`). A topic is
counted under its name while names are few (`admin.metrics_topics`), later ones under one name together, or patterns
would make a label of every topic of a cluster.
"""

from collections import Counter

from tailrace.core.histogram import END_TO_END_SECONDS, LOOP_SECONDS, Histogram
from tailrace.disconnect import Disconnect
from tailrace.errors import ErrorCode

OTHER = "(other)"
"""In place of a topic's name, or of a close code that only the client knows; no topic can have that name."""

# RFC 6455 7.4.1 and ours; a client may close with any of 3000..4999, and must not make a time series with each.
_KNOWN_CODES = frozenset([*range(1000, 1016), *range(4000, 4008), *range(4500, 4505)])


class Traffic:
    """What went through one topic. delivered, record_bytes: of tails that are gone. encode_seconds, fanout_seconds: of
    the loop's time."""

    __slots__ = (
        "consumed", "delay", "delivered", "encode_seconds", "fallen", "fanout_seconds", "gaps", "not_json",
        "record_bytes", "too_large", )  # fmt: skip

    def __init__(self) -> None:
        self.consumed = self.delivered = self.record_bytes = self.fallen = 0
        self.not_json = self.too_large = 0
        self.encode_seconds = self.fanout_seconds = 0.0
        self.gaps: Counter[str] = Counter()
        self.delay = Histogram(END_TO_END_SECONDS)


class Counts:
    """Of a gateway. handshakes: by endpoint; refused: handshakes by code; closed: by (code, reason); commands_refused:
    by error code; slow: by policy; throttled: waits of clients that were too fast, by what they sent."""

    def __init__(self, max_topics: int = 200) -> None:
        self._max_topics = max_topics
        self.topics: dict[str, Traffic] = {}
        self.handshakes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.closed: Counter[tuple[str, str]] = Counter()
        self.commands_refused: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.loop_delay = Histogram(LOOP_SECONDS)

    def label(self, topic: str) -> str:
        """Under which name it is counted; the first to be opened keep theirs."""
        return topic if topic in self.topics or len(self.topics) < self._max_topics else OTHER

    def topic(self, name: str) -> Traffic:
        """What goes through this topic."""
        label = self.label(name)
        found = self.topics.get(label)
        if found is None:
            found = self.topics[label] = Traffic()
        return found

    def ended(self, ending: Disconnect) -> None:
        """A connection ended so."""
        known = ending.code in _KNOWN_CODES
        self.closed[str(ending.code) if known else OTHER, ending.reason] += 1

    @property
    def auth_failures(self) -> int:
        """Credentials that were missing or no good, wherever they came: handshake, command, or not at all in time."""
        code = str(ErrorCode.UNAUTHENTICATED)
        closed = sum(count for (closed, _), count in self.closed.items() if closed in ("4500", "4502"))
        return self.refused[code] + self.commands_refused[code] + closed
