"""One JWKS document over HTTP, bounded in bytes and time. Blocking: it is called in a thread.

The address is the operator's own, and exactly that is asked: redirects are not followed, so that an answer cannot send
the gateway elsewhere. TLS is verified against the system's certificates. Proxies are taken from the environment, as
every client of urllib does.
"""

import http.client
import time
import urllib.request
from typing import Any, Final

TIMEOUT_SECONDS: Final = 5.0
LIMIT_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 16 * 1024


class FetchFailed(Exception):
    """There is no document; the text says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch(url: str, timeout_seconds: float = TIMEOUT_SECONDS, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The body of a 200; FetchFailed for everything else."""
    give_up = time.monotonic() + timeout_seconds
    if not url.startswith(("https://", "http://")):
        raise FetchFailed("is not an address with https:// or http://")
    try:
        request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "tailrace"})
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_seconds) as response:
            if response.status != 200:
                raise FetchFailed(f"answered with {response.status}")
            return _body(response, give_up, limit_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchFailed(str(error) or type(error).__name__) from None


def _body(response: http.client.HTTPResponse, give_up: float, limit_bytes: int) -> bytes:
    """Each read has the socket's timeout; a server that gives a byte at a time is cut by the clock."""
    body = b""
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise FetchFailed(f"its answer is larger than {limit_bytes} bytes")
        if time.monotonic() > give_up:
            raise FetchFailed("its answer takes too long")
    return body
