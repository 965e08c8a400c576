"""200 connections, 4 topics, 12 partitions, every format and many keys: every record in order, none lost, none twice.

Meanwhile subscriptions come and go, and one client reads nothing until all others have everything. What each must
have got is computed from what the producer was told: (partition, offset) of every record, and from `subscribed`.
"""

import json
from collections import defaultdict
from typing import Any

import trio
from tests.gateway import DEADLINE_SECONDS, JSON, MSGPACK, Client, Gateway, masked, running, until
from tests.kafka_broker import Broker

from tailrace.config import Limits

TOPICS, PARTITIONS, ROUNDS, RECORDS = 4, 3, 12, 50  # records of a round, in each topic
KEYS = [None, *(b"key-%d" % number for number in range(9)), b"\xff\xfe"]
# The one that reads nothing answers no ping either, and the others are not connected in 33 s on every machine.
FOR_EVER = Limits(ping_interval=None, write_timeout=None)
Place = tuple[str, int]  # topic, partition


class Log:
    """What stands in Kafka: key and value by topic, partition and offset."""

    def __init__(self, kafka: Broker) -> None:
        self._kafka = kafka
        self.topics = [kafka.topic(PARTITIONS) for _ in range(TOPICS)]
        self.records: dict[Place, dict[int, tuple[bytes | None, bytes]]] = defaultdict(dict)

    def produce(self, round: int) -> None:
        """One round to every topic, from a thread."""
        for topic in self.topics:
            for partition in range(PARTITIONS):
                sent = [
                    (KEYS[(round + n) % len(KEYS)], b'{"topic":"%s","n":%d}' % (topic.encode(), n))
                    for n in range(round * RECORDS + partition, (round + 1) * RECORDS, PARTITIONS)
                ]
                for (_, offset), record in zip(self._kafka.produce(topic, sent, partition), sent, strict=True):
                    self.records[topic, partition][offset] = record

    def wanted(
        self, place: Place, start: int, keys: frozenset[bytes | None] | None, end: int | None = None
    ) -> list[int]:
        """The offsets that a subscription from `start` must have got, up to `end`."""
        return [
            offset
            for offset, (key, _) in sorted(self.records[place].items())
            if offset >= start and (end is None or offset < end) and (keys is None or key in keys)
        ]


class Subscription:
    """One of a client's, and what came for it."""

    def __init__(self, topic: str, keys: frozenset[bytes | None] | None) -> None:
        self.topic, self.keys = topic, keys
        self.start: dict[int, int] = {}
        self.end: dict[int, int] = {}  # only when it was unsubscribed
        self.got: dict[int, list[int]] = defaultdict(list)
        self.ended = False

    def count(self) -> int:
        return sum(map(len, self.got.values()))

    def wanted(self, log: Log) -> dict[int, list[int]]:
        return {
            partition: log.wanted(
                (self.topic, partition), start, self.keys, self.end.get(partition, start) if self.ended else None
            )
            for partition, start in self.start.items()
        }

    def check(self, log: Log) -> None:
        wanted = self.wanted(log)
        assert {p: offsets for p, offsets in self.got.items() if offsets} == {p: o for p, o in wanted.items() if o}


class Reader:
    """A `/ws` client with several subscriptions, by id."""

    def __init__(self, client: Client, log: Log) -> None:
        self.client, self.log = client, log
        self.subscriptions: dict[int, Subscription] = {}
        self.finished: list[Subscription] = []
        self.pongs = 0

    async def subscribe(self, id: int, topic: str, keys: frozenset[bytes | None] | None) -> None:
        self.subscriptions[id] = Subscription(topic, keys)
        command: dict[str, Any] = {"type": "subscribe", "id": id, "topic": topic}
        if keys is not None:
            packed = self.client.connection.subprotocol == MSGPACK
            command["keys"] = [key if packed or key is None else key.decode() for key in keys]
        await self.client.send(**command)

    async def run(self) -> None:
        while True:
            self.take(self.client.decoded(await self.client.connection.recv()))

    def take(self, message: dict[str, Any]) -> None:
        type, id = message["type"], message["id"]
        if type == "record":
            self.record(self.subscriptions[id], message)
        elif type == "subscribed":
            self.subscriptions[id].start = {int(p): offset for p, offset in message["positions"].items()}
        elif type == "position":
            self.subscriptions[id].end.update({int(p): offset for p, offset in message["positions"].items()})
        elif type == "unsubscribed":
            assert "code" not in message, message
            ended = self.subscriptions.pop(id)
            ended.ended = True
            self.finished.append(ended)
        elif type == "pong":
            self.pongs += 1
        else:
            assert type == "live", message

    def record(self, subscription: Subscription, message: dict[str, Any]) -> None:
        assert subscription.start, "a record before `subscribed`"
        place = (message["topic"], message["partition"])
        assert place[0] == subscription.topic
        subscription.got[place[1]].append(message["offset"])
        sent = self.log.records[place].get(message["offset"])
        if sent is not None:  # else it came before its producer was told where it stands
            value = message["value"]
            assert (json.loads(value) if isinstance(value, bytes) else value) == json.loads(sent[1])

    def count(self) -> int:
        return sum(subscription.count() for subscription in self.subscriptions.values())

    def total(self) -> int:
        wanted = [subscription.wanted(self.log) for subscription in self.subscriptions.values()]
        return sum(len(offsets) for places in wanted for offsets in places.values())

    def check(self) -> None:
        for subscription in [*self.subscriptions.values(), *self.finished]:
            subscription.check(self.log)


