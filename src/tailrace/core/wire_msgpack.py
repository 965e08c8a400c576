"""Commands as MessagePack writes them: keys, values and header values as `bin` (nil: null), partitions as integers.

A map is read as the array of its pairs, so that repeated names are found (a dict would keep the last in silence), and
so that a key is never anything but what is expected: a key that announces an array of 2**32 elements would be
allocated before the message turns out to be short.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from tailrace.core.commands import Command
from tailrace.core.wire import (
    AuthWire,
    Offset,
    Partition,
    PingWire,
    PublishWire,
    SubscribeWire,
    UnsubscribeWire,
    without_repeats,
)

_ELEMENTS: Final = msgspec.msgpack.Decoder(list[Raw])
_STRING: Final = msgspec.msgpack.Decoder(str)
_PARTITION: Final = msgspec.msgpack.Decoder(Partition)
_OFFSET: Final = msgspec.msgpack.Decoder(Offset)


def pairs(data: str | bytes) -> tuple[list[tuple[str, Raw]], None]:
    """The fields of a message, repeated ones too. ValueError, RecursionError: not MessagePack, or not a map."""
    if isinstance(data, str):
        raise ValueError("MessagePack is binary")
    return [(_STRING.decode(name), value) for name, value in _map(data)], None


def _map(data: bytes) -> list[tuple[Raw, Raw]]:
    """The pairs of a map: decoded as what it is but for its header, an array of twice as many elements."""
    size, start = _map_header(data)
    if size > len(data):  # every element has at least a byte
        raise ValueError("Input data was truncated")
    elements = _ELEMENTS.decode(b"\xdd" + (2 * size).to_bytes(4, "big") + data[start:])
    return list(zip(elements[::2], elements[1::2], strict=True))


def _map_header(data: bytes) -> tuple[int, int]:
    """How many pairs, and where they start (MessagePack specification: fixmap, map 16, map 32)."""
    first = data[0] if data else 0
    if first & 0xF0 == 0x80:
        return first & 0x0F, 1
    if first == 0xDE:
        return int.from_bytes(data[1:3], "big"), 3
    if first == 0xDF:
        return int.from_bytes(data[1:5], "big"), 5
    raise ValueError("Expected a map")


class MsgpackSubscribe(SubscribeWire, tag="subscribe"):
    """`subscribe`"""

    keys: Annotated[list[bytes | None], Meta(min_length=1)] | UnsetType = UNSET

    def wanted_keys(self) -> frozenset[bytes | None] | None:
        return None if self.keys is UNSET else frozenset(self.keys)

    def offsets(self, raw: Raw) -> dict[int, int]:
        try:
            pairs = [(_PARTITION.decode(name), _OFFSET.decode(next)) for name, next in _map(bytes(raw))]
        except ValueError as error:
            raise ValueError(f"`from.offsets`: {error}") from None
        return without_repeats(pairs)


class MsgpackPublish(PublishWire, tag="publish"):
    """`publish`"""

    value: bytes | UnsetType | None = UNSET
    encoding: Literal["tombstone"] | UnsetType = UNSET
    key: bytes | None = None
    headers: list[tuple[str, bytes | None]] = []

    def command(self) -> Command:
        return self.publish(self._value(), self.key, tuple(self.headers))

    def _value(self) -> bytes | None:
        if self.encoding is not UNSET:
            if self.value is not UNSET:
                raise ValueError('`value` does not go with `encoding` "tombstone"')
            return None
        if self.value is UNSET:
            raise ValueError("Object missing required field `value`")
        return self.value


WIRES: Final = (MsgpackSubscribe, UnsubscribeWire, MsgpackPublish, AuthWire, PingWire)
