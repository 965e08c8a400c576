"""Who a request comes from and which host it was sent to, where proxies stand between (`listen.trusted_proxies`). Pure.

A header that anybody can write is believed only from a trusted peer, and of its addresses only as many as trusted
proxies have written: read from the right, the first that is not trusted is the client. X-Forwarded-Host likewise counts
from a trusted peer only, and of several the last, which the nearest proxy wrote.
"""

import ipaddress
import re
from collections.abc import Sequence

from tailrace.address import network

_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")
_SUBSCRIBER_BITS = 64  # of an IPv6 address, what one subscriber is given: each of its 2^64 addresses is the same one


class Proxies:
    """trusted: addresses and networks. Raises ValueError for what is neither."""

    __slots__ = ("_trusted",)

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = [network(each) for each in trusted]

    def trusts(self, address: str) -> bool:
        """Whether what this peer forwards is believed."""
        if not self._trusted:
            return False
        found = _address(address)
        return found is not None and any(found in each for each in self._trusted)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client's address. forwarded_for: the members of X-Forwarded-For in order, over all its lines."""
        address = peer
        for written in reversed(forwarded_for):
            if not self.trusts(address):
                break
            found = _address(written)
            if found is None:  # "unknown", or garbage: the proxy that passed it on is the last that is known
                break
            address = str(found)
        return address

    def host(self, peer: str, forwarded_host: Sequence[str], host: str | None) -> str | None:
        """The host the client asked for. host: the Host header."""
        return forwarded_host[-1] if forwarded_host and self.trusts(peer) else host


def subscriber(address: str) -> str:
    """Addresses that are counted as one: an IPv4 address, or the 64 first bits of an IPv6 one."""
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _SUBSCRIBER_BITS), strict=False))
    return address if found is None else str(found)


def _address(written: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Also with brackets and a port, as some proxies write it; an IPv4 address written as IPv6 is what it is."""
    match = _WITH_PORT.fullmatch(written.strip())
    text = (match[1] or match[2]) if match else written.strip().partition("%")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
