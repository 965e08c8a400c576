"""A WebSocket handshake, recognised and answered (RFC 6455 4.2). Pure.

Rules: a plain request gets 426, another version 426 with ours, a handshake that is wrong 400. The gateway does all of
that itself, and trio-websocket begins behind it, because wsproto raises past its reader on a Host or list header that
is not ASCII, waits for ever on a request it refuses, and keeps every header, cookies and tokens among them, for the
connection's life. Left out: extensions (none is spoken).
"""

import binascii
import hashlib
from collections.abc import Sequence

import msgspec

from tailrace.http.head import Head
from tailrace.http.refusal import BAD_HANDSHAKE, NO_KNOWN_SUBPROTOCOL, UPGRADE_REQUIRED, WRONG_VERSION, Refused

_KEY_BYTES = 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upgrade(msgspec.Struct, frozen=True):
    """A correct handshake. key: Sec-WebSocket-Key as sent; offers: the subprotocols, the preferred first."""

    key: str
    offers: tuple[str, ...]

    def answer(self, subprotocol: str | None) -> bytes:
        """The head of the 101 (RFC 6455 4.2.2), choosing `subprotocol` (None: no word of it)."""
        digest = hashlib.sha1(self.key.encode("ascii") + _GUID, usedforsecurity=False).digest()
        token = binascii.b2a_base64(digest, newline=False)
        choice = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {token.decode()}\r\n{choice}\r\n"
        ).encode("ascii")


def upgrade(head: Head) -> Upgrade:
    """The handshake in `head`. Raises Refused: UPGRADE_REQUIRED, WRONG_VERSION or BAD_HANDSHAKE naming the fault."""
    if not head.has(b"upgrade", "websocket"):
        raise Refused(UPGRADE_REQUIRED)
    if head.values(b"sec-websocket-version") != ["13"]:
        raise Refused(WRONG_VERSION)
    fault = _fault(head)
    if fault is not None:
        raise Refused(BAD_HANDSHAKE.because(fault))
    return Upgrade(head.values(b"sec-websocket-key")[0], tuple(head.tokens(b"sec-websocket-protocol")))


def _fault(head: Head) -> str | None:
    if head.method != "GET" or head.version == "1.0":
        return "a WebSocket handshake is a GET of HTTP/1.1"
    if not head.has(b"connection", "upgrade"):
        return "the header `Connection: Upgrade` is missing"
    if head.values(b"transfer-encoding") or head.value(b"content-length") not in (None, "0"):
        return "a WebSocket handshake has no body"
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return "Sec-WebSocket-Key is not 16 bytes in base64"
    return None


def _is_key(value: str) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def choose_subprotocol(offers: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the client's `offers` that is `known`, to be echoed; None when nothing was offered.

    None means the default protocol, with no Sec-WebSocket-Protocol in the answer, which a client that offered nothing
    must not get (RFC 6455 4.1). Raises Refused(NO_KNOWN_SUBPROTOCOL) when there were offers, none of them known;
    `tailrace.token.*` is never known, so a token alone is such an offer (a browser fails without an echo anyway).
    """
    if not offers:
        return None
    for offer in offers:
        if offer in known:
            return offer
    raise Refused(NO_KNOWN_SUBPROTOCOL)
