"""Quick ratios to the bare C send loop, for the gate: the fan-out on real sockets, without Kafka.

Deliveries per CPU second, ours by the loop's, of interleaved rounds; the median counts. Bounds are wide (about two
thirds of what an idle machine shows), because a busy one moves a ratio by a third; they are for what instructions do
not show.
"""

import statistics
from collections.abc import Callable

from msgspec import Struct

from benchmarks.harness.crowd import Crowd, Key, drained, send_loop
from tailrace import _fanout

ROUNDS, SECONDS = 5, 0.3
FRAME_BYTES, HEAD_BYTES = 204, 4
VALUE = b'{"t":1,"pad":"'.ljust(FRAME_BYTES - HEAD_BYTES - 2, b"x") + b'"}'
Batch = list[tuple[bytes, Key]]


class Ratio(Struct, frozen=True):
    """What is published to whom, the frames that the loop puts into a send, and the least that the ratio may be."""

    about: str
    bound: float
    connections: int
    records: int
    coalesced: int
    keys: int = 0

    def crowd(self, run: Callable[[Crowd, Batch], list[float]]) -> list[float]:
        """`run` with the readers and a batch for them."""
        names: list[Key] = [b"k%05d" % number for number in range(self.keys)]
        each = self.keys // self.connections
        wanted = [names[first : first + each] for first in range(0, self.keys, each)] if self.keys else None
        batch: Batch = [(VALUE, names[::each][number] if self.keys else None) for number in range(self.records)]
        with drained(self.connections) as sockets:
            return run(Crowd(_fanout.VALUE, sockets, wanted), batch)


RATIOS = {
    "one": Ratio("one record at a time to 1,000 connections", 0.6, 1000, 1, 1),
    "batch": Ratio("batches of 100 records to 1,000 connections", 0.5, 1000, 100, 100),
    "keyed": Ratio("1,000 records over 10,000 keys, each to one of 1,000 connections", 0.35, 1000, 1000, 1, 10_000),
}


class Outcome(Struct, frozen=True):
    """All rounds of one ratio."""

    name: str
    ratio: Ratio
    rounds: list[float]

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.rounds)

    @property
    def holds(self) -> bool:
        """The bound is kept."""
        return self.median >= self.ratio.bound

    def line(self) -> str:
        """For the report."""
        spread = f"{min(self.rounds):.2f} to {max(self.rounds):.2f}"
        verdict = "ok" if self.holds else "REGRESSION"
        return f"{self.ratio.about}: {self.median:.2f} of the C loop ({spread}), at least {self.ratio.bound}: {verdict}"


def measure(name: str) -> Outcome:
    """Takes one of RATIOS, rounds interleaved: the loop first, then ours."""
    ratio = RATIOS[name]

    def rounds(crowd: Crowd, batch: Batch) -> list[float]:
        return [one_round(crowd, batch, ratio) for _ in range(ROUNDS)]

    return Outcome(name, ratio, ratio.crowd(rounds))


def one_round(crowd: Crowd, batch: Batch, ratio: Ratio) -> float:
    """Ours by the loop's."""
    loop = send_loop(ratio.connections, FRAME_BYTES, ratio.coalesced, SECONDS)
    return crowd.deliveries_per_cpu_second(batch, SECONDS) / loop
