"""Asking Kafka where a subscription begins: core/begin.py says what to ask and judges the answers.

Rules: every request is sent after the command that wants it came, and shared by all who wait for the same; the ends
are listed before anything is looked up by time; a topic's id is looked at before its offsets are listed, never after:
offsets of the old topic under the new id would be a hole that nobody notices, the reverse the watch puts right.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import msgspec
import trio

from tailrace.core.begin import Asked, Beginning, Known, begin, wants
from tailrace.core.position import Positions
from tailrace.core.protocol import From
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway.shared import Fresh
from tailrace.kafka.cluster import Cluster, Listing
from tailrace.kafka.topic import TopicDescription

T = TypeVar("T")

# A topic made a moment ago is known to the controller before its leaders know it.
LAG_SECONDS = 3.0
LAG_PAUSE_SECONDS = 0.1
LOOK_UPS = 8  # by time, at once: clients with times of their own share none, and each costs the broker an index search


class UnknownToLeaders(KafkaUnavailable):
    """The cluster has the topic, and those who lead its partitions do not know it: it is new, or they have just
    started. Nobody is told that there is no such topic."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the leaders of {name} do not know it")


class Beginnings:
    """All who ask now. `now_ms`: the clock that `replay` counts back from, in epoch milliseconds."""

    def __init__(self, cluster: Cluster, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._cluster = cluster
        self._now_ms = now_ms
        self._questions: dict[Hashable, _Question] = {}
        self._look_ups = trio.CapacityLimiter(LOOK_UPS)

    async def find(self, description: TopicDescription, from_: From, replay: bool | float) -> Beginning:
        """Where a subscription to this topic begins, with `replay` as the topic is configured.

        The topic may have changed since it was described: then `topic_id`, or the partitions of `positions`, are not
        those of `description`, and are right. Raises CommandError (`forbidden`, `bad_position`,
        `snapshot_unavailable`), UnknownTopic, KafkaUnavailable. How long it may take is for the caller to bound.
        """
        asked = wants(from_, replay)
        # Shared as a whole too: who waited for one step comes to the next one by one (45 requests for a thousand).
        known = await self._share(("known", description, asked), lambda: self._known(description, asked))
        return begin(from_, known)

    @property
    def waiting(self) -> int:
        """How many questions are being asked, each for everybody who waits for its answer."""
        return len(self._questions)

    async def _known(self, description: TopicDescription, asked: Asked) -> Known:
        if asked.identity:
            description = await self._look(description)
        give_up = trio.current_time() + LAG_SECONDS
        while True:
            try:
                return await self._list(description, asked)
            except UnknownTopic:
                before, description = description, await self._look(description)
                if description == before and trio.current_time() > give_up:
                    raise UnknownToLeaders(description.name) from None
            await trio.sleep(LAG_PAUSE_SECONDS)

    async def _look(self, before: TopicDescription) -> TopicDescription:
        async def look() -> TopicDescription:
            for change in await self._cluster.changes([before]):
                # Missing it may be for a moment only, when a broker has just started: `describe` makes sure.
                return change.after or await self._cluster.describe(before.name)
            return before

        return await self._share(("look", before), look)

    async def _list(self, topic: TopicDescription, asked: Asked) -> Known:
        known = await self._bounds(topic, asked)
        if asked.at_ms is not None:
            known = msgspec.structs.replace(known, times=await self._at(topic, asked.at_ms))
        if asked.back_seconds is not None:
            known = msgspec.structs.replace(known, floors=await self._back(topic, asked.back_seconds))
        return known

    async def _bounds(self, topic: TopicDescription, asked: Asked) -> Known:
        wanted = [Listing.ENDS]
        wanted += [Listing.BEGINNINGS] if asked.beginnings else []
        wanted += [Listing.HIGH_ENDS] if asked.high_ends else []

        async def listed() -> Known:
            answers = await self._cluster.listed(topic.name, topic.partitions, *wanted)
            told = dict(zip(wanted, answers, strict=True))
            return Known(
                topic_id=topic.topic_id,
                ends=told[Listing.ENDS],
                beginnings=told.get(Listing.BEGINNINGS, {}),
                high_ends=told.get(Listing.HIGH_ENDS, {}),
            )

        return await self._share(("bounds", topic, *wanted), listed)

    async def _at(self, topic: TopicDescription, time_ms: int) -> Positions | None:
        return await self._share(("at", topic, time_ms), lambda: self._look_up(topic, time_ms))

    async def _back(self, topic: TopicDescription, seconds: float) -> Positions | None:
        """The time is taken when the question is put, or no two clients would ask the same."""

        async def look_up() -> Positions | None:
            return await self._look_up(topic, max(0, self._now_ms() - int(seconds * 1000)))

        return await self._share(("back", topic, seconds), look_up)

    async def _look_up(self, topic: TopicDescription, time_ms: int) -> Positions | None:
        async with self._look_ups:
            return await self._cluster.at(topic.name, topic.partitions, time_ms)

    async def _share(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question put from now on, with all who ask the same."""
        question = self._questions.setdefault(key, _Question(Fresh(ask)))
        question.users += 1
        try:
            answer: T = await question.fresh.get()
        finally:
            question.users -= 1
            if not question.users:
                del self._questions[key]
        return answer


class _Question:
    """What several ask, kept while one of them waits."""

    __slots__ = ("fresh", "users")

    def __init__(self, fresh: Fresh[Any]) -> None:
        self.fresh = fresh
        self.users = 0
