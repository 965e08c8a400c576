"""Where a subscription begins, for every `from` (docs/protocol.md, sections 2 and 8).

`wants` says what must be asked of Kafka, `begin` judges the answers: where reading begins in every partition, and the
verdicts on what was wanted and cannot be had. `within` and `recreated` judge a subscription that is already under way
in the same way, when its log has lost records or was made anew.

Rules: an offset nobody can read is named by a verdict, never jumped over; offsets between the end of what is committed
and the end of the log are waited at; `replay` moves the beginning of the log, as retention does.
"""

from typing import TypeGuard, assert_never

from msgspec import UNSET, Struct

from tailrace.core.commands import Earliest, From, Last, Latest, Offsets, Snapshot, Timestamp
from tailrace.core.messages import Gap, GapReason
from tailrace.core.position import Positions
from tailrace.errors import CommandError, ErrorCode


class Asked(Struct, frozen=True):
    """What must be known beside the (read_committed) ends, which always must.

    high_ends: the read_uncommitted ends. at_ms: the offsets at this time. back_seconds: the offsets this long before
    now. identity: the topic's id and partitions, as they are now and not as they were when it was opened.
    """

    beginnings: bool = False
    high_ends: bool = False
    at_ms: int | None = None
    back_seconds: float | None = None
    identity: bool = False


class Known(Struct, frozen=True, kw_only=True):
    """What Kafka answered, about every partition; empty where it was not asked.

    times: for `Asked.at_ms`, floors: for `Asked.back_seconds`, both looked up after the ends were listed, with -1 for
    no such record; None: the cluster cannot look up times.
    """

    topic_id: str | None
    ends: Positions
    beginnings: Positions = {}
    high_ends: Positions = {}
    times: Positions | None = {}
    floors: Positions | None = {}


class Verdict(Struct, frozen=True):
    """A `gap` that belongs to no subscription yet: offsets from `from_` to `to` (None: not known) cannot be had."""

    partition: int
    from_: int
    to: int | None
    next: int
    reason: GapReason
    topic_id: str | None = None

    def gap(self, id: int, topic: str) -> Gap:
        """What that subscription is told."""
        topic_id = UNSET if self.topic_id is None else self.topic_id
        return Gap(id, topic, self.partition, self.from_, self.to, self.next, self.reason, topic_id)


class Beginning(Struct, frozen=True):
    """Where a subscription begins.

    topic_id: of the topic that was judged. positions: where reading begins in every partition, after the verdicts.
    goal: the read_committed ends; `live` is said once every partition has reached its own. verdicts: to be told right
    after `subscribed`, in order.
    """

    topic_id: str | None
    positions: dict[int, int]
    goal: dict[int, int]
    verdicts: list[Verdict]

    @property
    def live(self) -> bool:
        """There is nothing to catch up with."""
        return all(self.positions[partition] >= end for partition, end in self.goal.items())


def wants(from_: From, replay: bool | float = True) -> Asked:
    """What has to be known to begin there. `replay` is the topic's: whether, or how many seconds back.

    CommandError `forbidden`: the topic is not replayed.
    """
    if isinstance(from_, Latest) or from_ == Last(0):
        return Asked()
    if replay is False:
        raise CommandError(ErrorCode.FORBIDDEN, 'this topic is not replayed: `from` can only be "latest"')
    back_seconds = None if replay is True else float(replay)
    match from_:
        case Earliest() | Last():
            return Asked(beginnings=True, back_seconds=back_seconds)
        case Offsets():
            return Asked(beginnings=True, high_ends=True, back_seconds=back_seconds, identity=True)
        case Timestamp():
            return Asked(at_ms=from_.ms, back_seconds=back_seconds)
        case Snapshot():
            return Asked(beginnings=True, back_seconds=back_seconds, identity=True)
    assert_never(from_)


