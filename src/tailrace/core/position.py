"""Positions: for every partition the next offset wanted; what the gateway tells and what a client keeps.

A vector is a plain dict and, once handed over, never changed: whoever moves makes a new one. That lets a session hold
the vector it was given instead of a copy.

`Kept` is the client's side (docs/protocol.md, section 4.3), for our own clients and as the measure of what the gateway
tells: a client that does as `Kept` does resumes without loss or repeat.
"""

from collections.abc import Mapping

from tailrace.core.commands import Offsets
from tailrace.core.messages import Gap, PositionMessage, Subscribed

Positions = Mapping[int, int]
"""{partition: next offset}"""


def moved(told: Positions, now: Positions) -> dict[int, int]:
    """The partitions of `now` that `told` lacks or has elsewhere. Lower counts too: a log may begin anew."""
    return {partition: offset for partition, offset in now.items() if told.get(partition) != offset}


class Kept:
    """What a client keeps of one subscription. `topic_id` None: not yet subscribed, or there is none."""

    __slots__ = ("positions", "topic_id")

    def __init__(self) -> None:
        self.topic_id: str | None = None
        self.positions: dict[int, int] = {}

    def subscribed(self, message: Subscribed) -> None:
        """Another topic under the same name: nothing of the old one holds, partitions that are gone included."""
        self._identify(message.topic_id)
        self._reach(message.positions)

    def record(self, partition: int, offset: int) -> None:
        """A record was taken: the next one is wanted. Keep this together with what the record did."""
        self._reach({partition: offset + 1})

    def position(self, message: PositionMessage) -> None:
        """Records that do not match were passed."""
        self._reach(message.positions)

    def gap(self, message: Gap) -> None:
        """Reading goes on at `next`, be it lower: then the log ended or began anew there."""
        if message.topic_id:
            self._identify(message.topic_id)
        self.positions[message.partition] = message.next

    def resume(self) -> Offsets:
        """The `from` that continues exactly here, on any gateway."""
        return Offsets(dict(self.positions), self.topic_id)

    def _identify(self, topic_id: str | None) -> None:
        if self.topic_id is not None and topic_id is not None and topic_id != self.topic_id:
            self.positions.clear()
        self.topic_id = topic_id

    def _reach(self, positions: Positions) -> None:
        for partition, offset in positions.items():
            self.positions[partition] = max(offset, self.positions.get(partition, offset))
