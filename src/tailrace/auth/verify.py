"""One token against the keys there are. Nothing of it is believed before its signature is found good.

The library checks signature and registered claims (RFC 7519, 4.1). Pinned here: the algorithm is one of the configured,
the key one that is bound to it; `jwk`, `jku` and `x5u` in a token's header are never looked at. An audience in a token
is a fault where none is configured, since such a token is meant for somebody else (RFC 7519, 4.1.3).
"""

from enum import StrEnum
from typing import Any, Final

import jwt
from jwt import exceptions

from tailrace.auth.keys import Keys
from tailrace.config import Auth
from tailrace.core.claims import Principal

MAX_TOKEN_BYTES: Final = 8192  # what fits a request head beside a browser's cookies (http/head.py)
LAST_TIME: Final = 253_402_300_799  # the end of the year 9999: no clock or date behind it overflows


class Fault(StrEnum):
    """Why a token is not good: what the client is told, and what is counted."""

    MALFORMED = "it is no JWT"
    TOO_LARGE = "it is too large"
    ALGORITHM = "its algorithm is not allowed"
    UNKNOWN_KEY = "its key is not known"
    SIGNATURE = "its signature is wrong"
    EXPIRED = "it has expired"
    NOT_YET = "it is not valid yet"
    ISSUER = "it is of another issuer"
    AUDIENCE = "it is for another audience"
    CLAIMS = "a claim is missing or malformed"


class BadToken(Exception):
    """The token is not good."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the token is not good: {fault}")
        self.fault = fault


_FAULTS: Final[tuple[tuple[type[Exception], Fault], ...]] = (
    (exceptions.InvalidSignatureError, Fault.SIGNATURE),
    (exceptions.InvalidKeyError, Fault.SIGNATURE),
    (exceptions.InvalidAlgorithmError, Fault.ALGORITHM),
    (exceptions.ExpiredSignatureError, Fault.EXPIRED),
    (exceptions.ImmatureSignatureError, Fault.NOT_YET),
    (exceptions.InvalidIssuerError, Fault.ISSUER),
    (exceptions.InvalidAudienceError, Fault.AUDIENCE),
    (exceptions.DecodeError, Fault.MALFORMED),
)
_MISSING: Final = {"iss": Fault.ISSUER, "aud": Fault.AUDIENCE}


def verify(token: str, keys: Keys, auth: Auth) -> Principal:
    """Whose it is; raises BadToken."""
    if len(token) > MAX_TOKEN_BYTES:
        raise BadToken(Fault.TOO_LARGE)
    try:
        header = jwt.get_unverified_header(token)
    except Exception:  # noqa: BLE001  a stranger wrote it: whatever it makes the library do, it is no JWT
        raise BadToken(Fault.MALFORMED) from None
    algorithm = header.get("alg")
    if algorithm not in auth.algorithms:
        raise BadToken(Fault.ALGORITHM)
    candidates = keys.find(header.get("kid"), algorithm)
    if not candidates:
        raise BadToken(Fault.UNKNOWN_KEY)
    return _principal(_claims(token, candidates, algorithm, auth), auth.leeway)


def _claims(token: str, candidates: list[Any], algorithm: str, auth: Auth) -> dict[str, Any]:
    fault = Fault.SIGNATURE
    for key in candidates:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=auth.issuer,
                audience=auth.audience,
                leeway=auth.leeway,
                options={"verify_iat": False},  # a clock that runs ahead makes no token bad
            )
        except Exception as error:  # noqa: BLE001  as above
            fault = _fault(error)
        if fault is not Fault.SIGNATURE:
            break
    raise BadToken(fault)


def _fault(error: Exception) -> Fault:
    if isinstance(error, exceptions.MissingRequiredClaimError):
        return _MISSING.get(error.claim, Fault.CLAIMS)
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), Fault.CLAIMS)


def _principal(claims: dict[str, Any], leeway: float) -> Principal:
    """`exp` was found to be a number, if it is there; the leeway is added where it is waited for."""
    expires_at = min(int(claims["exp"]), LAST_TIME) if "exp" in claims else None
    issuer = claims.get("iss")
    return Principal(claims.get("sub"), issuer if isinstance(issuer, str) else None, claims, expires_at)
