"""The gateway from its front door to its topics, over a Kafka made of dicts: for tests of what needs no broker.

Real are the door, the clients, the topics and the pump; sockets are connected pairs. Kafka answers at once, unless
`hold` makes it wait, and has what `produce` was given.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import trio
from tests.gateway import Raw, handshake
from tests.plain_record import PlainRecord
from trio.testing import wait_all_tasks_blocked

from tailrace.config import Auth, Config, Limits, Listen, Publish, Rule, Topic
from tailrace.errors import ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.door import Door
from tailrace.gateway.publishing import Publishing
from tailrace.gateway.pump import Pump
from tailrace.gateway.topics import Topics
from tailrace.kafka.batch import Batch
from tailrace.kafka.cluster import Listing
from tailrace.kafka.producer import Fate, Report
from tailrace.kafka.topic import Change, TopicDescription, changes
from tailrace.sockets.tcp import TcpStream


async def tcp_pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    """Two sockets that are connected over the loopback."""
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        far = trio.socket.socket()
        await far.connect(listener.getsockname())
        near, _ = await listener.accept()
    near.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, True)  # as sockets/tcp.py accepts them
    return near, far


class PlainKafka:
    """What the cluster answers and the live consumer was told. ends: by topic, of each partition."""

    def __init__(self, ends: dict[str, list[int]]) -> None:
        self.ends_of = ends
        self.down = False
        self.reason = "no broker answers (10.0.0.7:9092/1: Connection refused)"
        self.questions: list[str] = []
        self.assigned: dict[str, int] = {}
        self._generations = itertools.count(1)
        self._held: trio.Event | None = None
        self.full = False
        self.producers: list[PlainProducer] = []

    def make_producer(self, kafka: object, timeout_seconds: float, on_reports: Any) -> "PlainProducer":
        self.producers.append(PlainProducer(self, on_reports))
        return self.producers[-1]

    @contextlib.contextmanager
    def hold(self) -> Any:
        """Nothing is answered within the block."""
        self._held = trio.Event()
        try:
            yield
        finally:
            self._held.set()
            self._held = None

    async def describe(self, name: str) -> TopicDescription:
        await self.asked("describe")
        found = self._description(name)
        if found is None:
            raise UnknownTopic(name)
        return found

    async def changes(self, known: Iterable[TopicDescription]) -> list[Change]:
        await self.asked("changes")
        before = list(known)
        return changes(before, {each.name: self._description(each.name) for each in before})

    def _description(self, name: str) -> TopicDescription | None:
        ends = self.ends_of.get(name)
        return ends and TopicDescription(name, f"id-of-{name}", tuple(range(len(ends))), False)

    async def ends(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        return (await self.listed(name, partitions, Listing.ENDS))[0]

    async def beginnings(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        return (await self.listed(name, partitions, Listing.BEGINNINGS))[0]

    async def listed(self, name: str, partitions: Iterable[int], *wanted: Listing) -> list[dict[int, int]]:
        await self.asked("list")
        if name not in self.ends_of:
            raise UnknownTopic(name)
        return [
            {each: 0 if listing is Listing.BEGINNINGS else self.ends_of[name][each] for each in partitions}
            for listing in wanted
        ]

    async def asked(self, question: str) -> None:
        self.questions.append(question)
        if self._held is not None:
            await self._held.wait()
        await trio.lowlevel.checkpoint()
        if self.down:
            raise KafkaUnavailable(self.reason)

    def assign(self, topic: str, offsets: Mapping[int, int]) -> int:
        self.assigned[topic] = next(self._generations)
        return self.assigned[topic]

    def unassign(self, topic: str) -> None:
        del self.assigned[topic]

    def pause(self, topic: str) -> None: ...

    def resume(self, topic: str) -> None: ...

    def forget(self, name: str) -> None:
        """Of the blocks: none are read back here."""


class PlainProducer:
    """Takes records; reports are the test's: `report`, or at once when the Kafka `acknowledges`."""

    def __init__(self, kafka: PlainKafka, on_reports: Callable[[list[Report]], None]) -> None:
        self._kafka = kafka
        self._on_reports = on_reports
        self.usable = False
        self.taken: list[tuple[Any, ...]] = []
        self.tokens: list[Any] = []

    async def run(self) -> None:
        await trio.sleep_forever()

    async def started(self) -> None:
        await self._kafka.asked("producer")
        self.usable = True

    def produce(self, token: object, *record: Any) -> str | None:
        if self._kafka.full:
            return "the queue is full"
        self.taken.append(record)
        self.tokens.append(token)
        return None

    def report(self, fate: Fate = Fate.WRITTEN, count: int | None = None, text: str = "why") -> None:
        """Of the oldest that were not reported; None: of all."""
        done, self.tokens[:count] = self.tokens[:count], []
        self._on_reports([Report(token, fate, 0, offset, 7, text) for offset, token in enumerate(done)])


