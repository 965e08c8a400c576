"""What to follow, from a URL and options, and how the next connection asks for it: by its address (`/topics/orders`)
or by a command (`/ws`).

What is wrong with it is a ValueError that a person can read. The gateway's own parser reads the request, so that what
is refused here is what it would refuse; parameters it does not know (a token) are left to the gateway.
"""

from binascii import b2a_base64
from typing import Any, Final, assert_never
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from tailrace.core.protocol import (
    Earliest,
    Format,
    From,
    Last,
    Latest,
    Offsets,
    Slow,
    Snapshot,
    StreamRequest,
    Timestamp,
    parse_stream_target,
)
from tailrace.core.stream_target import PATH
from tailrace.errors import CommandError

ID: Final = 1
"""Of the one subscription on a `/ws` connection."""

_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_OURS: Final = frozenset({"from", "key", "slow", "format"})


class Target(Struct, frozen=True):
    """address: without its query. query: its parameters as written, without `from`. by_command: it is a `/ws`."""

    address: str
    query: tuple[str, ...]
    request: StreamRequest
    by_command: bool

    def url(self, start: From) -> str:
        """The address of the next connection, which is to begin there."""
        asked = () if self.by_command else (f"from={quote(write_from(start), safe=':=,')}",)
        query = "&".join([*self.query, *asked])
        return f"{self.address}?{query}" if query else self.address

    def command(self, start: From) -> str | None:
        """The subscribe to send after the welcome; None: the address has asked already."""
        if not self.by_command:
            return None
        command: dict[str, Any] = {"type": "subscribe", "id": ID, "topic": self.request.topic, "from": _json(start)}
        command |= _keys(self.request.keys)
        if self.request.slow is not Slow.WAIT:
            command["slow"] = self.request.slow
        return msgspec.json.encode(command).decode()


def read_target(
    url: str, topic: str | None = None, keys: list[str] | None = None, from_: str | None = None, slow: str | None = None
) -> Target:
    """The target of a command line. topic: needed for a `/ws`, and only there. from_, slow: as in a `/topics` URL."""
    parts = urlsplit(url)
    parts = parts._replace(path=_escaped(parts.path), query=_escaped(parts.query))
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.username is not None or parts.port == 0:
        raise ValueError(f"{url!r} is not a gateway's URL, like ws://localhost:8080/topics/orders")
    path = "/ws" if parts.path in ("", "/") and topic is not None else parts.path
    address = f"{_SCHEMES[parts.scheme]}://{parts.netloc}{path}"
    written, options = _pairs(parts.query), _options(keys, from_, slow)
    if path.endswith("/ws"):
        if topic is None:
            raise ValueError("--topic says which topic to follow on a /ws URL")
        return Target(address, tuple(written), _read(f"{PATH}{quote(topic, safe='')}", options), by_command=True)
    if PATH not in path:
        raise ValueError(f"{url!r} leads neither to /ws nor to /topics/TOPIC")
    if topic is not None:
        raise ValueError("--topic goes only with a /ws URL; this one names its topic")
    query = written + options
    kept = tuple(pair for pair in query if not pair.startswith("from="))
    return Target(address, kept, _read(path[path.rindex(PATH) :], query), by_command=False)


def write_from(start: From) -> str:
    """As `--from` and a `/topics` URL take it, not yet percent-encoded. A topic's id has no place there."""
    match start:
        case Latest():
            return "latest"
        case Earliest():
            return "earliest"
        case Snapshot():
            return "snapshot"
        case Offsets():
            return "offsets:" + ",".join(f"{partition}={next}" for partition, next in sorted(start.offsets.items()))
        case Timestamp():
            return f"timestamp:{start.ms}"
        case Last():
            return f"last:{start.count}"
    assert_never(start)


def _escaped(written: str) -> str:
    """What a person writes beyond ASCII, percent-encoded as browsers do; what is escaped already stays."""
    return quote(written.encode(errors="surrogateescape"), safe=_ASCII)


def _options(keys: list[str] | None, from_: str | None, slow: str | None) -> list[str]:
    """As in a query. What a command line holds of bytes that are no UTF-8 are lone surrogates (PEP 383)."""
    named = [("from", from_), ("slow", slow), *(("key", key) for key in keys or [])]
    return [
        f"{name}={quote(text.encode(errors='surrogateescape'), safe='')}" for name, text in named if text is not None
    ]


def _pairs(query: str) -> list[str]:
    return [pair for pair in query.split("&") if pair]


def _read(path: str, pairs: list[str]) -> StreamRequest:
    others = frozenset(pair.partition("=")[0] for pair in pairs) - _OURS
    try:
        request = parse_stream_target(f"{path}?{'&'.join(pairs)}", others)
    except CommandError as error:
        raise ValueError(error.message) from None
    if request.format is Format.VALUE:
        raise ValueError("format=value carries no offsets, without which nothing can be resumed")
    return request


def _json(start: From) -> object:
    match start:
        case Latest() | Earliest() | Snapshot():
            return write_from(start)
        case Offsets():
            return {"offsets": start.offsets} | ({} if start.topic_id is None else {"topic_id": start.topic_id})
        case Timestamp():
            return {"timestamp": start.ms}
        case Last():
            return {"last": start.count}
    assert_never(start)


def _keys(keys: frozenset[bytes | None] | None) -> dict[str, object]:
    """The fields for these keys; base64 when one of them is no UTF-8."""
    if keys is None:
        return {}
    named = sorted(key for key in keys if key is not None)
    try:
        return {"keys": [key.decode() for key in named]}
    except UnicodeDecodeError:
        return {"keys": [b2a_base64(key, newline=False).decode() for key in named], "keys_encoding": "base64"}
