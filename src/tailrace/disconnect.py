"""Every way a connection ends, as a named value with its WebSocket close code.

Own codes (docs/protocol.md, section 6): 4000-4499 ask the client to reconnect with back-off, 4500-4999 not to. The
split by range, so that a client needs no table, is Centrifugo's. Of the standard codes (RFC 6455, 7.4.1) five are
worth a reconnect.
"""

from typing import Final

import msgspec

RECONNECT_STANDARD: Final = frozenset({1001, 1006, 1011, 1012, 1013})


class Disconnect(msgspec.Struct, frozen=True):
    """`code` of the close frame, and its `reason` (also `closing.reason`; at most 123 bytes of UTF-8, RFC 6455 5.5)."""

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether the client should come back after this, with back-off."""
        return 4000 <= self.code <= 4499 or self.code in RECONNECT_STANDARD


NORMAL: Final = Disconnect(1000, "")
PROTOCOL_ERROR: Final = Disconnect(1002, "protocol_error")
UNSUPPORTED_DATA: Final = Disconnect(1003, "unsupported_data")
BAD_UTF8: Final = Disconnect(1007, "bad_utf8")
TOO_BIG: Final = Disconnect(1009, "too_big")

SHUTDOWN: Final = Disconnect(4000, "shutdown")
SLOW: Final = Disconnect(4001, "slow")
NO_PONG: Final = Disconnect(4002, "no_pong")
TOKEN_EXPIRED: Final = Disconnect(4003, "token_expired")
RATE_LIMITED: Final = Disconnect(4004, "rate_limited")
WRITE_TIMEOUT: Final = Disconnect(4005, "write_timeout")
INTERNAL: Final = Disconnect(4006, "internal")
GAP: Final = Disconnect(4007, "gap")

UNAUTHENTICATED: Final = Disconnect(4500, "unauthenticated")
FORBIDDEN: Final = Disconnect(4501, "forbidden")
BAD_TOKEN: Final = Disconnect(4502, "bad_token")
TOPIC_DELETED: Final = Disconnect(4503, "topic_deleted")
TOO_MANY_ERRORS: Final = Disconnect(4504, "too_many_errors")
