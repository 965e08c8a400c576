"""The client's side of a WebSocket, for our own clients: connect, take messages one by one, learn how it ended.

Straight on wsproto: there is no task beside the caller's, so a message is taken off the socket only when it is wanted,
and whoever is slow slows the gateway down. (trio-websocket 0.12.2, as a client, waits for ever when a server takes the
connection and says nothing: its timeout ends the wait, but not the task that reads.)

Rules: every ending is one of three exceptions; a peer that says nothing is asked with a ping, and given up when it
still does. Left out: compression, proxies, redirects.
"""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, TypeVar
from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    RejectData,
    Request,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tailrace.units import whole_number

T = TypeVar("T")

CONNECT_SECONDS: float = 10.0
SILENCE_SECONDS: float = 35.0  # the gateway pings every 25 s: after that nobody may be there
PONG_SECONDS: float = 10.0
LEAVE_SECONDS: float = 1.0
_READ_BYTES: Final = 65536
_REASON_BYTES: Final = 4096  # of a refusal's body; a gateway's is shorter
GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class Unreachable(Exception):
    """No WebSocket came about; the text says why."""


class Refused(Exception):
    """An HTTP answer instead. retry_seconds: its Retry-After, None without one."""

    def __init__(self, status: int, message: str, retry_seconds: float | None) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message, self.retry_seconds = status, message, retry_seconds


class Lost(Exception):
    """It was open, and is not any more. code: of the close frame, 1006 without one (RFC 6455, 7.1.5)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Dialled:
    """A WebSocket, open or being opened. One task uses it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._events: Iterator[Event] = iter(())
        self._parts: list[str | bytes] = []

    async def receive(self) -> str | bytes:
        """The next message; raises Lost."""
        while True:
            event = await self._event()
            if isinstance(event, Message):
                self._parts.append(event.data)
                if event.message_finished:
                    return self._message()
            elif isinstance(event, Ping):
                await self._say(event.response())
            elif isinstance(event, CloseConnection):
                with contextlib.suppress(Lost):
                    await self._say(event.response())
                raise Lost(event.code, event.reason or "")

    async def send(self, text: str) -> None:
        """Raises Lost."""
        await self._say(Message(text))

    async def open(self, host: str, target: str, subprotocol: str, token: str | None = None) -> None:
        """The handshake; raises Refused, and Lost when it breaks off."""
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode("ascii"))]
        await self._say(Request(host=host, target=target, subprotocols=[subprotocol], extra_headers=headers))
        event = await self._event()
        if isinstance(event, RejectConnection):
            raise await self._refusal(event)
        if not isinstance(event, AcceptConnection):
            raise Lost(1006, "this is no WebSocket")

    async def leave(self) -> None:
        """The closing handshake; a peer that is gone already is no error."""
        with contextlib.suppress(Lost, LocalProtocolError):
            await self._say(CloseConnection(code=1000))
            while True:
                await self.receive()

    async def _refusal(self, rejected: RejectConnection) -> Refused:
        body = b""
        with contextlib.suppress(Lost):
            while rejected.has_body and len(body) < _REASON_BYTES:
                data = await self._event()
                assert isinstance(data, RejectData)
                body += data.data
                if data.body_finished:
                    break
        headers = {name.lower(): value for name, value in rejected.headers}
        retry = headers.get(b"retry-after", b"").decode("latin-1")
        return Refused(rejected.status_code, words(body), whole_number(retry))

    def _message(self) -> str | bytes:
        parts, self._parts = self._parts, []
        if len(parts) == 1:
            return parts[0]
        return (b"" if isinstance(parts[0], bytes) else "").join(parts)  # type: ignore[arg-type]  # of one type all

    async def _event(self) -> Event:
        """The next; reads as often as it takes."""
        try:
            while True:
                for event in self._events:
                    return event
                self._protocol.receive_data(await self._data())
                self._events = self._protocol.events()
        except RemoteProtocolError as error:
            raise Lost(1006, str(error)) from None

    async def _data(self) -> bytes:
        with trio.move_on_after(SILENCE_SECONDS):
            return await self._read()
        await self._say(Ping())
        with trio.move_on_after(PONG_SECONDS):
            return await self._read()
        raise Lost(1006, "no answer")

    async def _read(self) -> bytes:
        return await receive(self._stream, _READ_BYTES)

    async def _say(self, event: Event) -> None:
        await send(self._stream, self._protocol.send(event))


@contextlib.asynccontextmanager
async def dial(url: str, subprotocol: str, token: str | None = None) -> AsyncIterator[Dialled]:
    """Connect, and leave with 1000 at the end of the block. Raises Unreachable and Refused. token: for the gateway,
    of characters that a header may have (RFC 6750, 2.1)."""

    async def shake(stream: trio.abc.Stream) -> Dialled:
        connection = Dialled(stream)
        try:
            await connection.open(*origin_form(url), subprotocol, token)
        except Lost as lost:
            raise Unreachable(lost.reason or "the connection broke off") from None
        return connection

    async with connected(url, shake) as connection:
        try:
            yield connection
        finally:
            with trio.move_on_after(LEAVE_SECONDS, shield=True):
                await connection.leave()


@contextlib.asynccontextmanager
async def connected(url: str, shake: Callable[[trio.abc.Stream], Awaitable[T]]) -> AsyncIterator[T]:
    """What `shake` makes of the way to a URL's host, in time. The way ends with the block. Raises Unreachable, and what
    `shake` raises."""
    stream: trio.abc.Stream | None = None
    try:
        with trio.move_on_after(CONNECT_SECONDS) as connecting:
            stream = await connect(url)
            shaken = await shake(stream)
        if connecting.cancelled_caught:
            raise Unreachable(f"no answer in {CONNECT_SECONDS:.0f} s")
        yield shaken
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def connect(url: str) -> trio.abc.Stream:
    """The bytes' way to a URL's host, through TLS where it says so. Raises Unreachable."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    try:
        if not secure:
            return await trio.open_tcp_stream(host, port)
        context = ssl.create_default_context()
        stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context, https_compatible=True)
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream
    except (OSError, trio.BrokenResourceError) as error:
        raise Unreachable(_innermost(error)) from None


def origin_form(url: str) -> tuple[str, str]:
    """The host, and the target that it is asked for (RFC 9112, 3.2.1)."""
    parts = urlsplit(url)
    return parts.netloc, f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


async def receive(stream: trio.abc.Stream, max_bytes: int) -> bytes:
    """What has come, at least a byte. Raises Lost."""
    try:
        data = bytes(await stream.receive_some(max_bytes))
    except GONE:
        data = b""
    if not data:
        raise Lost(1006, "")
    return data


async def send(stream: trio.abc.Stream, data: bytes) -> None:
    """Raises Lost."""
    try:
        await stream.send_all(data)
    except GONE:
        raise Lost(1006, "") from None


def _innermost(error: BaseException) -> str:
    """Of a name's several addresses trio reports all; the first says enough."""
    while error.__cause__ is not None:
        error = error.__cause__
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def words(body: bytes) -> str:
    """Of a gateway's answer, `{"code": ..., "message": ...}`, or the beginning of whatever it is."""
    try:
        answer = json.loads(body)
        return f"{answer['code']}: {answer['message']}"
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200].strip() or "no reason was given"
