"""The console: a page that shows a topic's records as they come, served by the gateway itself.

Plain files in `static/`: no build step, no framework, nothing fetched from elsewhere. `assets()` reads them once, when
the gateway starts, and fills in the topics to offer; `HEADERS` go with every one of them (caching is the
server's affair). The page needs nothing else from the gateway than `/ws` (docs/protocol.md), so it runs with the rights
of whoever opens it. It holds Trusted Types to one policy, the worker's address, and makes no markup from strings.
"""

from collections.abc import Sequence
from importlib.resources import files

import msgspec

CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

# Nothing inline, nothing from another origin, no markup made from strings ('self' covers ws: and wss: of the origin).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types tailrace"
)
HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

_SLOT = b'{"topics":[],"publish":[],"unlisted":false}'  # what index.html holds in its place


def assets(
    topics: Sequence[str], publish: Sequence[str] = (), *, unlisted: bool = False
) -> dict[str, tuple[str, bytes]]:
    """Read the page: path -> (content type, body); `/` is the page, all else lies under `/console/`.

    `topics` are offered for choosing, in this order; any other name can still be typed. Records may be published to
    those of `publish`; unlisted: perhaps also to topics that are not among `topics`.
    """
    found = {}
    for file in files(__name__).joinpath("static").iterdir():
        content_type = CONTENT_TYPES[file.name.rpartition(".")[2]]
        path = "/" if file.name == "index.html" else f"/console/{file.name}"
        found[path] = (content_type, file.read_bytes())
    content_type, page = found["/"]
    offer = {"topics": topics, "publish": publish, "unlisted": unlisted}
    found["/"] = (content_type, page.replace(_SLOT, _config(offer), 1))
    return found


def _config(offer: dict[str, object]) -> bytes:
    """Encode for a script element: JSON in which nothing can end the element (HTML 4.12.1.3)."""
    return msgspec.json.encode(offer).replace(b"<", b"\\u003c")
