"""What is said when Kafka cannot be asked: a plain word to clients, the reason to the log.

Rules: librdkafka's words name brokers and their addresses, which are no client's business, so no client is told them.
However many ask, the log has a line a minute at most, and the next one counts what was left out.
"""

import structlog
import trio

from tailrace.errors import KafkaUnavailable

WORDS = "Kafka does not answer at the moment"
QUIET_SECONDS = 60.0  # as `BrokerLog`

_log = structlog.get_logger(__name__)


class Away:
    """`told` gives the word for the client."""

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._suppressed = 0

    def told(self, topic: str, error: KafkaUnavailable) -> str:
        """`topic`: what was to be done with; a client may have named it, but it is exposed."""
        now = trio.current_time()
        if now < self._quiet_until:
            self._suppressed += 1
        else:
            more = {"suppressed": self._suppressed} if self._suppressed else {}
            _log.warning("clients are told that kafka does not answer", topic=topic, reason=str(error), **more)
            self._quiet_until, self._suppressed = now + QUIET_SECONDS, 0
        return WORDS
