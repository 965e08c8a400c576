"""What the chaos test consists of: a producer that stumbles on, gateways that are shot, clients that resume, the truth.

The truth is Kafka's own log, read by a consumer that is not ours once everything has come to rest; what an aborted
transaction or a shot broker did to it is therefore known exactly. A `Follower` keeps of its stream what section 4.3 of
docs/protocol.md says, resumes with nothing else, and notes every record that it was given.
"""

import contextlib
import itertools
import json
import random
import signal
import subprocess
import threading
import time
import uuid
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from tests.gateway import DEADLINE_SECONDS, Addressed, Process, process
from tests.kafka_broker import Broker, _Silent
from tests.node import CLIENT

KEYS = [b"a", b"b", b"c", b"d", None]
END_SECONDS = 120.0  # for what comes to its end: the writer, and the reading of the truth
Truth = dict[int, list[tuple[int, int, str | None]]]
"""Per partition every record of the log: offset, serial number, key."""


class Writer:
    """A thread that writes numbered records, plain ones and transactions, until told to stop; it survives a broker that
    is killed or hangs, at the price of records that are not written, or twice. `pace`: records a second. Stopped, it
    ends within `END_SECONDS`, or says what it waited for."""

    def __init__(self, kafka: Broker, topic: str, partitions: int, pace: int, seed: int) -> None:
        self.partitions = partitions
        self._settings = {
            "bootstrap.servers": kafka.bootstrap,
            "linger.ms": 2,
            "message.timeout.ms": 4000,
            "reconnect.backoff.max.ms": 500,
            "topic.metadata.refresh.interval.ms": 500,
        }
        self._topic = topic
        self._pace = pace
        self._random = random.Random(seed)
        self._serials = itertools.count()
        self._stopping = threading.Event()
        self._transactional_id = uuid.uuid4().hex

    def run(self) -> None:
        plain = Producer(self._settings, logger=_Silent())
        careful = None
        while not self._stopping.is_set():
            self._write(plain, self._random.randrange(1, 30))
            plain.flush(0.2)
            try:
                careful = careful or self._transactional()
                self._transaction(careful)
            except KafkaException:
                careful = None  # the next one fences it, which aborts what it left open
        left = plain.flush(END_SECONDS / 2)
        assert not left, f"the writer's last {left} records were neither written nor given up"
        if careful is None:
            self._abort_what_is_open()

    def _abort_what_is_open(self) -> None:
        """Behind a transaction that nobody ended no committed record would be read."""
        deadline, told = time.monotonic() + END_SECONDS / 2, ""
        while time.monotonic() < deadline:
            try:
                self._transactional(seconds=20.0)
                return
            except KafkaException as error:
                told = str(error)
        raise AssertionError(f"the writer's last transaction could not be fenced off: {told}")

    def stop(self) -> None:
        self._stopping.set()

    def _transactional(self, seconds: float = 5.0) -> Producer:
        settings = self._settings | {"transactional.id": self._transactional_id, "transaction.timeout.ms": 5000}
        producer = Producer(settings, logger=_Silent())
        producer.init_transactions(seconds)
        return producer

    def _transaction(self, producer: Producer) -> None:
        producer.begin_transaction()
        self._write(producer, self._random.randrange(1, 20))
        if self._random.random() < 0.3:
            producer.flush(0.5)  # so that what is aborted stands in the log
            producer.abort_transaction(5.0)
        else:
            producer.commit_transaction(5.0)

    def _write(self, producer: Producer, count: int) -> None:
        for _ in range(count):
            serial, key = next(self._serials), self._random.choice(KEYS)
            value = json.dumps({"serial": serial, "pad": "." * self._random.choice([0, 0, 50, 200, 2000])})
            with contextlib.suppress(BufferError, KafkaException):  # a partition it has not heard of yet
                producer.produce(self._topic, value, key, partition=self._random.randrange(self.partitions))
        producer.poll(0)
        self._stopping.wait(count / self._pace)


