"""A Kafka record as the payload of a WebSocket message: JSON envelope, msgpack envelope or the bare value.

Rules: whatever bytes a producer wrote, a JSON payload is valid UTF-8 and valid JSON, and nothing here raises because of
them. One payload serves every subscriber, so the `id` is a blank slot of fixed width at the payload's head. A value
is embedded as it stands, whitespace and newlines included: it is checked, never rewritten.

Left out: which values are JSON (`_json`), WebSocket headers (`frame`), writing the id (`_fanout`).
"""

import gc
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from tailrace._fanout import JSON, MSGPACK, VALUE, Stretch, Tail
from tailrace._json import is_json
from tailrace.core.frame import BINARY, TEXT

_quote: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode

_JSON_SLOT: Final = b'{"id":    0,'  # docs/protocol.md: the id is padded to five characters
_MSGPACK_SLOT: Final = b"\xa2id\xcd\x00\x00"  # uint 16, whatever the id
_FIXMAP: Final = tuple(bytes((0x80 | n,)) for n in range(16))
_NOT_AVAILABLE: Final = 0  # librdkafka's RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
_NO_TIMESTAMP: Final = -1  # RecordBatch.NO_TIMESTAMP (KIP-32)
_NO_LIMIT: Final = 1 << 62


class Record(Protocol):
    """What is read of a `confluent_kafka.Message`. This layer knows its shape, not its library."""

    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Any: ...
    def set_headers(self, headers: Any) -> None: ...