class ValueReader:
    """A format=value client: it knows its place by what the values say."""

    def __init__(self, client: Client, log: Log, topic: str, keys: frozenset[bytes | None] | None) -> None:
        self.client, self.log, self.topic, self.keys = client, log, topic, keys
        self.got: list[int] = []

    async def run(self) -> None:
        while True:
            value = json.loads(await self.client.connection.recv())
            assert value["topic"] == self.topic
            self.got.append(value["n"])

    def wanted(self) -> dict[int, list[int]]:
        return {
            partition: [json.loads(self.log.records[self.topic, partition][offset][1])["n"] for offset in offsets]
            for partition in range(PARTITIONS)
            if (offsets := self.log.wanted((self.topic, partition), 0, self.keys))
        }

    def count(self) -> int:
        return len(self.got)

    def total(self) -> int:
        return sum(map(len, self.wanted().values()))

    def check(self) -> None:
        wanted = self.wanted()
        places = {n: partition for partition, numbers in wanted.items() for n in numbers}
        got: dict[int, list[int]] = defaultdict(list)
        for n in self.got:
            got[places[n]].append(n)
        assert got == wanted


class Crowd:
    """All clients, and what they are to have got."""

    def __init__(self, gateway: Gateway, log: Log, nursery: trio.Nursery) -> None:
        self._gateway, self.log, self._nursery = gateway, log, nursery
        self.readers: list[Reader | ValueReader] = []
        self.restless: list[Reader] = []

    async def multiplexed(self, number: int, restless: bool = False) -> None:
        """Three subscriptions, over two topics, that overlap."""
        client = await self._nursery.start(self._connected, "/ws", [MSGPACK if number % 2 else JSON])
        await client.expect("welcome")
        reader = Reader(client, self.log)
        topics = self.log.topics
        some = frozenset({KEYS[number % 10], KEYS[(number + 3) % 10]})
        await reader.subscribe(1, topics[number % TOPICS], some)
        await reader.subscribe(300, topics[(number + 1) % TOPICS], frozenset({KEYS[number % 10]}))
        if number % 6 == 0:
            await reader.subscribe(65_535, topics[number % TOPICS], None)
        self._nursery.start_soon(reader.run)
        self.readers.append(reader)
        if restless:
            self.restless.append(reader)

    async def bare(self, number: int) -> None:
        topic, key = self.log.topics[number % TOPICS], KEYS[1 + number % 9]
        assert key is not None
        path = f"/topics/{topic}?format=value" + ("" if number % 8 == 0 else f"&key={key.decode()}")
        client = await self._nursery.start(self._connected, path, None)
        reader = ValueReader(client, self.log, topic, None if number % 8 == 0 else frozenset({key}))
        self._nursery.start_soon(reader.run)
        self.readers.append(reader)

    async def _connected(self, path: str, subprotocols: list[str] | None, task_status: trio.TaskStatus[Client]) -> None:
        async with self._gateway.stream(path, subprotocols=subprotocols) as client:
            task_status.started(client)
            await trio.sleep_forever()

    async def come_and_go(self) -> None:
        """Each of the restless leaves one subscription and begins another, under the same id as soon as it is free."""
        for number, reader in enumerate(self.restless):
            for id in list(reader.subscriptions):
                topic = self.log.topics[number % TOPICS]
                await reader.client.send(type="unsubscribe", id=id)
                await until(lambda reader=reader, id=id: id not in reader.subscriptions, "`unsubscribed`")
                await reader.subscribe(id, topic, None if number % 2 else frozenset({KEYS[number % 10]}))

    async def until_all_have_everything(self) -> None:
        for reader in self.readers:
            total = reader.total()
            await until(lambda reader=reader, total=total: reader.count() >= total, "the last records")
        for reader in self.readers:  # what comes too much came before this
            with trio.fail_after(DEADLINE_SECONDS):
                await (await reader.client.connection.ping()).wait()

    def check(self) -> None:
        for reader in self.readers:
            reader.check()


async def test_two_hundred_connections(kafka: Broker) -> None:
    log = Log(kafka)
    async with (
        running(kafka, limits=FOR_EVER) as gateway,
        trio.open_nursery() as nursery,
        gateway.raw(buffer_bytes=4096) as stalled,
    ):
        await stalled.message()
        for id, topic in enumerate(log.topics, 1):
            await stalled.send(masked(1, b'{"type":"subscribe","id":%d,"topic":"%s"}' % (id, topic.encode())))
        crowd = Crowd(gateway, log, nursery)
        for number in range(120):
            await crowd.multiplexed(number, restless=number >= 100)
        for number in range(79):
            await crowd.bare(number)
        await until(lambda: len(gateway.door.connections) == 200)
        await until(lambda: all(gateway.users(topic) > 0 for topic in log.topics))
        for round in range(ROUNDS):
            await trio.to_thread.run_sync(log.produce, round)
            if round % 5 == 1:
                await crowd.come_and_go()
        await crowd.until_all_have_everything()
        crowd.check()
        await catch_up(stalled, log)
        nursery.cancel_scope.cancel()


async def catch_up(stalled: Any, log: Log) -> None:
    """The one that did not read finds everything in its place."""
    subscriptions = {id: Subscription(topic, None) for id, topic in enumerate(log.topics, 1)}
    total = sum(map(len, log.records.values()))
    while sum(subscription.count() for subscription in subscriptions.values()) < total:
        message = await stalled.message()
        subscription = subscriptions[message["id"]]
        if message["type"] == "subscribed":
            subscription.start = {int(p): offset for p, offset in message["positions"].items()}
        elif message["type"] == "record":
            subscription.got[message["partition"]].append(message["offset"])
    for subscription in subscriptions.values():
        subscription.check(log)
