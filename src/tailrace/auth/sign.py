"""Tokens for trying out: signed with a shared secret, as an issuer would."""

from collections.abc import Mapping
from typing import Any

import jwt


def sign(claims: Mapping[str, Any], secret: str, algorithm: str = "HS256") -> str:
    """A JWT of these claims, just as they are."""
    return jwt.encode(dict(claims), secret, algorithm=algorithm)
