"""Where a handshake may carry its token (docs/protocol.md, section 2). Pure.

A cookie is sent by the browser whatever page asks, so it counts only when the page is one of ours: an Origin that is
the gateway's own or listed by name; `"*"` lets pages in, not cookies (RFC 6455, 10.2). Two tokens that differ are none:
which was meant would be a guess. What is wrong is found here to be "", which is no good token.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from tailrace.config import Config
from tailrace.core.protocol import TOKEN_PREFIX
from tailrace.http.head import Head
from tailrace.http.origin import origin_allowed


def find_token(head: Head, offers: Sequence[str], host: str | None, config: Config) -> str | None:
    """The token, or None when the client brought none. offers: the subprotocols; host: the one asked for."""
    auth = config.auth
    found = {*_bearers(head), *(offer[len(TOKEN_PREFIX) :] for offer in offers if offer.startswith(TOKEN_PREFIX))}
    if auth.query_parameter is not None:
        found |= set(_parameters(head, auth.query_parameter))
    if not found and auth.cookie is not None and _from_our_page(head, host, config.listen.origins):
        found = set(_cookies(head, auth.cookie))
    if not found:
        return None
    return found.pop() if len(found) == 1 else ""


def _bearers(head: Head) -> Iterator[str]:
    for value in head.values(b"authorization"):
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == "bearer":  # another scheme is meant for a proxy in front
            yield rest.strip()


def _parameters(head: Head, name: str) -> Iterator[str]:
    for pair in head.target.partition("?")[2].split("&"):
        key, _, value = pair.partition("=")
        if unquote(key) == name:
            yield unquote(value)


def _cookies(head: Head, name: str) -> Iterator[str]:
    for value in head.values(b"cookie"):
        for pair in value.split(";"):
            key, _, text = pair.strip().partition("=")
            if key == name:
                yield text.strip('"')


def _from_our_page(head: Head, host: str | None, origins: Sequence[str]) -> bool:
    sent = head.values(b"origin")
    named = [origin for origin in origins if origin != "*"]
    return bool(sent) and origin_allowed(sent, host, named)
