"""Keys, each bound to the algorithms it may verify, found by a token's `kid` and `alg`.

A key and an algorithm that do not go together never meet: a public key is an object of its own kind here, not text that
could pass for a secret (RFC 8725, 2.1 and 3.1). `KeyFault` names what is wrong with a key that was configured.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jwt
import msgspec
from jwt.exceptions import PyJWTError

MIN_RSA_BITS: Final = 2048  # RFC 7518, 3.3
SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""What a shared secret MUST have at least (RFC 7518, 3.2)."""
MAX_FILE_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 100  # of a JWKS document; the largest identity providers have fewer than ten
MAX_TRIED: Final = 4  # keys for one token that names none

Key = Any
"""What PyJWT verifies with: bytes of a secret, or a public key of `cryptography`."""


class KeyFault(ValueError):
    """Why a configured key cannot be used, as a phrase that can follow the key's name."""


class Keys:
    """Keys by algorithm and `kid`. named: a token's `kid` counts; else the one key is meant, whatever it is called."""

    __slots__ = ("_all", "_by_name", "_named")

    def __init__(self, keys: Sequence[tuple[str | None, str, Key]] = (), *, named: bool = True) -> None:
        self._named = named
        self._all: dict[str, list[Key]] = {}
        self._by_name: dict[tuple[str | None, str], list[Key]] = {}
        for kid, algorithm, key in keys:
            self._all.setdefault(algorithm, []).append(key)
            self._by_name.setdefault((kid, algorithm), []).append(key)

    def find(self, kid: str | None, algorithm: str) -> list[Key]:
        """The keys to try, few; none: it is not known."""
        if kid is None or not self._named:
            return self._all.get(algorithm, [])[:MAX_TRIED]
        return self._by_name.get((kid, algorithm), [])[:MAX_TRIED]


NO_KEYS: Final = Keys()


def secret_keys(secret: str, algorithms: Sequence[str]) -> Keys:
    """A shared secret; KeyFault when it is a public key, which is no secret. How short is too short: `short_secret`."""
    return Keys([(None, name, _prepared(secret.encode(), name)) for name in algorithms], named=False)


def short_secret(secret: str, algorithms: Sequence[str]) -> str | None:
    """A word of warning, or None."""
    wanted = max((SECRET_BYTES[name] for name in algorithms if name in SECRET_BYTES), default=0)
    size = len(secret.encode())
    return f"has {size} bytes; {wanted} are asked for by RFC 7518, 3.2" if size < wanted else None


def file_keys(file: str, algorithms: Sequence[str]) -> Keys:
    """A public key in PEM; KeyFault when it cannot be read, is private, weak, or not for one of the algorithms."""
    try:
        with Path(file).open("rb") as opened:
            pem = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFault(f"cannot be read: {error.strerror}") from None
    if len(pem) > MAX_FILE_BYTES:
        raise KeyFault("is too large for a key")
    if b"PRIVATE KEY" in pem:
        raise KeyFault("is a private key; the gateway needs the public one only, and should not have the other")
    return Keys([(None, name, _prepared(pem, name)) for name in algorithms], named=False)


def document_keys(document: bytes, algorithms: Sequence[str]) -> Keys:
    """A JWKS document (RFC 7517, 5); KeyFault when it is none. What cannot be used is left out, as it asks for."""
    try:
        written = msgspec.json.decode(document, type=dict[str, Any])["keys"]
        if not isinstance(written, list) or len(written) > MAX_KEYS:
            raise KeyFault(f"`keys` is no list of at most {MAX_KEYS}")
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise KeyFault(f"is no JWKS document: {type(error).__name__}") from None
    return Keys([found for jwk in written if isinstance(jwk, dict) for found in _usable(jwk, algorithms)])


def _usable(jwk: dict[str, Any], algorithms: Sequence[str]) -> list[tuple[str | None, str, Key]]:
    """It, for every algorithm that it can and may verify; a document that tells a private key is not to be trusted."""
    found = []
    for name in algorithms:
        try:
            if _meant_for(jwk, name):
                key = _prepared(jwt.get_algorithm_by_name(name).from_jwk(jwk), name)
                found.append((_kid(jwk), name, key))
        except (KeyFault, PyJWTError, ValueError, TypeError, KeyError):
            continue
    return found


def _meant_for(jwk: dict[str, Any], name: str) -> bool:
    if name in SECRET_BYTES or "d" in jwk:
        return False
    return (
        jwk.get("alg", name) == name and jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
    )


def _kid(jwk: dict[str, Any]) -> str | None:
    kid = jwk.get("kid")
    return kid if isinstance(kid, str) else None


def _prepared(material: Any, name: str) -> Key:
    """The key, of the kind that the algorithm wants."""
    try:
        key = jwt.get_algorithm_by_name(name).prepare_key(material)
    except (PyJWTError, ValueError, TypeError) as error:
        wanted = "a shared secret" if name in SECRET_BYTES else f"a public key for {name} in PEM"
        raise KeyFault(f"is not {wanted} ({error})") from None
    if name.startswith(("RS", "PS")) and key.key_size < MIN_RSA_BITS:
        raise KeyFault(f"has {key.key_size} bits; RSA needs {MIN_RSA_BITS}")
    return key
