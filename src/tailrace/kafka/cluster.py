"""Questions to the cluster, awaited: which partitions, which offsets, whose topic id, compacted or not.

Rules: nothing blocks the loop (the AdminClient's futures wake it through the trio token, its blocking calls run in a
thread); every call ends within 10 s, with an answer, `UnknownTopic` or `KafkaUnavailable`; calls may overlap; one
request serves many partitions or topics. A request cannot be taken back: it counts among those under way until it is
answered, also when its caller has gone, and further ones wait for room. `UnknownTopic` is final for clients, so it is
raised only where it is sure (`sightings`).

librdkafka's mock cluster has no controller, to which all `describe_*` requests go: there the metadata answers, with
`topic_id` and `compacted` None.
"""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import trio
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, though its stubs do not say so
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from tailrace.core.commands import is_topic_name
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka import settings, topic
from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.sightings import Sightings
from tailrace.kafka.survey import Readable
from tailrace.kafka.topic import Change, TopicDescription
from tailrace.kafka.topic_ids import release_topic_id
from tailrace.kafka.trouble import NO_SUCH_TOPIC, NO_TOPIC, NOT_ALLOWED, Trouble, in_words, trouble

K = TypeVar("K")
T = TypeVar("T")

# At most two requests stand behind one call, and the protocol answers a command within 10 s.
_REQUEST_SECONDS = 4.5
# librdkafka keeps the time of a request; this guards against an answer that never comes.
_GRACE_SECONDS = 0.3
# Under way at once: a client who subscribes and unsubscribes over and over leaves its requests behind, and librdkafka
# holds each until its answer or its time is up.
_MAX_REQUESTS = 64
# The probe asks for one topic because that is the smallest question; it need not exist, and asking does not create it.
_PROBE_TOPIC = "__tailrace_probe"
# A partition is changing hands, also for some 10 ms after its topic was created: asked again until it has a leader.
_MOVING = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION",
        "LEADER_NOT_AVAILABLE",
        "FENCED_LEADER_EPOCH",
        "UNKNOWN_LEADER_EPOCH",
        "OFFSET_NOT_AVAILABLE",
    }
)
# librdkafka knows no leader at all. It says so at once while no broker can be reached, of every topic, and for a moment
# after one is back (measured); of a topic that does not exist, too.
_NO_LEADERS = "_NOENT"
_MOVING_SECONDS = 3.0
_MOVING_PAUSE_SECONDS = 0.1
# Between two questions for a topic that is said to be missing.
_MISSING_PAUSE_SECONDS = 0.25
# What a look-up by time answers where there is no such record.
_NOTHING = -1
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Listing(Enum):
    """What can be listed of every partition: the oldest offset; the next one for a reader of committed records, and
    for one of all records, who reads what transactions have open too."""

    BEGINNINGS = (_EARLIEST, IsolationLevel.READ_COMMITTED)
    ENDS = (_LATEST, IsolationLevel.READ_COMMITTED)
    HIGH_ENDS = (_LATEST, IsolationLevel.READ_UNCOMMITTED)


class _Moving(KafkaUnavailable):
    """One of `_MOVING`."""


class _NoLeaders(_Moving):
    """`_NO_LEADERS`: whether there is such a topic has to be asked."""


