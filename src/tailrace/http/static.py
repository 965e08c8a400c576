"""The console page, served from memory. Pure.

Paths match exactly, as sent: nothing is decoded, joined or looked up on disk, so there is nothing to climb out of.
A browser keeps a file but asks each time (`no-cache`), and gets 304 while it is unchanged: no stale page after an
upgrade of the gateway.
"""

import hashlib
from collections.abc import Mapping

from tailrace.http.answers import Answer
from tailrace.http.head import Head

Headers = tuple[tuple[str, str], ...]


class StaticFiles:
    """Files by path: `{"/": ("text/html; charset=utf-8", b"...")}`. headers: sent with every one of them."""

    __slots__ = ("_answers",)

    def __init__(self, files: Mapping[str, tuple[str, bytes]], headers: Headers = ()) -> None:
        self._answers = {path: _answer(content_type, body, headers) for path, (content_type, body) in files.items()}

    def answer(self, head: Head) -> Answer | None:
        """The file at the head's path, 304 when the client has it (RFC 9110 13.1.2), None when there is none."""
        found = self._answers.get(head.path) if head.reads else None
        if found is not None and _has(head, found):
            return Answer(304, b"", found.content_type, found.headers)
        return found


def _answer(content_type: str, body: bytes, headers: Headers) -> Answer:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Answer(200, body, content_type, (("ETag", tag), ("Cache-Control", "no-cache"), *headers))


def _has(head: Head, found: Answer) -> bool:
    tags = [tag.removeprefix("W/") for tag in head.tokens(b"if-none-match")]
    return "*" in tags or found.headers[0][1] in tags