class TooLarge(Exception):
    """A bare value above `limits.max_record_bytes`: there is no message in which to say so."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a value of {size_bytes} bytes is above the limit of {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class Encoder:
    """Payloads of one topic's records, each encoded once for all subscribers.

    `value` is the topic's setting (docs/protocol.md, "record"): "auto", "json", "text" or "base64".
    `max_record_bytes` bounds a payload, without its WebSocket header; `None` is no bound. A record above it becomes
    the `gap` message in the same form and with the same slot.

    `not_json` counts values that were not JSON although the topic says "json", `too_large` records above the bound;
    both count encodings, so a record wanted in two formats counts twice where it concerns both.
    """

    def __init__(self, topic: str, value: str = "auto", max_record_bytes: int | None = None) -> None:
        self.not_json = 0
        self.too_large = 0
        self._topic = topic
        self._wants_json = value in ("auto", "json")
        self._expects_json = value == "json"
        self._wants_base64 = value == "base64"
        self._max_bytes = _NO_LIMIT if max_record_bytes is None else max_record_bytes
        self._json_heads: dict[int | None, bytes] = {}
        self._msgpack_heads: dict[int | None, bytes] = {}

    def json(self, record: Record) -> bytes:
        """The payload of a text frame. It begins with `{"id":    0,`: a blank slot of five characters for the id."""
        value = record.value()
        end = b"}"
        if value is None:
            value, end = b"null", b',"tombstone":true}'
        elif len(value) > self._max_bytes:
            return self._json_gap(record)  # an envelope only adds: no need to look inside
        elif not (self._wants_json and is_json(value)):
            value, end = self._as_string(value)
        partition = record.partition()
        key = record.key()
        kind, time = record.timestamp()
        timed = kind != _NOT_AVAILABLE and time != _NO_TIMESTAMP
        try:
            headers = record.headers()
        except SystemError:
            headers = _mended_headers(record)
        payload = b"".join(
            (
                self._json_heads.get(partition) or self._json_head(partition),
                f'{record.offset()},"timestamp":{time if timed else "null"},"key":'.encode(),
                b"null" if key is None else _text(key) or _base64(key) + b',"key_encoding":"base64"',
                b',"headers":' + _quote([_json_header(*header) for header in headers]) if headers else b"",
                b',"value":',
                value,
                end,
            )
        )
        return payload if len(payload) <= self._max_bytes else self._json_gap(record)

    def msgpack(self, record: Record) -> bytes:
        r"""The payload of a binary frame. It begins with a fixmap header and `\xa2id\xcd\0\0`: the slot is the zeros.

        Key, value and header values are `bin` as they stand in Kafka, whatever the topic's setting.
        """
        value = record.value()
        if value is not None and len(value) > self._max_bytes:
            return self._msgpack_gap(record)
        partition = record.partition()
        kind, time = record.timestamp()
        timed = kind != _NOT_AVAILABLE and time != _NO_TIMESTAMP
        try:
            headers = record.headers()
        except SystemError:
            headers = _mended_headers(record)
        payload = b"".join(
            (
                _FIXMAP[8 + bool(headers) + (value is None)],
                self._msgpack_heads.get(partition) or self._msgpack_head(partition),
                _pack(record.offset()),
                b"\xa9timestamp",
                _pack(time if timed else None),
                b"\xa3key",
                _pack(record.key()),
                b"\xa7headers" + _pack(headers) if headers else b"",
                b"\xa5value",
                _pack(value),
                b"\xa9tombstone\xc3" if value is None else b"",
            )
        )
        return payload if len(payload) <= self._max_bytes else self._msgpack_gap(record)

    def value(self, record: Record) -> tuple[int, bytes]:
        """Opcode and payload of a `format=value` frame: text when the value is UTF-8, else binary.

        A tombstone is an empty binary frame. Raises TooLarge.
        """
        value = record.value()
        if value is None:
            return BINARY, b""
        if len(value) > self._max_bytes:
            self.too_large += 1
            raise TooLarge(len(value), self._max_bytes)
        return (TEXT if value.isascii() or _is_utf8(value) else BINARY), value

    def append_json(self, into: Tail | Stretch, records: list[Any], at: int) -> int:
        """Compiled: `json` and `append` of the records from `at` on, up to one that is not the usual kind, or that a
        stretch does not take.

        The place of that one, which is for the caller to do; or how many records there are.
        """
        if not self._wants_json:
            return at
        return into.append_json(records, at, self._json_heads, self._max_bytes, _mended_headers)

    def append_values(self, into: Tail | Stretch, records: list[Any], at: int) -> int:
        """As `append_json`, of `value`."""
        return into.append_values(records, at, self._max_bytes)

    def _as_string(self, value: bytes) -> tuple[bytes, bytes]:
        """A value that is not embedded, as a JSON string, and how its envelope ends."""
        self.not_json += self._expects_json
        text = None if self._wants_base64 else _text(value)
        if text is None:
            return _base64(value), b',"encoding":"base64"}'
        return text, b',"encoding":"text"}'

    def _json_head(self, partition: int | None) -> bytes:
        fields = _quote({"type": "record", "topic": self._topic, "partition": partition})
        head = self._json_heads[partition] = _JSON_SLOT + fields[1:-1] + b',"offset":'
        return head

    def _msgpack_head(self, partition: int | None) -> bytes:
        fields = _pack({"type": "record", "topic": self._topic, "partition": partition})
        head = self._msgpack_heads[partition] = _MSGPACK_SLOT + fields[1:] + b"\xa6offset"
        return head

    def _json_gap(self, record: Record) -> bytes:
        return _JSON_SLOT + _quote(self._gap(record))[1:]

    def _msgpack_gap(self, record: Record) -> bytes:
        fields = self._gap(record)
        return _FIXMAP[1 + len(fields)] + _MSGPACK_SLOT + _pack(fields)[1:]

    def _gap(self, record: Record) -> dict[str, str | int | None]:
        self.too_large += 1
        offset = record.offset() or 0
        place = {"topic": self._topic, "partition": record.partition()}
        return {"type": "gap"} | place | {"from": offset, "to": offset + 1, "next": offset + 1, "reason": "too_large"}


ENCODE: Final[dict[int, Callable[[Encoder, Record], tuple[int, bytes]]]] = {
    JSON: lambda encoder, record: (TEXT, encoder.json(record)),
    MSGPACK: lambda encoder, record: (BINARY, encoder.msgpack(record)),
    VALUE: Encoder.value,
}
"""By format of `_fanout`: a record's opcode and payload. Raises TooLarge for VALUE."""


def _is_utf8(data: bytes) -> bool:
    """RFC 3629, so no surrogates and no overlong forms: what a text frame must be (RFC 6455, 8.1)."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(data: bytes) -> bytes | None:
    """`data` as a JSON string, or None when it is not UTF-8."""
    try:
        return _quote(data.decode())
    except UnicodeDecodeError:
        return None


def _base64(data: bytes) -> bytes:
    return b'"' + b64encode(data) + b'"'


def _json_header(name: str, value: bytes | None) -> tuple[str | bytes | None, ...]:
    try:
        return name, None if value is None else value.decode()
    except UnicodeDecodeError:
        return name, value, "base64"  # as which msgspec writes bytes


def _mended_headers(record: Record) -> list[tuple[str, bytes | None]]:
    """Headers of which a name is not UTF-8: it becomes U+FFFD, since the client library has no way to its bytes.

    confluent_kafka 2.16 raises SystemError for such a record once, and from then on returns a list with a NULL in it,
    which kills the process when it is touched. So whoever asks first must put a whole list in its place.
    """
    # The garbage collector steps over a NULL, so a pair that has lost its name refers to one object only.
    headers = [(h[0] if len(gc.get_referents(h)) == 2 else "\ufffd", h[1]) for h in record.headers()]
    record.set_headers(headers)
    return headers
