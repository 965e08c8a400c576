"""A whole HTTP/1.1 answer, and a close that lets the client read it.

Rules: one answer a connection, always `Connection: close` with its Content-Length; HEAD gets the head only. Writing
and lingering are bounded in time, so that a client that neither reads nor leaves costs seconds. A client that went
away is no error here.
"""

from http import HTTPStatus

import h11
import msgspec
import trio

from tailrace.http.refusal import Refusal

JSON = "application/json"
HTML = "text/html; charset=utf-8"

_SEND_SECONDS = 5.0
# Closing a socket with unread input sends RST, which can destroy the answer before it was read (RFC 9112 9.6).
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 1024

_COMMON_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Connection", "close"))
# The page and its WebSocket come from this gateway; nothing else is loaded, framed or posted to.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML_HEADERS = (
    ("Content-Security-Policy", _CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


class Answer(msgspec.Struct, frozen=True):
    """status: HTTP status; body: bytes; headers: what comes besides Content-Type, Content-Length and Connection."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(status: int, content: object, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer whose body is `content` in JSON, never cached."""
    return Answer(status, msgspec.json.encode(content), JSON, (*headers, ("Cache-Control", "no-store")))


def refusal_answer(refusal: Refusal) -> Answer:
    """protocol.md section 1: `{"code":"...","message":"..."}` with the refusal's status and headers."""
    return json_answer(refusal.status, {"code": refusal.code, "message": refusal.message}, refusal.headers)


def render(answer: Answer, *, head_only: bool = False) -> bytes:
    """The answer as it goes on the wire; `head_only` for a HEAD request: the same head, no body (RFC 9110 9.3.2)."""
    writer = h11.Connection(h11.SERVER)
    response = h11.Response(
        status_code=answer.status,
        reason=HTTPStatus(answer.status).phrase,
        headers=[*_content_headers(answer), *answer.headers, *_default_headers(answer)],
    )
    head = writer.send(response) or b""
    return head if head_only else head + answer.body


def _content_headers(answer: Answer) -> list[tuple[str, str]]:
    if answer.status == HTTPStatus.NOT_MODIFIED:  # its length would be the one of the 200 (RFC 9110 8.6): left out
        return []
    return [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]


def _default_headers(answer: Answer) -> list[tuple[str, str]]:
    """What the answer does not say itself: of two policies a browser would enforce both."""
    said = {name.lower() for name, _ in answer.headers}
    by_type = _HTML_HEADERS if answer.content_type.startswith("text/html") else ()
    return [(name, value) for name, value in (*by_type, *_COMMON_HEADERS) if name.lower() not in said]


async def send_answer(stream: trio.abc.Stream, answer: Answer, *, head_only: bool = False) -> None:
    """Write the answer and close the stream, in at most 7 s. Raises nothing for what the client or network does."""
    await send_rendered(stream, render(answer, head_only=head_only))


async def send_rendered(stream: trio.abc.Stream, rendered: bytes) -> None:
    """The same for an answer as it goes on the wire."""
    try:
        with trio.move_on_after(_SEND_SECONDS) as sending:
            await stream.send_all(rendered)
        if not sending.cancelled_caught:
            await linger(stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def linger(stream: trio.abc.Stream) -> None:
    """Say that no more comes, then read away what the client still sends until it closes: at most 2 s and 64 KiB.

    Leaves the closing to the caller. TLS cannot be closed by halves: there Content-Length alone tells the end.
    """
    with trio.move_on_after(_LINGER_SECONDS):
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
        await _drain(stream)


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    left = _LINGER_BYTES
    while left > 0:
        data = await stream.receive_some(left)
        if not data:
            return
        left -= len(data)
