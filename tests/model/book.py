"""The books of one subscription, kept by its client: what it was told, and whether that is what the protocol promises.

`kept` is what section 4.3 of docs/protocol.md says a client keeps, and all that a resume is made from. The oracle is
`Partition.owed`: nobody gets from one offset to another without what is owed between them. Everything is judged when
it is received, against the log of that moment, so bounds are taken where the moment matters: what was true when the
command was sent, and what is true now. A subscription to a topic that was recreated counts for nothing until it is
told; only its order is looked at then.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.model.log import NAME, Log, Partition

Keys = frozenset[bytes | None] | None
IDLE, ASKED, OPEN, LEAVING = "idle", "asked", "open", "leaving"


class Before(NamedTuple):
    """How a partition was when it was asked for; one that was made since was empty at a moment between."""

    partition: Partition
    beginning: int = 0
    stable: int = 0
    truncations: int = 0


class Book:
    """One stream of records as a client wants it, over any number of connections."""

    def __init__(self, log: Log, from_: Any, keys: Keys, slow: str) -> None:
        self.log = log
        self.from_ = from_  # where it begins, the first time
        self.keys = keys
        self.slow = slow
        self.state = IDLE
        self.kept: dict[int, int] = {}
        self.topic_id: str | None = None
        self.live = False
        self.received = 0
        self.history: list[str] = []
        self._asked: Any = None
        self._due: dict[int, int] = {}  # gaps that must follow `subscribed`: the offsets that were asked for
        self._before: dict[int, Before] = {}
        self._high: dict[int, int] = {}  # the highest stable ends until `subscribed` had come
        self._last: dict[int, int] = {}  # offset of the last record since then

    # ------------------------------------------------------------------------------------------------ what it asks for

    def ask(self) -> dict[str, Any]:
        """The fields of its `subscribe`: a resume when it has something to resume from."""
        if self.topic_id is not None:
            asked = {"offsets": {str(p): offset for p, offset in self.kept.items()}, "topic_id": self.topic_id}
        else:
            asked = self.from_
            self.kept = (
                {int(p): offset for p, offset in asked.get("offsets", {}).items()} if isinstance(asked, dict) else {}
            )
        self._asked = asked
        self.history.append(f"asks from {asked}, keys {self.keys}, slow {self.slow}")
        self._before = {
            p: Before(each, each.beginning, each.stable, each.truncations) for p, each in enumerate(self.log.partitions)
        }
        self._id_then = self.log.topic_id
        self.state, self.live, self._due, self._went_back = ASKED, False, {}, False
        keys = None if self.keys is None else [None if key is None else key.decode() for key in self.keys]
        return {"from": asked, "slow": self.slow} | ({} if keys is None else {"keys": keys})

    @property
    def current(self) -> bool:
        """The topic it was told of is the one there is."""
        return self.topic_id == self.log.topic_id

    def partition(self, number: int) -> Partition:
        assert number < len(self.log.partitions), f"there is no partition {number}"
        return self.log.partitions[number]

    def start(self, number: int) -> int:
        """Where it is; a partition that it never heard of is read from the beginning."""
        return self.kept.get(number, self.log.partitions[number].beginning)

    # ---------------------------------------------------------------------------------------------- what it is told

    def told(self, message: Mapping[str, Any]) -> None:
        """Judge a message, and take note of it."""
        self.history.append(_short(message))
        try:
            self._judge(message, message["type"])
        except AssertionError as wrong:
            wrong.add_note("\n".join(self.history))
            raise

    def _judge(self, message: Mapping[str, Any], type: str) -> None:
        if type != "gap":
            assert not self._due, f"{type} before the gaps of {self._due}"
        assert (self.state == ASKED) == (type in ("subscribed", "error")), (self.state, message)
        getattr(self, f"_{type}")(message)

    def _error(self, message: Mapping[str, Any]) -> None:
        assert message["code"] == "kafka_unavailable", message
        self.state = IDLE

    def _subscribed(self, message: Mapping[str, Any]) -> None:
        positions = {int(p): offset for p, offset in message["positions"].items()}
        assert message["topic"] == NAME
        before, self.topic_id = self.topic_id, message["topic_id"]
        if self.kept:
            self._resumed(positions, before)
        else:
            self.kept = positions
        present = dict(list(enumerate(self.log.partitions))[: len(positions)])
        self._before = {p: self._how_it_was(p, partition) for p, partition in present.items()}
        self._high = {p: max(partition.stable, partition.highest) for p, partition in present.items()}
        self._last = {}
        self.state = OPEN
        if self.current and self._id_then == self.topic_id:
            self._check_positions(positions)

    def _how_it_was(self, p: int, partition: Partition) -> Before:
        before = self._before.get(p)
        return before if before is not None and before.partition is partition else Before(partition)

    def _resumed(self, positions: dict[int, int], before: str | None) -> None:
        asked = self.kept
        if before is not None and before != self.topic_id:
            self._due = {p: offset for p, offset in asked.items() if p in positions}
            self.kept = positions
            return
        assert asked.keys() <= positions.keys()
        self._due = {p: asked.get(p, 0) for p, offset in positions.items() if offset != asked.get(p, 0)}
        self.kept = {p: max(offset, asked.get(p, 0)) for p, offset in positions.items()}

    def _check_positions(self, positions: dict[int, int]) -> None:
        """As `from` says, at some moment since the command."""
        for p, (partition, beginning, stable, truncations) in self._before.items():
            if partition.truncations != truncations or p in self._due:
                continue
            low, high = {
                "latest": (stable, partition.stable),
                "earliest": (beginning, partition.beginning),
            }.get(str(self._asked), (0, partition.highest + partition.end))
            if isinstance(self._asked, dict) and "last" in self._asked:
                low = max(beginning, stable - self._asked["last"])
                high = max(partition.beginning, partition.stable - self._asked["last"])
            assert low <= positions[p] <= high, f"partition {p} begins at {positions[p]}, not in {low}..{high}"

    def _record(self, message: Mapping[str, Any]) -> None:
        p, offset = message["partition"], message["offset"]
        assert offset >= self.kept.get(p, 0), f"{p}/{offset} comes again, or too late: {self.kept}"
        self.received += 1
        if self.current:
            partition = self.partition(p)
            entry = self.log.find(message["value"]["serial"], p, offset)
            assert entry is not None, f"no such record was ever at {p}/{offset}: {message}"
            assert entry.committed, f"{entry} is not committed"
            assert self.keys is None or entry.key() in self.keys, f"{entry} was not asked for"
            self._check_owed(p, offset)
            assert offset < max(partition.stable, partition.highest)
        self.kept[p] = offset + 1
        self._last[p] = offset

    def _position(self, message: Mapping[str, Any]) -> None:
        for p, offset in ((int(p), offset) for p, offset in message["positions"].items()):
            # Inside a block of the tail a place is behind its last record, and below what was told at the block's end:
            # control markers do not move it. Hence the highest of all counts (docs/protocol.md, section 4).
            assert offset > self._last.get(p, -1), f"the place went back to {p}/{offset}: {self.kept}"
            if self.current:
                self._check_owed(p, offset)
                partition = self.partition(p)
                assert offset <= max(partition.stable, partition.highest), f"{p}/{offset} is in the future"
                assert not partition.owed(offset, self.kept.get(p, 0), None), f"back to {p}/{offset}, over records"
            self.kept[p] = max(offset, self.kept.get(p, 0))

    def _check_owed(self, p: int, stop: int) -> None:
        """Nobody gets from where he is to `stop` without these."""
        owed = self.partition(p).owed(self.start(p), stop, self.keys)
        assert not owed, f"left out before {p}/{stop}: {owed}"

    def _gap(self, message: Mapping[str, Any]) -> None:
        p, first, to, next = message["partition"], message["from"], message["to"], message["next"]
        assert message["topic"] == NAME
        due = self._due.pop(p, None)
        if message["reason"] == "topic_recreated":
            self._recreated(message, p, due)
        elif self.current:
            judge = {"retention": self._retention, "truncated": self._truncated, "slow": self._slow}
            judge[message["reason"]](p, first, to, next, due)
        self.kept[p] = next
        if message["reason"] in ("topic_recreated", "truncated"):
            self._went_back = True
            self._last.pop(p, None)

    def _recreated(self, message: Mapping[str, Any], p: int, due: int | None) -> None:
        assert message["to"] is None
        if due is None and message["topic_id"] == self.topic_id:
            assert p not in self.kept, "told twice"
        elif due is None:
            self.kept, self._before, self._high = {}, {}, {}  # what a gap names counts as passed
            self._last = {}
            self.topic_id = message["topic_id"]
        else:
            assert message["from"] == due
        if self.current:
            assert message["next"] <= self.partition(p).beginning

    def _retention(self, p: int, first: int, to: int, next: int, due: int | None) -> None:
        partition = self.partition(p)
        assert first < to == next <= partition.beginning, f"Kafka still has {p}/{partition.beginning}"
        if due is not None:
            assert first == due
            return
        assert first > self._last.get(p, -1), f"{p}/{first}..{to} is not before it: {self.kept}"
        self._check_owed(p, first)

    def _truncated(self, p: int, first: int, to: int, next: int, due: int | None) -> None:
        partition = self.partition(p)
        assert first == next < to, (first, to, next)
        assert to == due if due is not None else to >= self.kept.get(p, 0) and partition.truncations

    def _slow(self, p: int, first: int, to: int, next: int, due: int | None) -> None:
        partition = self.partition(p)
        assert self.slow == "skip", "it was to wait"
        assert self.live, "nothing is skipped before `live`"
        assert due is None
        assert self._last.get(p, -1) < first < to == next <= max(partition.stable, partition.highest)
        self._check_owed(p, first)

    def _live(self, message: Mapping[str, Any]) -> None:
        assert not self.live, "live again"
        self.live = True
        if not self.current or self._id_then != self.topic_id:
            return
        for p, (partition, _, stable, truncations) in self._before.items():
            if partition.truncations == truncations:
                # Inside a block of the tail a place is behind its last record: control markers do not move it.
                ahead = partition.owed(self.start(p), stable, None)
                assert not ahead, f"live at {p}/{self.start(p)}, before {ahead}"
        late = [p for p, end in self._high.items() if self._last.get(p, -1) >= end]
        assert not late or len(late) < len(self._high), f"live too late: {self._last}, {self._high}"

    def _unsubscribed(self, message: Mapping[str, Any]) -> None:
        assert self.state == LEAVING, message
        self.state = IDLE

    # --------------------------------------------------------------------------------------------------- in the end

    def check_complete(self) -> None:
        """Nothing more will come."""
        history = "\n".join(self.history)
        assert self.state == OPEN, history
        assert self.current, f"nobody told it that the topic is another one\n{history}"
        within_reach = all(each.partition.truncations == each.truncations for each in self._before.values())
        assert self.live or not within_reach, f"`live` never came\n{history}"
        assert not self._due, history
        for p, partition in enumerate(self.log.partitions):
            self._check_owed(p, partition.stable)

    def check_place(self, ends: dict[int, int]) -> None:
        """It has left: what it keeps is the very end of every partition, or it would be read again.

        After a gap that went back `position` may leave out what was told before (docs/protocol.md, section 8).
        """
        assert self.state == IDLE
        kept = {p: self.kept.get(p, 0) for p in ends}
        assert kept == ends or (self._went_back and all(kept[p] <= ends[p] for p in ends)), f"{kept}, not {ends}"


def _short(message: Mapping[str, Any]) -> str:
    left_out = ("type", "id", "topic", "value", "timestamp", "compacted")
    said = {name: value for name, value in message.items() if name not in left_out}
    return f"{message['type']} {said} #{message.get('value', {}).get('serial', '')}"
