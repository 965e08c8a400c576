"""When "there is no such topic" is to be believed. Clients take it for final and give up, so it must not be said of a
topic that exists while its cluster restarts: a broker may answer before it knows its topics.

Rules: of a topic that was seen here it is believed once it has been said for `SURE_SECONDS`; likewise of any topic
while a broker was lost a moment ago; of any other at once. What was believed is no longer remembered. Pure; every time
is the caller's, in seconds of one clock.
"""

SURE_SECONDS = 5.0  # as for topics that are open (docs/protocol.md, section 3); with a last request below 10 s
UNSETTLED_SECONDS = 5.0  # since the last error event: a broker that is back is reached again within about a second
REMEMBERED = 10_000  # names, 3 MB at the most


class Sightings:
    """Of the topics of one cluster."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}  # the one that was seen last is the last
        self._lost_at = float("-inf")

    def seen(self, name: str) -> None:
        """There is such a topic."""
        self._seen.pop(name, None)
        self._seen[name] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def lost(self, now: float) -> None:
        """A broker does not answer, or a connection ended. May be called in any thread."""
        self._lost_at = now

    def believes(self, name: str, missing_seconds: float, now: float) -> bool:
        """Whether there is no such topic, which has been said for so long."""
        doubtful = name in self._seen or now - self._lost_at < UNSETTLED_SECONDS
        if doubtful and missing_seconds < SURE_SECONDS:
            return False
        self._seen.pop(name, None)
        return True