def begin(from_: From, known: Known) -> Beginning:
    """Where it begins, `known` being what `wants` asked for.

    CommandError `bad_position`: a partition that the topic does not have, or a time where none can be looked up.
    """
    verdicts, positions = _from_offsets(from_, known) if isinstance(from_, Offsets) else ([], _from_place(from_, known))
    return Beginning(known.topic_id, positions, dict(known.ends), verdicts)


def within(positions: Positions, beginnings: Positions, high_ends: Positions) -> tuple[list[Verdict], dict[int, int]]:
    """A vector held against the log that there is: what is lost of it, and where reading goes on.

    Below the beginning: `retention`. Above the read_uncommitted end: `truncated`. A partition that is not listed stays.
    """
    listed = ((partition, wanted) for partition, wanted in sorted(positions.items()) if partition in beginnings)
    judged = (_verdict(partition, wanted, beginnings, high_ends) for partition, wanted in listed)
    verdicts = [verdict for verdict in judged if verdict is not None]
    return verdicts, {**positions, **{verdict.partition: verdict.next for verdict in verdicts}}


def recreated(positions: Positions, beginnings: Positions, topic_id: str) -> tuple[list[Verdict], dict[int, int]]:
    """The topic of this vector was deleted and created again, with `beginnings` and `topic_id`: what to tell of every
    partition that it still has, and the new vector, in which every partition is at its beginning."""
    verdicts = [
        Verdict(partition, wanted, None, beginnings[partition], "topic_recreated", topic_id)
        for partition, wanted in sorted(positions.items())
        if partition in beginnings
    ]
    return verdicts, dict(beginnings)


def _from_offsets(from_: Offsets, known: Known) -> tuple[list[Verdict], dict[int, int]]:
    first = _first(known)
    if _is_another(known.topic_id, from_.topic_id):
        return recreated(from_.offsets, first, known.topic_id)
    if unknown := sorted(from_.offsets.keys() - first.keys()):
        raise CommandError(ErrorCode.BAD_POSITION, f"the topic has no partition {unknown[0]}, it has {len(first)}")
    if not from_.offsets:
        return [], first
    return within({partition: from_.offsets.get(partition, 0) for partition in first}, first, _high_ends(known))


def _is_another(known: str | None, asked: str | None) -> TypeGuard[str]:
    """An id that one side does not know tells nothing."""
    return asked is not None and known is not None and asked != known


def _from_place(from_: From, known: Known) -> dict[int, int]:
    match from_:
        case Latest() | Last(0):
            return dict(known.ends)
        case Earliest() | Snapshot():
            return _first(known)
        case Last(count):
            return {partition: max(first, known.ends[partition] - count) for partition, first in _first(known).items()}
        case Timestamp():
            return _later(_first(known), _at(known.times, known.ends))
    raise AssertionError(f"{from_} is refused by wants()")


def _first(known: Known) -> dict[int, int]:
    """Per partition the first offset that may be read: what retention and `replay` have left."""
    floors = _at(known.floors, known.ends)
    return {partition: max(known.beginnings.get(partition, 0), floors.get(partition, 0)) for partition in known.ends}


def _at(times: Positions | None, ends: Positions) -> dict[int, int]:
    """The offsets at a time, as of the moment the ends were listed: records that came since are wanted anyway."""
    if times is None:
        raise CommandError(ErrorCode.BAD_POSITION, "this cluster cannot look up times")
    return {
        partition: min(offset, ends[partition]) if offset >= 0 else ends[partition]
        for partition, offset in times.items()
    }


def _high_ends(known: Known) -> dict[int, int]:
    """They are listed beside the ends, perhaps a moment before them, and are never below."""
    return _later(known.ends, known.high_ends)


def _later(one: Positions, other: Positions) -> dict[int, int]:
    return {partition: max(offset, other[partition]) for partition, offset in one.items()}


def _verdict(partition: int, wanted: int, beginnings: Positions, high_ends: Positions) -> Verdict | None:
    first, end = beginnings[partition], high_ends[partition]
    if wanted < first:
        return Verdict(partition, wanted, first, first, "retention")
    if wanted > end:
        return Verdict(partition, end, wanted, end, "truncated")
    return None
