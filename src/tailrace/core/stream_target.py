"""The request target of a `/topics/{topic}` stream, read into what is wanted (docs/protocol.md, section 1).

    /topics/orders?from=offsets:0=124,1=88&key=A&key=B%FF&slow=skip&format=value

A topic's name that no topic can have is `unknown_topic` (answered 404), everything else at fault `bad_request` (400).
A key is read as HTML forms write it (`+` is a space) and may be any bytes; in `from` a `+` stays one, being part of a
time's offset. What the handshake wants of the query (a token) is named by the caller and left alone.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from tailrace.core.commands import (
    LATEST,
    MAX_OFFSET,
    MAX_PARTITION,
    STREAM_ID,
    Earliest,
    From,
    Last,
    Offsets,
    Slow,
    Snapshot,
    Subscribe,
    Timestamp,
    check_topic_name,
)
from tailrace.core.wire import epoch_ms, without_repeats
from tailrace.errors import CommandError, ErrorCode
from tailrace.units import whole_number

PATH: Final = "/topics/"

_BAD_ESCAPE: Final = re.compile("%(?![0-9a-fA-F]{2})")

_Choice = TypeVar("_Choice", bound=StrEnum)


class Format(StrEnum):
    """What a stream sends: the messages of the protocol, or records' values as they are."""

    RECORD = "record"
    VALUE = "value"


class StreamRequest(Struct, frozen=True):
    """What a `/topics` client wants; the meaning of the fields is Subscribe's."""

    topic: str
    from_: From = LATEST
    keys: frozenset[bytes | None] | None = None
    slow: Slow = Slow.WAIT
    format: Format = Format.RECORD

    def subscribe(self) -> Subscribe:
        """The same as a command, with the id of a stream."""
        return Subscribe(STREAM_ID, self.topic, self.from_, self.keys, self.slow)


def parse_stream_target(target: str, ignored: frozenset[str] = frozenset()) -> StreamRequest:
    """The request in `target` (origin-form, RFC 9112, 3.2.1); `ignored`: parameters that are somebody else's."""
    path, _, query = target.partition("?")
    try:
        topic = check_topic_name(_text("the path", path.removeprefix(PATH)))
        return _request(topic, _parameters(query, ignored))
    except ValueError as error:
        raise CommandError(ErrorCode.BAD_REQUEST, str(error)[:200]) from None


def _parameters(query: str, ignored: frozenset[str]) -> dict[str, list[str]]:
    """{name: its values, still as written}; every name is known, and only `key` may stand more than once."""
    parameters: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        parameters.setdefault(_text("the query", name), []).append(value)
    for name, values in parameters.items():
        if name not in _KNOWN and name not in ignored:
            raise ValueError(f"there is no parameter `{name}`; known are {', '.join(_KNOWN)}")
        if len(values) > 1 and name != "key" and name not in ignored:
            raise ValueError(f"`{name}` stands more than once")
    return parameters


def _request(topic: str, parameters: dict[str, list[str]]) -> StreamRequest:
    def last(name: str, default: str) -> str:
        return _text(name, parameters[name][0]) if name in parameters else default

    keys = parameters.get("key")
    return StreamRequest(
        topic,
        _from(last("from", "latest")),
        None if keys is None else frozenset(_unescaped("key", key.replace("+", " ")) for key in keys),
        _one_of(Slow, "slow", last("slow", Slow.WAIT)),
        _one_of(Format, "format", last("format", Format.RECORD)),
    )


def _from(text: str) -> From:
    form, colon, rest = text.partition(":")
    if colon:
        if form in _WITH_REST:
            return _WITH_REST[form](rest)
    elif form in _ALONE:
        return _ALONE[form]
    raise ValueError("`from` is one of latest, earliest, snapshot, last:N, timestamp:T and offsets:P=N,...")


def _offsets(text: str) -> Offsets:
    pairs = []
    for pair in filter(None, text.split(",")):
        partition, _, offset = pair.partition("=")
        pairs.append((_number("a partition", partition, MAX_PARTITION), _number("an offset", offset, MAX_OFFSET)))
    return Offsets(without_repeats(pairs))


def _timestamp(text: str) -> Timestamp:
    return Timestamp(_number("a time", text, MAX_OFFSET) if whole_number(text) is not None else epoch_ms(text))


def _last(text: str) -> Last:
    return Last(_number("a count", text, MAX_OFFSET))


_KNOWN: Final = ("from", "key", "slow", "format")
_ALONE: Final[dict[str, From]] = {"latest": LATEST, "earliest": Earliest(), "snapshot": Snapshot()}
_WITH_REST: Final[dict[str, Callable[[str], From]]] = {"last": _last, "timestamp": _timestamp, "offsets": _offsets}


def _number(what: str, text: str, highest: int) -> int:
    number = whole_number(text)
    if number is None or number > highest:
        raise ValueError(f"`from`: {text[:40]!r} is not {what} (0 to {highest})")
    return number


def _one_of(choices: type[_Choice], name: str, text: str) -> _Choice:
    if text not in choices.__members__.values():
        raise ValueError(f"`{name}` is one of {', '.join(choices)}")
    return choices(text)


def _text(name: str, escaped: str) -> str:
    """ValueError when it is not percent-encoded UTF-8."""
    try:
        return _unescaped(name, escaped).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None


def _unescaped(name: str, escaped: str) -> bytes:
    if _BAD_ESCAPE.search(escaped):
        raise ValueError(f"{name} has a % without two hexadecimal digits")
    return unquote_to_bytes(escaped)
