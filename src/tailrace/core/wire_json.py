"""Commands as JSON writes them: keys, values and headers as strings, other bytes as base64, partitions as strings.

A published JSON value is not parsed but taken over byte for byte (msgspec.Raw). Names that stand twice in an object
are found, where a plain dict would keep the last in silence. Of what RFC 8259 allows, lone surrogates (`"\\ud800"`)
are refused: they have no UTF-8.
"""

import re
from binascii import a2b_base64
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from tailrace.core.commands import MAX_PARTITION, Command
from tailrace.core.wire import AuthWire, Offset, PingWire, PublishWire, SubscribeWire, UnsubscribeWire, without_repeats

Base64 = Literal["base64"] | UnsetType
HeaderWire = Annotated[list[str | None], Meta(min_length=2, max_length=3)]

_PARTITION: Final = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z")  # one way to write each, so that none stands twice unseen

# Looked for only when msgspec has refused a message: its words for this one are those for a message cut short.
_HIGH: Final = r"\\ud[89ab][0-9a-f]{2}"
_LOW: Final = r"\\ud[c-f][0-9a-f]{2}"
_LONE_SURROGATE: Final = re.compile(
    rf"(?<!\\)(?:\\\\)*(?P<it>{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW})", re.ASCII | re.IGNORECASE
)
_LOOKED_AT: Final = 65536  # characters: 4 ms


class _Name:
    """A name in an object, equal only to itself: as keys of a dict two of the same both stay."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _name(_type: type, value: Any) -> _Name:
    return _Name(value)


_OBJECT: Final = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=_name)
_OFFSETS: Final = msgspec.json.Decoder(dict[_Name, Offset], dec_hook=_name)
_STRING: Final = msgspec.json.Decoder(str)


def pairs(data: str | bytes) -> tuple[list[tuple[str, Raw]], str | None]:
    """The fields of a message, repeated ones too, and what is wrong with a message whose fields can be told all the
    same. ValueError, RecursionError: not UTF-8, not JSON, not an object."""
    text = data.decode() if isinstance(data, bytes) else data  # msgspec looks for UTF-8 only in strings it decodes
    try:
        return _pairs(text), None
    except msgspec.DecodeError:
        if (lone := _LONE_SURROGATE.search(text, 0, _LOOKED_AT)) is None:
            raise
    fault = f"a lone surrogate has no UTF-8: {lone['it']}"
    try:  # JavaScript sends half an emoji so, and waits for the answer by its id
        return _pairs(_LONE_SURROGATE.sub(_replaced, text[:_LOOKED_AT]) + text[_LOOKED_AT:]), fault
    except msgspec.DecodeError:
        raise ValueError(fault) from None


def _pairs(text: str) -> list[tuple[str, Raw]]:
    return [(name.text, raw) for name, raw in _OBJECT.decode(text).items()]


def _replaced(lone: re.Match[str]) -> str:
    return lone[0].removesuffix(lone["it"]) + r"\ufffd"


class JsonSubscribe(SubscribeWire, tag="subscribe"):
    """`subscribe`"""

    keys: Annotated[list[str | None], Meta(min_length=1)] | UnsetType = UNSET
    keys_encoding: Base64 = UNSET

    def wanted_keys(self) -> frozenset[bytes | None] | None:
        if self.keys is UNSET:
            _goes_with("keys_encoding", self.keys_encoding, "keys")
            return None
        return frozenset(_bytes("keys", key, self.keys_encoding) for key in self.keys)

    def offsets(self, raw: Raw) -> dict[int, int]:
        try:
            named = _OFFSETS.decode(raw)
        except msgspec.ValidationError as error:
            raise ValueError(f"`from.offsets`: {error}") from None
        return without_repeats([(_partition(name.text), offset) for name, offset in named.items()])


class JsonPublish(PublishWire, tag="publish"):
    """`publish`"""

    value: Raw | UnsetType = UNSET
    encoding: Literal["json", "text", "base64", "tombstone"] = "json"
    key: str | None = None
    key_encoding: Base64 = UNSET
    headers: list[HeaderWire] = []

    def command(self) -> Command:
        if self.key is None:
            _goes_with("key_encoding", self.key_encoding, "key")
        key = _bytes("key", self.key, self.key_encoding)
        return self.publish(self._value(), key, tuple(_header(header) for header in self.headers))

    def _value(self) -> bytes | None:
        if self.encoding == "tombstone":
            if self.value is not UNSET:
                raise ValueError('`value` does not go with `encoding` "tombstone"')
            return None
        if self.value is UNSET:
            raise ValueError("Object missing required field `value`")
        if self.encoding == "json":
            return bytes(self.value)
        try:
            text = _STRING.decode(self.value)
        except msgspec.ValidationError as error:
            raise ValueError(f"`value`: {error}") from None
        return text.encode() if self.encoding == "text" else _base64("value", text)


def _header(header: list[str | None]) -> tuple[str, bytes | None]:
    name, value, *encoding = header
    if name is None:
        raise ValueError("`headers`: a name is a string")
    if encoding not in ([], ["base64"]):
        raise ValueError('`headers`: a third element is "base64"')
    return name, _bytes("headers", value, "base64" if encoding else UNSET)


def _bytes(field: str, text: str | None, encoding: Base64) -> bytes | None:
    if text is None:
        return None
    return text.encode() if encoding is UNSET else _base64(field, text)


def _base64(field: str, text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError(f"`{field}` is not base64 (RFC 4648, 4, with padding): {error}") from None


def _goes_with(field: str, encoding: Base64, companion: str) -> None:
    if encoding is not UNSET:
        raise ValueError(f"`{field}` goes only with `{companion}`")


def _partition(text: str) -> int:
    if _PARTITION.match(text) is None or int(text) > MAX_PARTITION:
        raise ValueError(f"`from.offsets`: {text[:40]!r} is no partition")
    return int(text)


WIRES: Final = (JsonSubscribe, UnsubscribeWire, JsonPublish, AuthWire, PingWire)
