"""Which of the wanted topics can be read, partition by partition, asked every 2 s: for readiness, beside `health`.

A partition without a leader holds up nobody but its readers, so it is named, and the gateway stays ready while others
flow (`standing`). Rules: while no broker answers, what was known is kept: that is `health`'s to tell. One log line
when a topic cannot be read or not all of it, or for another reason than before; one when it can again.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec
import structlog
import trio

from tailrace.errors import KafkaUnavailable

INTERVAL_SECONDS = 2.0
ANSWER_SECONDS = 3.0
MOST_TOLD = 100  # topics named in an answer of `/readyz`

_log = structlog.get_logger("tailrace.kafka")


class Readable(msgspec.Struct, frozen=True):
    """A topic as the brokers tell of it. partitions: how many; leaderless: those without a leader; refused: why there
    is nothing to be read at all, in words."""

    partitions: int = 0
    leaderless: tuple[int, ...] = ()
    refused: str = ""

    @property
    def flows(self) -> bool:
        """Something of it can be read."""
        return not self.refused and len(self.leaderless) < self.partitions

    def why_not(self, topic: str) -> str:
        """What is wrong, in words; empty: nothing."""
        if self.refused:
            return f"topic {topic}: {self.refused}"
        if not self.leaderless:
            return ""
        if len(self.leaderless) == 1:
            return f"partition {self.leaderless[0]} of {topic} has no leader"
        return f"partitions {', '.join(map(str, self.leaderless))} of {topic} have no leader"


class Surveyed(Protocol):
    """What is asked: `Cluster`."""

    async def survey(self, names: Collection[str]) -> Mapping[str, Readable]: ...


class Survey:
    """names: the topics that are wanted at the moment. `topics`: what was found of each at the last look."""

    def __init__(self, cluster: Surveyed, names: Callable[[], Collection[str]]) -> None:
        self._cluster = cluster
        self._names = names
        self.topics: Mapping[str, Readable] = {}

    @property
    def leaderless(self) -> int:
        """Partitions without a leader."""
        return sum(len(each.leaderless) for each in self.topics.values())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await trio.sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """Asks once."""
        names = self._names()
        found: Mapping[str, Readable] | None = None if names else {}
        if names:
            with trio.move_on_after(ANSWER_SECONDS):
                try:
                    found = await self._cluster.survey(names)
                except KafkaUnavailable:
                    pass  # what was known is kept
        if found is not None:
            before, self.topics = self.topics, found
            _tell(before, found)


def standing(topics: Mapping[str, Readable], others: bool, strict: bool) -> str:
    """Why clients should not be sent here, in words; empty: they should. others: topics may be asked for that are not
    among these (a pattern); strict: anything that cannot be read is a reason, else only when nothing can be."""
    faults = [why for name, each in topics.items() if (why := each.why_not(name))]
    if not faults or (not strict and (others or any(each.flows for each in topics.values()))):
        return ""
    return faults[0] if len(faults) == 1 else f"{faults[0]} (and {len(faults) - 1} more)"


def unreadable(topics: Mapping[str, Readable]) -> list[str]:
    """Everything that is wrong, in words, for the answer's details."""
    return [why for name, each in topics.items() if (why := each.why_not(name))][:MOST_TOLD]


def _tell(before: Mapping[str, Readable], now: Mapping[str, Readable]) -> None:
    """A topic that is no longer wanted is no news."""
    for name, each in now.items():
        old = before.get(name, Readable()).why_not(name)
        why = each.why_not(name)
        if why and why != old:
            _log.warning("cannot be read", topic=name, reason=why)
        elif old and not why:
            _log.info("can be read again", topic=name)
