"""Tokens judged as one configuration says, and counted."""

from collections import Counter
from typing import Final

import trio
from msgspec import Struct

from tailrace.auth.keys import NO_KEYS, Keys, file_keys, secret_keys
from tailrace.auth.remote import RemoteKeys
from tailrace.auth.verify import BadToken, Fault, verify
from tailrace.config import Auth
from tailrace.core.claims import Principal

WAIT_SECONDS: Final = 9.0  # a command is answered within 10 s


class KeysUnavailable(Exception):
    """It cannot be said whether the token is good: its key is not known, and no newer ones can be fetched."""


class Statistics(Struct, frozen=True):
    """accepted: good tokens. refused: bad ones, by the name of their fault. unjudged: keys were not to be had."""

    accepted: int
    refused: dict[str, int]
    unjudged: int
    key_fetches: int
    key_fetch_failures: int


class Authenticator:
    """For `auth.mode = "jwt"`. `run` must be running where there is a JWKS URL. KeyFault for a key that is no good."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._remote = RemoteKeys(auth.jwks_url, auth.algorithms) if auth.jwks_url else None
        self._keys = configured_keys(auth)
        self._accepted = self._unjudged = 0
        self._refused: Counter[Fault] = Counter()

    def use(self, auth: Auth, keys: Keys) -> None:
        """Judge what comes from now on by these keys (`configured_keys` of `auth`). Those of a URL renew themselves, so
        that it is not for them."""
        self._auth, self._keys = auth, keys

    async def run(self) -> None:
        """Keep the keys fresh, as long as there are any to be fetched."""
        if self._remote is not None:
            await self._remote.run()

    async def judge(self, token: str) -> Principal:
        """Whose token it is. Waits, at most 9 s, only for a key that is not known yet. Raises BadToken,
        KeysUnavailable."""
        try:
            principal = await self._judge(token)
        except BadToken as bad:
            self._refused[bad.fault] += 1
            raise
        except KeysUnavailable:
            self._unjudged += 1
            raise
        self._accepted += 1
        return principal

    async def _judge(self, token: str) -> Principal:
        try:
            return verify(token, self._current, self._auth)
        except BadToken as bad:
            if bad.fault is not Fault.UNKNOWN_KEY or self._remote is None:
                raise
        with trio.move_on_after(WAIT_SECONDS):
            while not await self._remote.renewed():
                pass  # that one began too early to have what was published since
        try:
            return verify(token, self._current, self._auth)
        except BadToken as bad:
            if bad.fault is Fault.UNKNOWN_KEY and self._remote.failing is not None:
                raise KeysUnavailable("the keys for tokens cannot be fetched at the moment") from None
            raise

    @property
    def _current(self) -> Keys:
        return self._keys if self._remote is None else self._remote.keys

    def statistics(self) -> Statistics:
        """Since the start."""
        remote = self._remote
        return Statistics(
            self._accepted,
            {fault.name.lower(): count for fault, count in self._refused.items()},
            self._unjudged,
            remote.fetches if remote else 0,
            remote.failures if remote else 0,
        )


def configured_keys(auth: Auth) -> Keys:
    """Those of a secret or a file; none for a URL. Raises KeyFault."""
    if auth.secret:
        return secret_keys(auth.secret, auth.algorithms)
    if auth.public_key_file:
        return file_keys(auth.public_key_file, auth.algorithms)
    return NO_KEYS
