"""Who a client is, at the handshake and after, and for how long: between the door, the clients and `auth`.

Rules: what a token is worth is asked before anything else is done for its bearer; when its time is up, nothing more of
a topic is put in line, at once and whatever else the connection waits for; two tasks keep the time of all connections.
"""

import time
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec
import trio

from tailrace.auth.authenticator import Authenticator, KeysUnavailable, configured_keys
from tailrace.auth.authenticator import Statistics as TokenStatistics
from tailrace.auth.keys import KeyFault
from tailrace.auth.verify import BadToken
from tailrace.config import Auth, Config
from tailrace.core.access import Access
from tailrace.core.claims import Principal
from tailrace.core.exposure import Exposure
from tailrace.core.rules import EVERYTHING, NOTHING, Rules
from tailrace.disconnect import BAD_TOKEN, TOKEN_EXPIRED, UNAUTHENTICATED, Disconnect
from tailrace.errors import ConfigError
from tailrace.gateway.credentials import find_token
from tailrace.gateway.deadlines import Deadlines
from tailrace.http import refusal
from tailrace.http.head import Head
from tailrace.http.refusal import Refusal

KEYS_RETRY_SECONDS = 5
MOST_OFFERED = 500  # topics named by the console page: more are typed, not looked through


class Timed(Protocol):
    """A client that may be told to go."""

    def cut(self, disconnect: Disconnect) -> None:
        """Put nothing more of any topic in line, from now on, and end the connection so."""


class Offer(msgspec.Struct, frozen=True):
    """topics: those to choose from; publish: those of them that may be written to; unlisted: perhaps others too."""

    topics: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    unlisted: bool = False


class Unwelcome(Exception):
    """Its only fault is its credentials or what they permit: `refusal` for who can read it, `disconnect` for a
    browser."""

    def __init__(self, refusal: Refusal, disconnect: Disconnect) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.disconnect = disconnect


class Statistics(msgspec.Struct, frozen=True):
    """waiting: connections without a token; timed: with one that will expire. late: gone without one in time,
    expired: with one that had run out. tokens: None where none are taken."""

    waiting: int
    timed: int
    late: int
    expired: int
    tokens: TokenStatistics | None


class Gate:
    """Of one gateway. `required`: a client has to bring a token; `access`: what it may do then."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.required = config.auth.mode == "jwt"
        self._authenticator = Authenticator(config.auth) if self.required else None
        rules = Rules(config.rules, NOTHING if self.required else EVERYTHING)
        self.access = Access(Exposure(config.topics), rules)
        self._expiry: Deadlines[Timed] = Deadlines(time.time, self._expired)
        self._patience: Deadlines[Timed] = Deadlines(trio.current_time, self._late)
        self._counts = {TOKEN_EXPIRED: 0, UNAUTHENTICATED: 0}

    async def run(self) -> None:
        """Keep the time, and the keys fresh."""
        if self._authenticator is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._authenticator.run)
            nursery.start_soon(self._expiry.run)
            nursery.start_soon(self._patience.run)

    def offer(self, existing: Collection[str] = ()) -> Offer:
        """What the console page may tell a stranger. existing: topics of the cluster, of which patterns expose some."""
        exposure = self.access.exposure
        if self.required:
            return Offer(unlisted=True)
        names = [*exposure.names, *sorted(set(existing).difference(exposure.names))]
        allowed = {name: actions for name in names if (actions := self.access.actions(None, name))}
        topics = tuple(allowed)[:MOST_OFFERED]
        publish = tuple(name for name in topics if "publish" in allowed[name])
        return Offer(topics, publish, exposure.publishes_patterns)

    async def identify(self, head: Head, offers: Sequence[str], host: str | None) -> Principal | None:
        """Whose handshake this is; None: it brought no token. Raises Unwelcome; Refused while it cannot be said.

        offers: the subprotocols; host: the one asked for, which a trusted proxy may know better than `head`.
        """
        if self._authenticator is None:
            return None
        token = find_token(head, offers, host, self._config)
        if token is None:
            return None
        try:
            return await self._authenticator.judge(token)
        except BadToken as bad:
            raise Unwelcome(refusal.BAD_TOKEN.because(str(bad)), BAD_TOKEN) from None
        except KeysUnavailable as error:
            raise refusal.Refused(refusal.KEYS_UNAVAILABLE.because(str(error)).after(KEYS_RETRY_SECONDS)) from None

    async def judge(self, token: str) -> Principal:
        """Whose token it is. Raises BadToken, KeysUnavailable."""
        assert self._authenticator is not None  # or the session would have refused
        return await self._authenticator.judge(token)

    async def rekey(self, auth: Auth) -> None:
        """Read the secret or the key file of `auth` and judge tokens by it from now on; who was let in stays until its
        token expires. Raises ConfigError, and goes on with what there was."""
        if self._authenticator is None:
            return
        try:
            keys = await trio.to_thread.run_sync(configured_keys, auth)
        except KeyFault as fault:
            name = "secret" if auth.secret else "public_key_file"
            raise ConfigError(f"auth.{name}: {fault}") from None
        self._authenticator.use(auth, keys)

    # How long somebody may stay

    def arrived(self, guest: Timed, principal: Principal | None) -> None:
        """It is let in, with a token or to bring one in time; `left` when it has gone."""
        if principal is not None:
            self.prolong(guest, principal)
        elif self.required and self._config.limits.auth_timeout is not None:
            self._patience.set(guest, trio.current_time() + self._config.limits.auth_timeout)

    def prolong(self, guest: Timed, principal: Principal) -> None:
        """It has brought a token, the first or another."""
        self._patience.discard(guest)
        if principal.expires_at is None:
            self._expiry.discard(guest)
        else:
            self._expiry.set(guest, principal.expires_at + self._config.auth.leeway)

    def left(self, guest: Timed) -> None:
        """Nothing ends for it any more."""
        self._patience.discard(guest)
        self._expiry.discard(guest)

    def _expired(self, guest: Timed) -> None:
        self._counts[TOKEN_EXPIRED] += 1
        guest.cut(TOKEN_EXPIRED)

    def _late(self, guest: Timed) -> None:
        self._counts[UNAUTHENTICATED] += 1
        guest.cut(UNAUTHENTICATED)

    def statistics(self) -> Statistics:
        """Who waits now, and what was counted since the start."""
        return Statistics(
            len(self._patience),
            len(self._expiry),
            self._counts[UNAUTHENTICATED],
            self._counts[TOKEN_EXPIRED],
            self._authenticator.statistics() if self._authenticator else None,
        )
