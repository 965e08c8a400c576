"""Issuers of tokens, good and evil: their keys, what they sign, and a JWKS document over HTTP.

Tokens are put together here by hand where no library would sign them.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of sixty-four bytes and more, as long as HS512 asks for it"
OTHER_SECRET = "another secret of thirty-two bytes, too"
HOUR = 3600

# Made once: an RSA key takes a while.
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}
OTHER_RSA = rsa.generate_private_key(65537, 2048)


def token(key: Any = SECRET, algorithm: str = "HS256", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that is good for an hour, unless `exp` says otherwise (None: for ever)."""
    claims = {"sub": "me", "exp": round(time.time()) + HOUR} | claims
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers=headers)


def forged(header: object, payload: object, sign: Callable[[bytes], bytes] = lambda signed: b"") -> str:
    """A token of any header and payload (bytes: as they are), signed as wished."""
    signed = b".".join(_part(part) for part in (header, payload))
    return (signed + b"." + _base64(sign(signed))).decode()


def hs256(key: bytes) -> Callable[[bytes], bytes]:
    """Signs with HMAC-SHA-256, whatever the key is."""
    return lambda signed: hmac.new(key, signed, hashlib.sha256).digest()


def _part(part: object) -> bytes:
    return _base64(part if isinstance(part, bytes) else json.dumps(part).encode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def pem(private: Any) -> bytes:
    """Its public key."""
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


def jwk(private: Any, **more: Any) -> dict[str, Any]:
    """Its public key as a JWK."""
    algorithm = next(name for name, key in [*PRIVATE.items(), ("RS256", OTHER_RSA)] if key is private)
    made = jwt.get_algorithm_by_name(algorithm.replace("Ed448", "EdDSA")).to_jwk(private.public_key(), as_dict=True)
    return {**made, **more}


class Issuer:
    """A JWKS document on the loopback. keys: what it tells now; status: with which it answers; asked: how often.

    While `hold` is set, an answer waits for `go`.
    """

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.status = 200
        self.body: bytes | None = None  # instead of the keys
        self.location: str | None = None
        self.asked = 0
        self.hold = False
        self.go = threading.Event()
        self.url = ""

    def answer(self) -> bytes:
        self.asked += 1
        if self.hold:
            self.go.wait(30)
        return json.dumps({"keys": self.keys}).encode() if self.body is None else self.body


@contextlib.contextmanager
def issuer(*keys: dict[str, Any]) -> Iterator[Issuer]:
    """Serves until the end of the block."""
    made = Issuer(*keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made.answer()
            self.send_response(made.status)
            if made.location is not None:
                self.send_header("Location", made.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
