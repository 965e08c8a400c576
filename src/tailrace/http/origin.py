"""May a page of this origin open a connection here (interface.md, `listen.origins`)? Pure.

A browser lets any page open a WebSocket to any server and sends the user's cookies along; the Origin header is all
that tells the pages apart (RFC 6455 10.2). Origins are compared as scheme, host and port, default ports filled in.
"""

from collections.abc import Sequence

from tailrace.address import ORIGIN

_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


def origin_allowed(sent: Sequence[str], host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a request may pass.

    sent: the values of its Origin headers (none: not a browser, passes; several: never). host: the Host, or what a
    trusted proxy says it was. allowed: `listen.origins`; [] = only the origin of that host, over http or https (a proxy
    may end TLS before us); ["*"] = any; else exactly those listed.
    """
    if not sent or "*" in allowed:
        return True
    if len(sent) > 1:
        return False
    origin = _normal(sent[0])
    if allowed:
        return origin in {_normal(one) for one in allowed}
    return host is not None and _is_of_host(origin, host)


def _is_of_host(origin: str, host: str) -> bool:
    scheme, separator, authority = origin.partition("://")
    return bool(separator) and authority == _without_default_port(scheme, host.lower())


def _normal(origin: str) -> str:
    match = ORIGIN.fullmatch(origin.strip())
    if match is None:  # "null" is such a one: it can be listed, and is nobody's host
        return origin.strip()
    scheme = match[1].lower()
    return f"{scheme}://{_without_default_port(scheme, match[2].lower())}"


def _without_default_port(scheme: str, authority: str) -> str:
    return authority.removesuffix(_DEFAULT_PORTS.get(scheme, "\n"))
