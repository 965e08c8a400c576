"""Listening addresses as they are written: "127.0.0.1:8080", "[::1]:8080", "localhost:0", ":8080" for every interface.

Nothing is resolved here: a name other than "localhost" counts as not loopback, whatever it resolves to today.
"""

import ipaddress
import re
from typing import Final

ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)", re.IGNORECASE)
"""A page's origin as a browser sends it (RFC 6454, 6.2): its scheme, and its host with the port."""

_WRITTEN: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})", re.ASCII)


def split_address(written: str) -> tuple[str, int]:
    """(host, port): no brackets, host "" for every interface, port 0 lets the system choose. Raises ValueError."""
    match = _WRITTEN.fullmatch(written)
    if match is None or int(match["port"]) > 65535:
        raise ValueError('expected HOST:PORT, like "127.0.0.1:8080" or "[::1]:8080"')
    if match["v6"] is not None:
        return str(ipaddress.IPv6Address(match["v6"])), int(match["port"])
    return match["host"], int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host` (RFC 6890, RFC 6761 6.3)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def network(written: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address or a network in CIDR form ("10.0.0.0/8"). Raises ValueError."""
    try:
        return ipaddress.ip_network(written, strict=False)
    except ValueError:
        raise ValueError(f'"{written}" is neither an address nor a network: like "10.0.0.7" or "10.0.0.0/8"') from None
