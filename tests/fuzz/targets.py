"""What is fed with bytes of strangers, and what must hold whatever they are. Each target raises when it does not.

    head        a request's head, in pieces: a Head, or a named refusal, and the same one however it is cut
    target      the URL of a `/topics` stream: a request, or a CommandError
    command     a message on `/ws`, JSON and MessagePack: actions that can be encoded, never an exception
    frames      the guard, and behind it wsproto: what the guard lets pass ends in wsproto's own named errors at most
    value       a record's value: the compiled rule of JSON and two independent parsers agree

The first byte of an input chooses how the rest is cut or read, so that one corpus of files serves all of that.
"""

import functools
import json
from collections.abc import Callable

import msgspec
import trio
from tests.plain_json import by_json, by_msgspec
from wsproto import Connection, ConnectionType
from wsproto.utilities import ProtocolError

from tailrace._json import is_json
from tailrace.config import Topic
from tailrace.core.access import Access
from tailrace.core.actions import Open, Send
from tailrace.core.exposure import Exposure
from tailrace.core.protocol import JSON, MSGPACK, parse_stream_target
from tailrace.core.session import Session, Terms
from tailrace.errors import CommandError, ErrorCode
from tailrace.http.head import Head, NoRequest, read_head
from tailrace.http.refusal import Refused
from tailrace.http.upgrade import choose_subprotocol, upgrade
from tailrace.websocket.guard import Guard, Violation

TERMS = Terms(Access(Exposure({"orders": Topic(publish=True)})), 4)


class Pieces(trio.abc.ReceiveStream):
    """`data` in pieces of that size, then the end."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = min(self._size, max_bytes or self._size)
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    async def aclose(self) -> None: ...


def head(data: bytes) -> None:
    size = 1 + data[0] if data else 1
    whole, cut = (trio.run(_read, data[1:], pieces) for pieces in (4096, size))
    if len(data) < 4096:  # how much comes behind the head is how much was read with it
        assert whole[:2] == cut[:2], (whole, cut)
    found = whole[2]
    if found is not None:
        try:
            asked = upgrade(found)
            choose_subprotocol(asked.offers, ("tailrace.v1.json",))
            assert asked.answer(None).count(b"\r\n\r\n") == 1
        except Refused:
            pass


async def _read(data: bytes, size: int) -> tuple[str, object, Head | None]:
    try:
        found = await read_head(Pieces(data, size), None)
    except Refused as refused:
        return ("refused", refused.refusal.code, None)
    except NoRequest as nobody:
        return ("nobody", nobody.reason, None)
    assert found.path.startswith("/")
    return ("head", (found.method, found.target, found.headers), found)


def target(data: bytes) -> None:
    written = data.decode("latin-1")  # as h11 gives it
    try:
        request = parse_stream_target(f"/topics/{written}")
    except CommandError as refused:
        error = refused
    else:
        assert request.subscribe().topic == request.topic
        return
    assert error.code in (ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_TOPIC, ErrorCode.BAD_POSITION)
    assert len(str(error)) <= 1000


def command(data: bytes) -> None:
    packed, body = bool(data[:1] and data[0] & 1), data[1:]
    codec = MSGPACK if packed else JSON
    session = Session(codec, TERMS)
    for part in body.split(b"\x1e", 8):  # several messages, in one conversation
        message = part if packed else part.decode("utf-8", "replace")
        for action in session.receive(message):
            if isinstance(action, Send):
                encoded = codec.encode(action.message)
                (msgspec.msgpack if packed else msgspec.json).decode(encoded)
            elif isinstance(action, Open):
                for answer in session.refused(action.ticket, ErrorCode.UNKNOWN_TOPIC, "none"):
                    assert isinstance(answer, Send)


def frames(data: bytes) -> None:
    """Cut anyhow, the guard finds the same; and wsproto raises nothing unnamed for what it lets pass."""
    size, body = 1 + (data[0] if data else 0), data[1:]
    assert _guarded(body, size) == _guarded(body, max(1, len(body)))
    guard, parser = Guard(1000, 8), Connection(ConnectionType.SERVER)
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        try:
            guard.feed(piece)
        except Violation:
            return
        assert len(guard._partial) <= 13
        try:
            parser.receive_data(piece)
            for _ in parser.events():
                pass
        except ProtocolError:
            return
        except (trio.BrokenResourceError, ValueError) as error:
            raise AssertionError(f"wsproto raises {error!r}") from error


def _guarded(body: bytes, size: int) -> tuple[int, int | None]:
    guard = Guard(1000, 8)
    try:
        for at in range(0, len(body), size):
            guard.feed(body[at : at + size])
    except Violation as broken:
        return (guard.frames, broken.disconnect.code)
    return (guard.frames, None)


def value(data: bytes) -> None:
    accepted = is_json(data)
    assert accepted == by_msgspec(data) == by_json(data)
    if accepted:
        json.loads(b'{"value":' + data + b"}", parse_int=functools.partial(len))


TARGETS: dict[str, Callable[[bytes], None]] = {each.__name__: each for each in (head, target, command, frames, value)}
