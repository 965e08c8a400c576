"""What `serve` and `config check` look at before tokens and rules are relied on: faults, and advice.

A fault keeps the gateway from starting. Advice is about a configuration that works as it is written, and may not be
what was meant: `config check` prints it, `serve` logs it.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from tailrace.address import is_loopback, split_address
from tailrace.config import Auth, Config
from tailrace.configuration.checks import KEY_SOURCES, Finding, fitting
from tailrace.configuration.setting import Path

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: what a cookie may be called


def tokens(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """Keys that cannot be read or used, and names that no client could send."""
    auth = config.auth
    given = [name for name in KEY_SOURCES if getattr(auth, name)]
    if auth.mode != "jwt":
        yield from ((("auth", name), 'nobody is asked for a token without auth.mode = "jwt"') for name in given)
        return
    if len(given) == 1:
        yield from _key(auth, given[0])
    for name in ("cookie", "query_parameter"):
        value = getattr(auth, name)
        if value is not None and _TOKEN.fullmatch(value) is None:
            yield ("auth", name), f'"{value}" is not a name that can be sent'
    if auth.query_parameter in ("from", "key", "slow", "format"):
        yield ("auth", "query_parameter"), f'"{auth.query_parameter}" means something else in a /topics URL'


def _key(auth: Auth, source: str) -> Iterator[Finding]:
    from tailrace.auth.authenticator import configured_keys  # here, so that `version` and `tail` do without it
    from tailrace.auth.keys import KeyFault

    if auth.jwks_url:
        parts = urlsplit(auth.jwks_url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            yield ("auth", "jwks_url"), "is not an address with https:// or http://"
        return
    sound = tuple(name for name in auth.algorithms if name in fitting(source))  # of the others `checks` tells
    try:
        configured_keys(msgspec.structs.replace(auth, algorithms=sound))
    except KeyFault as fault:
        yield ("auth", source), str(fault)


def rules(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """Templates and claims that mean nothing."""
    from tailrace.core.rules import faults

    yield from ((("rules",), what) for what in faults(config.rules, config.auth.mode == "jwt"))


def advice(config: Config) -> Iterator[str]:
    """One line each, naming the key. The configuration has no faults."""
    auth = config.auth
    if auth.mode != "jwt":
        return
    if not config.rules:
        yield "rules: there is none, so that no token allows anything"
    if auth.secret:
        from tailrace.auth.keys import short_secret

        short = short_secret(auth.secret, auth.algorithms)
        yield from [f"auth.secret: {short}"] if short else []
    if (
        auth.jwks_url
        and auth.jwks_url.startswith("http://")
        and not is_loopback(urlsplit(auth.jwks_url).hostname or "")
    ):
        yield "auth.jwks_url: over http:// anybody on the way can put in keys of his own"
    if auth.query_parameter:
        yield "auth.query_parameter: addresses, and tokens in them, end up in the logs of proxies and browsers"
    if not config.listen.tls_certificate and not is_loopback(split_address(config.listen.address)[0]):
        yield "listen.address: tokens travel in the clear, unless a proxy in front speaks TLS"