class Cluster:
    """One admin client. `kafka`: the user's librdkafka settings."""

    def __init__(self, kafka: Mapping[str, settings.Value], log: BrokerLog | None = None) -> None:
        self._troubles: deque[Trouble] = deque(maxlen=32)
        self._admin = AdminClient(
            settings.admin(kafka),
            error_cb=self._error_event,
            logger=log or BrokerLog(),
        )
        self._has_controller = False
        self._sightings = Sightings()
        self._requests = trio.CapacityLimiter(_MAX_REQUESTS)

    async def describe(self, name: str) -> TopicDescription:
        """Raises `UnknownTopic`, after some seconds when there is reason to doubt it, and `KafkaUnavailable`."""
        _check_name(name)
        begun = trio.current_time()
        while (described := (await self._look([name]))[name]) is None:
            self._admin.poll(0)  # what happened to its connections until now
            if self._sightings.believes(name, trio.current_time() - begun, time.monotonic()):
                raise UnknownTopic(name)
            await trio.sleep(_MISSING_PAUSE_SECONDS)
        return described

    async def changes(self, known: Iterable[TopicDescription]) -> list[Change]:
        """What became of these topics, by one request: new partitions, a new id, gone, if only for this moment.

        Raises `KafkaUnavailable`, and then nothing is known about any of them.
        """
        before = list(known)
        return topic.changes(before, await self._look([each.name for each in before], with_policy=False))

    async def ends(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        """Per partition the next offset for a read_committed reader who has read everything; one request.

        Raises `UnknownTopic` (at the moment: whether it is so, `describe` tells), `KafkaUnavailable`; one of them also
        when one of the partitions does not exist.
        """
        return (await self.listed(name, partitions, Listing.ENDS))[0]

    async def beginnings(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        """Per partition the oldest offset the broker still has; raises as `ends` does."""
        return (await self.listed(name, partitions, Listing.BEGINNINGS))[0]

    async def listed(self, name: str, partitions: Iterable[int], *wanted: Listing) -> list[dict[int, int]]:
        """The answers to several listings in their order, asked at the same time; raises as `ends` does."""
        numbers = list(partitions)
        return await self._settled(name, lambda: self._listed(name, numbers, wanted))

    async def at(self, name: str, partitions: Iterable[int], time_ms: int) -> dict[int, int] | None:
        """Per partition the first committed record's offset at or after a time (epoch ms, not negative), -1 where
        there is none, or None where the cluster cannot tell: the mock answers -1 always. Raises as `ends` does.
        """
        if not await self._can_describe():
            return None
        spec: OffsetSpec = OffsetSpec.for_timestamp(time_ms)
        numbers = list(partitions)
        found = await self._settled(name, lambda: self._offsets(name, numbers, spec, IsolationLevel.READ_COMMITTED))
        return {partition: _told(offset, _NOTHING) for partition, offset in found.items()}

    async def survey(self, names: Collection[str]) -> dict[str, Readable]:
        """Of each topic whether and how far it can be read now. Raises `KafkaUnavailable`."""
        wanted = [name for name in names if is_topic_name(name)]
        if not await self._can_describe():
            return {name: _readable_by(await self._metadata(name), name) for name in wanted}
        described = await self._sent(partial(self._describe, wanted))
        return {name: await _readable(described[name]) for name in wanted}

    async def topics(self) -> frozenset[str]:
        """The names of all topics that our credentials may see. Raises `KafkaUnavailable`."""
        return frozenset((await self._metadata(None)).topics)

    async def probe(self, timeout_seconds: float) -> None:
        """Asks any broker for something small; raises `KafkaUnavailable` with the reason in words."""
        self._troubles.clear()
        try:
            await self._metadata(_PROBE_TOPIC, timeout_seconds)
        except KafkaUnavailable as error:
            raise KafkaUnavailable(in_words(self._troubles) if self._troubles else str(error)) from None

    def _error_event(self, error: KafkaError) -> None:
        self._troubles.append(trouble(error))
        self._sightings.lost(time.monotonic())

    async def _look(self, names: list[str], with_policy: bool = True) -> dict[str, TopicDescription | None]:
        """Per name what it is now, None when there is no such topic."""
        found = await self._found(names, with_policy) if names else {}
        for name, described in found.items():
            if described is not None:
                self._sightings.seen(name)
        return found

    async def _found(self, names: list[str], with_policy: bool) -> dict[str, TopicDescription | None]:
        if not await self._can_describe():
            return _from_metadata(names, await self._metadata(None))
        # Sent together; the second one is a guest, and its refusal costs nothing.
        policies = await self._sent(partial(self._policies, names)) if with_policy else {}
        described = await self._sent(partial(self._describe, names))
        return {name: await _described(described[name], policies.get(name)) for name in names}

    async def _can_describe(self) -> bool:
        if not self._has_controller:
            metadata = await self._metadata(_PROBE_TOPIC)
            # The mock names one that is not among its brokers.
            self._has_controller = metadata.controller_id in metadata.brokers
        return self._has_controller

    def _describe(self, names: Iterable[str]) -> dict[str, Future[Any]]:
        described = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_REQUEST_SECONDS)
        for each in described.values():
            each.add_done_callback(release_topic_id)
        return described

    def _policies(self, names: list[str]) -> dict[str, Future[Any]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=_REQUEST_SECONDS)
        return {resource.name: future for resource, future in futures.items()}

    async def _metadata(self, name: str | None, timeout_seconds: float = _REQUEST_SECONDS) -> ClusterMetadata:
        try:
            return await trio.to_thread.run_sync(self._metadata_blocking, name, timeout_seconds)
        except KafkaException as error:
            raise KafkaUnavailable(in_words([trouble(error)])) from None

    def _metadata_blocking(self, name: str | None, timeout_seconds: float) -> ClusterMetadata:
        try:
            return self._admin.list_topics(*([] if name is None else [name]), timeout=timeout_seconds)
        finally:
            # The client's own error events and log lines wait for a poll; the futures do not.
            self._admin.poll(0)

    async def _settled(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, asked for again while leaders are moving; then `KafkaUnavailable`."""
        give_up = trio.current_time() + _MOVING_SECONDS
        while True:
            try:
                return await ask()
            except _Moving as moving:
                if isinstance(moving, _NoLeaders) and not (await self._look([name], with_policy=False))[name]:
                    raise UnknownTopic(name) from None
                if trio.current_time() > give_up:
                    raise
            await trio.sleep(_MOVING_PAUSE_SECONDS)

    async def _listed(self, name: str, partitions: list[int], wanted: Iterable[Listing]) -> list[dict[int, int]]:
        sent = [await self._sent(partial(self._send, name, partitions, *each.value)) for each in wanted]
        return [{partition: _told(offset) for partition, offset in (await _offsets(each)).items()} for each in sent]

    async def _offsets(
        self, name: str, partitions: Iterable[int], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[int, int]:
        return await _offsets(await self._sent(partial(self._send, name, partitions, spec, isolation)))

    async def _sent(self, send: Callable[[], dict[K, Future[Any]]]) -> dict[K, Future[Any]]:
        """The futures of a request, which is sent once there is room for it. librdkafka answers them all together."""
        request = object()
        with trio.move_on_after(_REQUEST_SECONDS) as waiting:
            await self._requests.acquire_on_behalf_of(request)
        if waiting.cancelled_caught:
            raise KafkaUnavailable("too many requests wait for an answer")
        answered = partial(self._requests.release_on_behalf_of, request)
        try:
            sent = send()
        except BaseException:
            answered()
            raise
        if not sent:
            answered()
        token = trio.lowlevel.current_trio_token()
        for future in itertools.islice(sent.values(), 1):
            future.add_done_callback(lambda _: _wake(token, answered))
        return sent

    def _send(
        self, name: str, partitions: Iterable[int], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[TopicPartition, Future[Any]]:
        _check_name(name)
        asked = {TopicPartition(name, each): spec for each in partitions}
        if not asked:
            return {}
        return self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=_REQUEST_SECONDS)


async def _offsets(sent: Mapping[TopicPartition, Future[Any]]) -> dict[int, int]:
    return {each.partition: (await _answer(future)).offset for each, future in sent.items()}


def _told(offset: int, lowest: int = 0) -> int:
    """A broker that hangs makes librdkafka answer in time, without an error and with offset -1001 (measured)."""
    if offset < lowest:
        raise KafkaUnavailable("no broker answers")
    return offset


def _check_name(name: str) -> None:
    """Before librdkafka is asked: its binding cuts a name at a NUL, refuses an empty one with ValueError, and crashes
    the process on a lone surrogate (2.16.1, measured)."""
    if not is_topic_name(name):
        raise UnknownTopic(f"{name!r} is not a topic name")


async def _readable(description: Future[Any]) -> Readable:
    try:
        found = await _answer(description)
    except UnknownTopic:
        return Readable(refused=_refused(description))
    leaderless = (each.id for each in found.partitions if each.leader is None or each.leader.id < 0)
    return Readable(len(found.partitions), tuple(sorted(leaderless)))


def _refused(description: Future[Any]) -> str:
    """Why a topic is none for us: the answer that `UnknownTopic` stands for."""
    error = description.exception()
    return in_words([trouble(error)]) if error is not None and trouble(error).name in NOT_ALLOWED else NO_TOPIC


def _readable_by(metadata: ClusterMetadata, name: str) -> Readable:
    found = metadata.topics[name]
    if found.error is not None:
        what = trouble(found.error)
        return Readable(refused=in_words([what]) if what.name in NOT_ALLOWED else NO_TOPIC)
    leaderless = (each.id for each in found.partitions.values() if each.leader < 0)
    return Readable(len(found.partitions), tuple(sorted(leaderless)))


async def _described(description: Future[Any], policy: Future[Any] | None) -> TopicDescription | None:
    try:
        found = await _answer(description)
    except UnknownTopic:
        return None
    partitions = tuple(sorted(each.id for each in found.partitions))
    return TopicDescription(found.name, str(found.topic_id), partitions, await _is_compacted(policy))


async def _is_compacted(policy: Future[Any] | None) -> bool | None:
    try:
        return None if policy is None else "compact" in (await _answer(policy))["cleanup.policy"].value
    except (KafkaUnavailable, UnknownTopic):
        return None


def _from_metadata(names: list[str], metadata: ClusterMetadata) -> dict[str, TopicDescription | None]:
    found = {name: metadata.topics[name] for name in names if name in metadata.topics}
    return {
        name: TopicDescription(name, None, tuple(sorted(found[name].partitions))) if name in found else None
        for name in names
    }


async def _answer(future: Future[T]) -> T:
    """The future's result; raises `UnknownTopic` or `KafkaUnavailable` for what librdkafka says."""
    answered = trio.Event()
    token = trio.lowlevel.current_trio_token()
    future.add_done_callback(lambda _: _wake(token, answered.set))
    with trio.move_on_after(_REQUEST_SECONDS + _GRACE_SECONDS):
        await answered.wait()
    if not future.done():
        raise KafkaUnavailable("no broker answers")
    try:
        return future.result()
    except KafkaException as error:
        what = trouble(error)
        if what.name in NO_SUCH_TOPIC:
            raise UnknownTopic(what.text) from None
        if what.name == _NO_LEADERS:
            raise _NoLeaders(what.text) from None
        raise (_Moving if what.name in _MOVING else KafkaUnavailable)(in_words([what])) from None


def _wake(token: trio.lowlevel.TrioToken, answered: Callable[[], object]) -> None:
    """In librdkafka's thread, perhaps after the loop has ended."""
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(answered)
