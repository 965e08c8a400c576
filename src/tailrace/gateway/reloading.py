"""The configuration read anew while the gateway runs: topics, rules and the key for tokens change, and nothing else.

Rules: a configuration with a fault changes nothing. What changes holds from the next command or handshake on, for
connections that are open too; a subscription that sees what is no longer allowed ends (`forbidden`), and no connection
is dropped for it, nor for the key that its token was signed with. What needs a restart is named in the log. How values
are shown (`topics.NAME.value`) changes when the topic is next opened.
"""

from collections.abc import Callable, Iterator

import msgspec
import structlog
import trio

from tailrace.config import Auth, Config, Section
from tailrace.errors import CommandError, ErrorCode
from tailrace.gateway.gate import Gate
from tailrace.gateway.reading import Reading
from tailrace.gateway.topics import START_SECONDS, Topics

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
        gate: Gate,
        topics: Topics,
        changed: Callable[[], None] | None,
        nursery: trio.Nursery,
    ) -> None:
        self._read = read
        self._running = running
        self._gate = gate
        self._topics = topics
        self._changed = changed
        self._nursery = nursery

    async def reload(self) -> None:
        """Raises ConfigError, and then nothing has changed."""
        written = await trio.to_thread.run_sync(self._read)
        config = merged(self._running, written)
        await self._gate.rekey(config.auth)
        access = self._gate.access
        for exposure in (access.exposure, self._topics.exposure):
            exposure.replace(config.topics)
        access.rules.replace(config.rules)
        if self._changed is not None:
            self._changed()
        if keys := list(fixed(config, written)):
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
            return self._gate.access.readable(reading.owner.principal, reading.topic, seen) == seen
        except CommandError:
            return False


def merged(running: Config, written: Config) -> Config:
    """The configuration that runs, with what can change taken from what is written."""
    auth = rekeyed(running.auth, written.auth)
    return msgspec.structs.replace(running, topics=written.topics, rules=written.rules, auth=auth)


def rekeyed(running: Auth, written: Auth) -> Auth:
    """With the secret or the key file that is written now; a URL renews its keys by itself, and stays."""
    if "none" in (running.mode, written.mode) or running.jwks_url or written.jwks_url:
        return running
    return msgspec.structs.replace(
        running, secret=written.secret, public_key_file=written.public_key_file, algorithms=written.algorithms
    )


def fixed(running: Config, written: Config) -> Iterator[str]:
    """The keys that differ. Once what can change is `merged`: those that cannot while it runs."""
    for field in msgspec.structs.fields(Config):
        old, new = getattr(running, field.name), getattr(written, field.name)
        if old == new:
            continue
        if isinstance(old, Section):
            names = [key.name for key in msgspec.structs.fields(old)]
            yield from (f"{field.name}.{name}" for name in names if getattr(old, name) != getattr(new, name))
        else:
            yield from (f'{field.name}."{key}"' for key in {**old, **new} if old.get(key) != new.get(key))