class House:
    """A door with everything behind it. Clients are let in by `visit`."""

    def __init__(self, kafka: PlainKafka, config: Config, nursery: trio.Nursery, limit: int) -> None:
        self.kafka = kafka
        self._nursery = nursery
        self._send, receive = trio.open_memory_channel[Batch](100)
        self.topics = Topics(kafka, kafka, kafka, config)  # type: ignore[arg-type]
        self.publishing = Publishing(config, kafka, kafka.make_producer)  # type: ignore[arg-type]
        self.door = Door(config, self.topics, self.publishing, None, limit)
        nursery.start_soon(self.publishing.run)
        nursery.start_soon(self.door.gate.run)
        nursery.start_soon(Pump(self.topics, receive, 1 << 30).run)

    def users(self, topic: str) -> int:
        return sum(held.open.users for held in self.topics.held if held.open.name == topic)

    @contextlib.asynccontextmanager
    async def knock(self, request: bytes) -> AsyncIterator[Raw]:
        """A client that has sent its request."""
        near, far = await tcp_pair()
        with far:
            raw = Raw(trio.SocketStream(far))
            self._nursery.start_soon(self.door.handle, TcpStream(near, "127.0.0.1"))
            await raw.send(request)
            yield raw
        await wait_all_tasks_blocked()

    @contextlib.asynccontextmanager
    async def visit(self, path: str = "/ws", *lines: str) -> AsyncIterator[Raw]:
        """A client that was let in; on `/ws` it has been welcomed. lines: of its request."""
        async with self.knock(handshake(path, *lines)) as raw:
            await raw.head()
            if path.partition("?")[0] == "/ws":
                assert (await raw.message())["type"] == "welcome"
            await wait_all_tasks_blocked()
            yield raw

    def end_all(self, topic: str, code: ErrorCode) -> None:
        """As when a topic goes away under its subscribers."""
        for held in self.topics.held:
            if held.open.name == topic:
                for reading in list(held.readings):
                    reading.ended(code, "why")

    async def produce(self, topic: str, *values: bytes | None, partition: int = 0, key: bytes | None = None) -> None:
        """Records at the partition's end, as the live consumer hands them over."""
        await self._send.send(self.batch(topic, *values, partition=partition, key=key))
        await wait_all_tasks_blocked()

    async def pass_over(self, topic: str, offset: int) -> None:
        """Partition 0 goes on there without a record, as after a transaction that was aborted."""
        await self._send.send(Batch(ends=[(topic, 0, offset)], generation=dict(self.kafka.assigned)))
        await wait_all_tasks_blocked()

    def batch(self, topic: str, *values: bytes | None, partition: int = 0, key: bytes | None = None) -> Batch:
        """Such records, not handed over."""
        end = self.kafka.ends_of[topic][partition]
        records = [PlainRecord(partition, end + at, value, key, topic) for at, value in enumerate(values)]
        self.kafka.ends_of[topic][partition] += len(values)
        return Batch(records={topic: records}, generation={topic: self.kafka.assigned[topic]})


@contextlib.asynccontextmanager
async def house(
    limit: int = 100,
    *,
    limits: Limits | None = None,
    publish: Publish | None = None,
    auth: Auth | None = None,
    rules: tuple[Rule, ...] = (),
    origins: tuple[str, ...] = (),
    listen: Listen | None = None,
    **ends: list[int],
) -> AsyncIterator[House]:
    """ends: of each topic's partitions. All of them are exposed, and `gone`, which does not exist. publish: for
    publishing too."""
    config = Config(
        topics={name: Topic(publish=publish is not None) for name in [*ends, "gone"]},
        limits=limits or Limits(),
        publish=publish or Publish(),
        auth=auth or Auth(),
        rules=rules,
        listen=listen or Listen(origins=origins),
    )
    async with trio.open_nursery() as nursery:
        place = House(PlainKafka(ends), config, nursery, limit)
        await wait_all_tasks_blocked()
        yield place
        nursery.cancel_scope.cancel()
