"""The configuration read anew while the gateway runs: topics and rules change, everything else needs a restart.

Rules: a configuration with a fault changes nothing. What changes holds from the next command or handshake on, for
connections that are open too; a subscription that sees what is no longer allowed ends (`forbidden`), and no connection
is dropped for it. What cannot change is named in the log. How values are shown (`topics.NAME.value`) changes when the
topic is next opened.
"""

from collections.abc import Callable, Iterator

import msgspec
import structlog
import trio

from tailrace.config import Config, Section
from tailrace.core.access import Access
from tailrace.errors import CommandError, ErrorCode
from tailrace.gateway.reading import Reading
from tailrace.gateway.topics import START_SECONDS, Topics

LIVE_SECTIONS = ("topics", "rules")
AT_ONCE = 100  # subscriptions looked at between two checkpoints
LATE_SECONDS = START_SECONDS + 1.0  # those that were being opened have begun by then

_log = structlog.get_logger(__name__)


class Reloading:
    """read: the configuration as it is written now, raises ConfigError; called in a thread. running: as of the start.
    changed: called once topics and rules are the new ones. nursery: for what is done a little later."""

    def __init__(
        self,
        read: Callable[[], Config],
        running: Config,
        access: Access,
        topics: Topics,
        changed: Callable[[], None],
        nursery: trio.Nursery,
    ) -> None:
        self._read = read
        self._running = running
        self._access = access
        self._topics = topics
        self._changed = changed
        self._nursery = nursery

    async def reload(self) -> None:
        """Raises ConfigError, and then nothing has changed."""
        written = await trio.to_thread.run_sync(self._read)
        for exposure in (self._access.exposure, self._topics.exposure):
            exposure.replace(written.topics)
        self._access.rules.replace(written.rules)
        self._changed()
        if keys := list(fixed(self._running, written)):
            _log.warning("changed keys that need a restart", keys=keys)
        await self._end_forbidden()
        self._nursery.start_soon(self._end_forbidden, LATE_SECONDS)

    async def _end_forbidden(self, wait_seconds: float = 0.0) -> None:
        await trio.sleep(wait_seconds)
        ended = 0
        for held in self._topics.held:
            for number, reading in enumerate(list(held.readings), 1):
                if reading in held.readings and not self._allowed(reading):
                    reading.ended(ErrorCode.FORBIDDEN, "no longer allowed")
                    ended += 1
                if number % AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
        if ended:
            _log.info("subscriptions ended that are no longer allowed", subscriptions=ended)

    def _allowed(self, reading: Reading) -> bool:
        """Everything it sees may still be seen; that it may see more now does not change it."""
        keys = reading.cursor.keys
        seen = None if keys is None else frozenset(keys)
        try:
            return self._access.readable(reading.owner.principal, reading.topic, seen) == seen
        except CommandError:
            return False


def merged(running: Config, written: Config) -> Config:
    """The configuration that runs, with what can change taken from what is written."""
    return msgspec.structs.replace(running, topics=written.topics, rules=written.rules)


def fixed(running: Config, written: Config) -> Iterator[str]:
    """The keys that differ and cannot change while it runs."""
    for field in msgspec.structs.fields(Config):
        old, new = getattr(running, field.name), getattr(written, field.name)
        if field.name in LIVE_SECTIONS or old == new:
            continue
        if isinstance(old, Section):
            names = [key.name for key in msgspec.structs.fields(old)]
            yield from (f"{field.name}.{name}" for name in names if getattr(old, name) != getattr(new, name))
        else:
            yield from (f'{field.name}."{key}"' for key in {**old, **new} if old.get(key) != new.get(key))
