"""Why a request is not served: each reason a named value, from status line to JSON body.

A refusal is always the client's fault or the gateway's present state, never a bug: it is answered, not logged with a
traceback. Codes are those of the wire protocol's errors (protocol.md section 5) where one fits; the other few name an
HTTP condition. Raise `Refused`; whoever owns the stream answers with `answers.refusal_answer`.
"""

import msgspec

from tailrace.errors import ErrorCode


class Refusal(msgspec.Struct, frozen=True):
    """One refused request.

    status: HTTP status; code, message: the JSON body's fields; headers: what this status must carry besides.
    """

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def because(self, message: str) -> "Refusal":
        """The same refusal with a message that names the fault."""
        return msgspec.structs.replace(self, message=message)

    def after(self, seconds: int) -> "Refusal":
        """The same refusal, with `Retry-After` in whole seconds (RFC 9110 10.2.3)."""
        return msgspec.structs.replace(self, headers=(*self.headers, ("Retry-After", str(seconds))))


class Refused(Exception):
    """Ends the handling of a request with an answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.status} {refusal.code}: {refusal.message}")
        self.refusal = refusal


# RFC 6455 4.4: the answer to another version lists the supported ones. RFC 9110 15.5.22, 7.8: 426 must carry Upgrade,
# and Connection name it, or a proxy takes it away.
_UPGRADE = (("Upgrade", "websocket"), ("Connection", "Upgrade, close"), ("Sec-WebSocket-Version", "13"))

MALFORMED = Refusal(400, "bad_request", "not an HTTP/1.1 request")
BAD_HANDSHAKE = Refusal(400, "bad_request", "not a WebSocket handshake (RFC 6455 4.2.1)")
NO_KNOWN_SUBPROTOCOL = Refusal(400, "bad_request", "none of the offered subprotocols is known")
UNAUTHENTICATED = Refusal(401, "unauthenticated", "credentials are required", (("WWW-Authenticate", "Bearer"),))
BAD_TOKEN = Refusal(  # RFC 6750, 3.1
    401, "unauthenticated", "the token is not good", (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
)
ORIGIN_NOT_ALLOWED = Refusal(403, "forbidden", "this origin is not allowed")
NOT_FOUND = Refusal(404, "not_found", "nothing is served at this path")
METHOD_NOT_ALLOWED = Refusal(405, "method_not_allowed", "only GET and HEAD are known", (("Allow", "GET, HEAD"),))
UPGRADE_REQUIRED = Refusal(426, "upgrade_required", "this path speaks WebSocket", _UPGRADE)
WRONG_VERSION = Refusal(426, "upgrade_required", "only WebSocket version 13 is spoken", _UPGRADE)
RATE_LIMITED = Refusal(429, "rate_limited", "too many requests")
HEAD_TOO_LARGE = Refusal(431, "too_large", "the request head is too large")
INTERNAL = Refusal(500, "internal", "the gateway failed to answer")
FULL = Refusal(503, "full", "no more connections are accepted at the moment")
DRAINING = Refusal(503, "draining", "the gateway is shutting down")
KEYS_UNAVAILABLE = Refusal(503, "keys_unavailable", "tokens cannot be judged at the moment")
HTTP_VERSION = Refusal(505, "bad_request", "only HTTP/1.0 and HTTP/1.1 are spoken")

# Protocol errors a `/topics` handshake can end with. What is not listed is the gateway's own failure.
_STATUS: dict[str, int] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.BAD_POSITION: 400,
    ErrorCode.SNAPSHOT_UNAVAILABLE: 400,
    ErrorCode.TOO_LARGE: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.UNKNOWN_TOPIC: 404,
    ErrorCode.TOPIC_DELETED: 404,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.TOO_MANY_SUBSCRIPTIONS: 429,
    ErrorCode.KAFKA_UNAVAILABLE: 503,
}


def refusal_for(code: str, message: str) -> Refusal:
    """The refusal that tells a protocol error before the handshake was answered (protocol.md sections 1 and 5)."""
    if code == ErrorCode.UNAUTHENTICATED:
        return UNAUTHENTICATED.because(message)
    return Refusal(_STATUS.get(code, 500), str(code), message)
