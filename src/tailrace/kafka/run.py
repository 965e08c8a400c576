"""A partition that a reader reads, and what comes of it, told to the loop in order."""

import msgspec

from tailrace.core.cutting import Block
from tailrace.core.encode import Encoder
from tailrace.core.lane import Partition, Plan


class Run:
    """Read `place` from `start` on, as the plan says; the loop may put another `plan` meanwhile.

    `encoder` is used in the reader's thread, by nobody else.
    """

    __slots__ = ("encoder", "place", "plan", "start")

    def __init__(self, place: Partition, start: int, plan: Plan, encoder: Encoder) -> None:
        self.place = place
        self.start = start
        self.plan = plan
        self.encoder = encoder


class Arrived(msgspec.Struct, frozen=True):
    """A block."""

    run: Run
    block: Block


class Ended(msgspec.Struct, frozen=True):
    """The log has nothing (committed) from `end` on; `block`: what came before it. The run is over."""

    run: Run
    end: int
    block: Block | None


class Outside(msgspec.Struct, frozen=True):
    """The broker does not have `offset`; a read_committed reader may have `beginning` to `end`. The run is over."""

    run: Run
    offset: int
    beginning: int
    end: int


class Failed(msgspec.Struct, frozen=True):
    """It could not be read on. `unknown`: the broker answered, and has no such partition. The run is over."""

    run: Run
    reason: str
    unknown: bool = False


class Idle(msgspec.Struct, frozen=True):
    """Nothing has been wanted of it for LINGER_SECONDS. The run goes on."""

    run: Run


Event = Arrived | Ended | Outside | Failed | Idle