def read_truth(kafka: Broker, topic: str, partitions: int) -> Truth:
    """The whole log, as a read_committed consumer has it."""
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": uuid.uuid4().hex,
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
    consumer = Consumer(settings, logger=_Silent())
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    truth: Truth = {partition: [] for partition in range(partitions)}
    ended: set[int] = set()
    deadline = time.monotonic() + END_SECONDS
    while len(ended) < partitions:
        assert time.monotonic() < deadline, f"only {ended} of {partitions} partitions were read to their ends"
        for message in consumer.consume(10_000, 0.5):
            partition, error = message.partition(), message.error()
            if error is None:
                key = message.key()
                serial = json.loads(message.value())["serial"]
                truth[partition].append((message.offset(), serial, key and key.decode()))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(partition)
    consumer.close()
    return truth


class Shot(Exception):
    """A client's own end of a connection."""


class Follower:
    """One subscription, over any number of connections; `take` judges each message as it comes."""

    def __init__(self, name: str, topic: str, keys: list[str | None] | None = None) -> None:
        self.name = name
        self.topic = topic
        self.keys = keys
        self.kept: dict[int, int] = {}
        self.topic_id: str | None = None
        self.begun: dict[int, int] = {}
        self.live = False
        self.connections = 0
        self.pause = 0.0  # seconds between two records: a slow client
        self.left_open: list[object] = []  # connections that nobody has closed
        self.offsets: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
        self.serials: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))

    def __repr__(self) -> str:
        return f"<{self.name}, connected {self.connections} times, at {self.kept}, received {self.received}>"

    @property
    def place(self) -> int:
        """Rises with every progress."""
        return sum(self.kept.values())

    @property
    def received(self) -> int:
        return sum(map(len, self.offsets.values()))

    @property
    def fields(self) -> dict[str, Any]:
        """Of its subscribe, after `topic`."""
        from_: Any = "earliest"
        if self.topic_id is not None:
            from_ = {"offsets": {str(p): offset for p, offset in self.kept.items()}, "topic_id": self.topic_id}
        return {"topic": self.topic, "from": from_} | ({} if self.keys is None else {"keys": self.keys})

    def take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "record":
                self._record(message["partition"], message["offset"], message["value"])
            case "subscribed":
                self._subscribed({int(p): offset for p, offset in message["positions"].items()}, message["topic_id"])
            case "position":
                self._reach({int(p): offset for p, offset in message["positions"].items()})
            case "live":
                assert not self.live, "live again"
                self.live = True
            case "gap":
                raise AssertionError(f"nothing was lost here: {message}")

    def _subscribed(self, positions: dict[int, int], topic_id: str | None) -> None:
        assert self.topic_id in (None, topic_id)
        wrong = {p: offset for p, offset in positions.items() if self.topic_id and offset != self.kept.get(p, 0)}
        assert not wrong, f"it does not go on where it was told to: {wrong}, not {self.kept}"
        self.topic_id, self.live = topic_id, False
        if self.connections == 0:
            self.begun = positions  # a partition that comes later is read from its beginning
        self.connections += 1
        self._reach(positions)

    def _reach(self, positions: dict[int, int]) -> None:
        for partition, offset in positions.items():
            assert offset >= self.kept.get(partition, 0), f"the place went back to {partition}/{offset}: {self.kept}"
            self.kept[partition] = offset

    def _record(self, partition: int, offset: int, value: Any) -> None:
        assert offset >= self.kept.get(partition, 0), f"{partition}/{offset} comes again, or too late: {self.kept}"
        self.kept[partition] = offset + 1
        self.offsets[partition].append(offset)
        self.serials[partition].append((value if isinstance(value, dict) else json.loads(value))["serial"])

    def wanted(self, truth: Truth, partition: int) -> list[tuple[int, int]]:
        begun = self.begun.get(partition, 0)
        return [
            (offset, serial)
            for offset, serial, key in truth[partition]
            if offset >= begun and (self.keys is None or key in self.keys)
        ]

    def goals(self, truth: Truth) -> dict[int, int]:
        """Of every partition that has something for it, the offset of the last record it wants."""
        lasts = {partition: self.wanted(truth, partition)[-1:] for partition in truth}
        return {partition: last[0][0] for partition, last in lasts.items() if last}

    def has_reached(self, goals: dict[int, int]) -> bool:
        """It has got, or passed, all of these. To be asked often: its clients share the loop with whoever asks."""
        return all(self.kept.get(partition, 0) > offset for partition, offset in goals.items())

    def check(self, truth: Truth) -> int:
        """How many deliveries were right; fails when one is missing, repeated, out of order, or another one."""
        for partition in truth:
            wanted = self.wanted(truth, partition)
            assert list(zip(self.offsets[partition], self.serials[partition], strict=True)) == wanted, partition
        return self.received


