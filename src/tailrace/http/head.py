"""One request head off a stream, within a bound and a deadline, and the stream handed on afterwards.

Rules: at most `HEAD_LIMIT_BYTES` are ever read, so that a stranger costs that much and `handshake_timeout`, no more;
a head that is wrong is a named refusal, a client that says nothing gets nothing (`NoRequest`). Parsing is h11's, but
for the usual head. What was read behind the head is kept. Left out: request bodies, and what a method means to a path.
"""

import re
from typing import Any, Literal

import h11
import msgspec
import trio

from tailrace.http.refusal import HEAD_TOO_LARGE, HTTP_VERSION, MALFORMED, Refused

# nginx takes 4 x 8 KiB, Node 16 KiB. A token of 8 KiB beside a browser's usual 2 KiB of cookies fits.
HEAD_LIMIT_BYTES = 16 * 1024
_CHUNK_BYTES = 4096
# The usual head, of browsers and WebSocket libraries. h11 sees all others; it would read these alike, in 90 us, not 15.
_USUAL = re.compile(
    rb"GET (/[!-~]*) HTTP/1\.1\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+: ?[!-~\x80-\xff]+(?: [!-~\x80-\xff]+)*\r\n)+)\r\n"
)
_UNUSUAL = frozenset((b"content-length", b"transfer-encoding", b"expect"))


class NoRequest(Exception):
    """No head came, so there is nobody to answer: close. `reason` tells how it ended."""

    def __init__(self, reason: Literal["timeout", "eof", "broken"]) -> None:
        super().__init__(reason)
        self.reason = reason


class Head(msgspec.Struct, frozen=True):
    """A request head.

    target: origin form, `/path?query`, as sent (not percent-decoded); path: `target` before the `?`.
    headers: (name in lower case, value) in the order sent. behind: the bytes that came after the head.
    """

    method: str
    target: str
    path: str
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    behind: bytes

    @property
    def reads(self) -> bool:
        """It asks to be told something, and for nothing to be done."""
        return self.method in ("GET", "HEAD")

    def values(self, name: bytes) -> list[str]:
        """Every value of the header, in order; `name` in lower case. Bytes above 127 come as Latin-1 (RFC 9110 5.5)."""
        found = []
        for key, value in self.headers:
            if key == name:
                found.append(value.decode("latin-1"))
        return found

    def value(self, name: bytes) -> str | None:
        """The header's first value, None when it is absent."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def tokens(self, name: bytes) -> list[str]:
        """The members of a comma-separated header, over all its lines (RFC 9110 5.6.1), empty ones left out."""
        found: list[str] = []
        for value in self.values(name):
            found += filter(None, map(str.strip, value.split(",")))
        return found

    def has(self, name: bytes, token: str) -> bool:
        """Whether `token`, in lower case, is such a member, in whatever case it was sent."""
        for value in self.values(name):
            for member in value.split(","):
                if member.strip().lower() == token:
                    return True
        return False


async def read_head(stream: trio.abc.ReceiveStream, timeout: float | None, limit: int = HEAD_LIMIT_BYTES) -> Head:
    """Read one request head; `timeout` seconds for all of it (None: no end), `limit` bytes with what comes behind it.

    Raises Refused (MALFORMED, HEAD_TOO_LARGE, HTTP_VERSION) for a head to be answered, NoRequest when the client left,
    or said too little in time.
    """
    try:
        if timeout is None:  # the stream keeps its own time: no scope for nothing
            return await _read_head(stream, limit)
        with trio.move_on_after(timeout):
            return await _read_head(stream, limit)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise NoRequest("broken") from None
    raise NoRequest("timeout")


async def _read_head(stream: trio.abc.ReceiveStream, limit: int) -> Head:
    chunk = await stream.receive_some(min(_CHUNK_BYTES, limit))
    head = usual_head(bytes(chunk))
    return await _read_unusual(stream, chunk, limit) if head is None else head


async def _read_unusual(stream: trio.abc.ReceiveStream, chunk: bytes | bytearray, limit: int) -> Head:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
    read = 0
    while True:
        if not chunk:
            raise NoRequest("eof")
        read += len(chunk)
        parser.receive_data(bytes(chunk))
        request = _next_request(parser)
        if request is not None:
            return _known(request, parser.trailing_data[0])
        if read >= limit:
            raise Refused(HEAD_TOO_LARGE)
        chunk = await stream.receive_some(min(_CHUNK_BYTES, limit - read))


def usual_head(data: bytes) -> Head | None:
    """The head at the beginning of `data` when it is all there and of the usual kind, as h11 would read it."""
    match = _USUAL.match(data)
    if match is None:
        return None
    headers, hosts = [], 0
    for line in match[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _UNUSUAL:
            return None
        hosts += name == b"host"
        headers.append((name, value.lstrip(b" ")))
    if hosts != 1:
        return None
    target = match[1].decode("ascii")
    return Head("GET", target, target.partition("?")[0], "1.1", tuple(headers), data[match.end() :])


def _next_request(parser: h11.Connection) -> h11.Request | None:
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError:
        # h11's text may quote the client's bytes, a token among them: it goes nowhere.
        raise Refused(MALFORMED) from None
    return event if isinstance(event, h11.Request) else None


def _known(request: h11.Request, behind: bytes) -> Head:
    method, version = request.method.decode("ascii"), request.http_version.decode("ascii")
    if not version.startswith("1."):
        raise Refused(HTTP_VERSION)
    target = origin_form(request.target.decode("ascii"))
    path = target.partition("?")[0]
    return Head(method, target, path, version, tuple(request.headers), behind)


def origin_form(target: str) -> str:
    """`/path?query` of a request target; a server must take the absolute form too (RFC 9112 3.2.2)."""
    if target.startswith("/"):
        return target
    _, scheme, rest = target.partition("://")
    if not scheme:
        raise Refused(MALFORMED)
    start = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    tail = rest[start:]
    return tail if tail.startswith("/") else "/" + tail


class Replay(trio.abc.Stream):
    """A stream whose first bytes were already read: gives `behind`, then what `stream` gives. Everything else is
    `stream`'s. Costs one slot once the bytes are read."""

    __slots__ = ("_behind", "_stream")

    def __init__(self, stream: trio.abc.Stream, behind: bytes) -> None:
        self._stream = stream
        self._behind = behind

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._behind:
            await trio.lowlevel.checkpoint()
            data = self._behind if max_bytes is None else self._behind[:max_bytes]
            self._behind = self._behind[len(data) :]
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._behind = b""
        await self._stream.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
