"""Commands as they are written in both subprotocols: the part of the grammar that JSON and MessagePack share.

A wire struct says which fields a command has and of which type; unknown ones are refused with the field's name.
`command()` turns it into the command, raising ValueError where what is wrong shows only then. Where the subprotocols
differ (keys, values, headers, maps of partitions) the struct leaves it to its two subclasses in wire_json and
wire_msgpack.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from tailrace.core import commands
from tailrace.core.commands import MAX_ID, MAX_OFFSET, MAX_PARTITION, Command, From, Slow, check_topic_name

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Partition = Annotated[int, Meta(ge=0, le=MAX_PARTITION)]
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET)]
Interval = Annotated[int, Meta(ge=0, le=86_400_000)]  # a day; more is surely a mistake of units

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FINER: Final = re.compile(r"(?<=\.[0-9]{3})[0-9]+")  # of a time, what is finer than a millisecond
_BY_NAME: Final[dict[str, From]] = {
    "latest": commands.LATEST,
    "earliest": commands.Earliest(),
    "snapshot": commands.Snapshot(),
}


class Start(Struct, forbid_unknown_fields=True):
    """`from` as an object: exactly one of three, and `topic_id` beside `offsets`."""

    offsets: Raw | UnsetType = UNSET
    topic_id: str | UnsetType | None = UNSET
    timestamp: Offset | str | UnsetType = UNSET
    last: Offset | UnsetType = UNSET


class Wire(Struct, forbid_unknown_fields=True, tag_field="type"):
    """What every command has."""

    id: Id

    def command(self) -> Command:
        """The command this is; ValueError (which CommandError is not) when it is none."""
        raise NotImplementedError


class SubscribeWire(Wire):
    """`subscribe` but for its keys."""

    topic: str
    from_: str | Start = field(name="from", default="latest")
    slow: Slow = Slow.WAIT
    interval_ms: Interval | UnsetType = UNSET

    def command(self) -> Command:
        if self.interval_ms is not UNSET and self.slow is not Slow.LATEST:
            raise ValueError('`interval_ms` goes only with `slow` "latest"')
        return commands.Subscribe(
            self.id,
            check_topic_name(self.topic),
            _named(self.from_) if isinstance(self.from_, str) else self._start(self.from_),
            self.wanted_keys(),
            self.slow,
            0 if self.interval_ms is UNSET else self.interval_ms,
        )

    def wanted_keys(self) -> frozenset[bytes | None] | None:
        """The keys in bytes; None: every record."""
        raise NotImplementedError

    def offsets(self, raw: Raw) -> dict[int, int]:
        """A map of partitions to offsets."""
        raise NotImplementedError

    def _start(self, start: Start) -> From:
        if sum(value is not UNSET for value in (start.offsets, start.timestamp, start.last)) != 1:
            raise ValueError("`from` has exactly one of `offsets`, `timestamp` and `last`")
        if start.offsets is not UNSET:
            return commands.Offsets(self.offsets(start.offsets), None if start.topic_id is UNSET else start.topic_id)
        if start.topic_id is not UNSET:
            raise ValueError("`from.topic_id` goes only with `offsets`")
        if start.last is not UNSET:
            return commands.Last(start.last)
        assert start.timestamp is not UNSET
        return commands.Timestamp(epoch_ms(start.timestamp))


class UnsubscribeWire(Wire, tag="unsubscribe"):
    """`unsubscribe`"""

    def command(self) -> Command:
        return commands.Unsubscribe(self.id)


class PublishWire(Wire):
    """`publish` but for its value, key and headers."""

    topic: str
    partition: Partition | UnsetType = UNSET

    def publish(
        self, value: bytes | None, key: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
    ) -> commands.Publish:
        """The command, its bytes being known."""
        partition = None if self.partition is UNSET else self.partition
        return commands.Publish(self.id, check_topic_name(self.topic), value, key, partition, headers)


class AuthWire(Wire, tag="auth"):
    """`auth`"""

    token: str

    def command(self) -> Command:
        return commands.Auth(self.id, self.token)


class PingWire(Wire, tag="ping"):
    """`ping`"""

    def command(self) -> Command:
        return commands.Ping(self.id)


def epoch_ms(time: int | str) -> int:
    """Epoch milliseconds of a time in them, or in RFC 3339 with its offset; what is finer is rounded up, since the
    first record at or after that time is wanted. ValueError when it is neither, or before 1970."""
    if isinstance(time, int):
        return time
    finer = _FINER.search(time)
    if finer is not None:  # msgspec would round it to the next microsecond, down too
        time = time[: finer.start()] + time[finer.end() :]
    try:
        moment = msgspec.convert(time, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise ValueError(f"`timestamp` is neither epoch milliseconds nor RFC 3339: {error}") from None
    milliseconds: int = (moment - _EPOCH) // _MILLISECOND
    if finer is not None and finer[0].strip("0"):
        milliseconds += 1
    if milliseconds < 0:
        raise ValueError("`timestamp` is before 1970")
    return milliseconds


def _named(name: str) -> From:
    """A place that is a word, or a time as it is; ValueError when it is neither."""
    place = _BY_NAME.get(name)
    if place is not None:
        return place
    try:
        return commands.Timestamp(epoch_ms(name))
    except ValueError:
        raise ValueError(f"`from` is one of {', '.join(_BY_NAME)}, an RFC 3339 time or an object") from None


def without_repeats(pairs: list[tuple[int, int]]) -> dict[int, int]:
    """The pairs as a dict; ValueError when a partition is named twice, for which of both would be a guess."""
    positions = dict(pairs)
    if len(positions) != len(pairs):
        raise ValueError("`from.offsets` names a partition twice")
    return positions