class Program(Follower):
    """A client of ours as its users run it; `read` takes partition and offset from a line that it prints."""

    def __init__(self, name: str, topic: str, command: Sequence[str], read: Callable[[bytes], tuple[int, int]]) -> None:
        super().__init__(name, topic)
        self._command = command
        self._read = read

    async def run(self, log: Path) -> None:
        """Until cancelled; that it ends by itself is a failure."""
        with log.open("wb") as errors:
            running = await trio.lowlevel.open_process(self._command, stdout=subprocess.PIPE, stderr=errors, cwd=CLIENT)
        assert running.stdout is not None
        left = b""
        try:
            async for data in running.stdout:
                *lines, left = (left + data).split(b"\n")
                for line in lines:
                    self._printed(*self._read(line))
            raise AssertionError(f"{self.name} has ended, see {log}")
        finally:
            running.kill()

    def _printed(self, partition: int, offset: int) -> None:
        assert offset >= self.kept.get(partition, 0), f"{partition}/{offset} comes again, or too late: {self.kept}"
        self.kept[partition] = offset + 1
        self.offsets[partition].append(offset)

    def check(self, truth: Truth) -> int:
        for partition in truth:
            assert list(self.offsets[partition]) == [offset for offset, _ in self.wanted(truth, partition)], self
        return self.received


class Gateways:
    """Two of them, each on an address that it keeps when it is shot and started again."""

    def __init__(self, folder: Path, kafka: Broker, addresses: list[str]) -> None:
        self._folder = folder
        self._kafka = kafka
        self.addresses = addresses
        self._running: dict[int, trio.CancelScope] = {}
        self.processes: dict[int, Process] = {}

    @property
    def any(self) -> Addressed:
        """An address that answered some time."""
        found = Addressed()
        found.public = random.choice(self.addresses)
        return found

    async def start(self, nursery: trio.Nursery, number: int) -> None:
        await nursery.start(self._serve, number)

    async def _serve(self, number: int, task_status: trio.TaskStatus[None]) -> None:
        folder = self._folder / f"gateway-{number}-{uuid.uuid4().hex[:4]}"
        folder.mkdir()
        options = ["--listen", self.addresses[number], "--set", "tail.max_bytes=1MiB", "--set", "catchup.readers=2"]
        with trio.CancelScope() as self._running[number]:
            async with process(folder, self._kafka, *options) as gateway:
                self.processes[number] = gateway
                task_status.started()
                await gateway.process.wait()
        assert "Traceback" not in gateway.log, gateway.log[-4000:]

    async def shoot(self, nursery: trio.Nursery, number: int) -> None:
        """SIGKILL, and a new one in its place."""
        self.processes[number].process.kill()
        with trio.fail_after(DEADLINE_SECONDS):
            await self.processes[number].process.wait()
        await self.start(nursery, number)

    async def freeze(self, number: int, seconds: float) -> None:
        """SIGSTOP: its connections stay open, and nobody is there."""
        self.processes[number].process.send_signal(signal.SIGSTOP)
        await trio.sleep(seconds)
        self.processes[number].process.send_signal(signal.SIGCONT)


async def retrying(once: Callable[[], Any]) -> None:
    """Connect anew whenever it ends, as the close codes allow: all endings here do."""
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError, EOFError, Shot):
            await once()
        await trio.sleep(random.uniform(0.05, 0.2))
