"""A real Apache Kafka for tests: one process, KRaft, both roles, free ports, small heap.

The jars come from Maven once (tests/kafka/pom.xml) into a cache that all clones share. Everything here is plain and
blocking: trio tests call it as it is, because nobody minds a test that waits. Nothing is created on demand: a topic
is there when `topic` has returned.
"""

import contextlib
import ctypes
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

from tailrace.kafka.native import c_function, handle

VERSION = "4.1.0"
USER, PASSWORD = "tailrace", "tailrace-secret"

_HERE = Path(__file__).parent / "kafka"
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_REQUEST_SECONDS = 60.0
_IN_FLIGHT = 50_000  # librdkafka's queue takes 100,000
# Small, and quick to start: up in about 4 s of which 1 s is the formatting of the storage.
_JAVA = ("java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
# A test run that is killed leaves no broker behind (util-linux; without it, it would).
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()

# A death signal is about the thread that started a process. Those of trio's end when they have been idle for 10 s, and
# took a broker that was restarted in one with them; this one lasts as long as the test run.
_STARTER = ThreadPoolExecutor(1, "kafka")

_headers_new = c_function("rd_kafka_headers_new", ctypes.c_void_p, ctypes.c_size_t)
_header_add = c_function(
    "rd_kafka_header_add",
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_ssize_t,
    ctypes.c_char_p,
    ctypes.c_ssize_t,
)
_producev = c_function("rd_kafka_producev", ctypes.c_int)
_producev.argtypes = None  # variadic

Record = bytes | str | tuple[Any, Any] | Mapping[str, Any]
"""A value, (key, value), or what `Producer.produce` takes: value, key, partition, headers, timestamp."""


class Unavailable(Exception):
    """Java or Maven is missing, or the jars could not be had; the text says what to do."""


def jars() -> Path:
    """The folder of Kafka's jars, fetched on first use. Raises `Unavailable`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / f"kafka-{VERSION}"
    if not shutil.which("java"):
        raise Unavailable("no `java` in the PATH: install a Java 17 runtime")
    if not cache.is_dir():
        _fetch(cache)
    return cache


def _fetch(cache: Path) -> None:
    if not shutil.which("mvn"):
        raise Unavailable("no `mvn` in the PATH: install Maven, it fetches Kafka once")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        # A copy of its own: Maven writes beside the pom, and two clones may fetch at the same time.
        shutil.copy(_HERE / "pom.xml", folder)
        command = ["mvn", "-B", "-q", f"-Dkafka.version={VERSION}", "dependency:copy-dependencies"]
        fetched = subprocess.run(
            [*command, "-DincludeScope=runtime", "-DoutputDirectory=jars"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            raise Unavailable(f"Maven could not fetch Kafka:\n{fetched.stdout[-2000:]}{fetched.stderr[-2000:]}")
        with contextlib.suppress(OSError):  # another clone was quicker
            (Path(folder) / "jars").rename(cache)


def lasting(command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """A process that dies with the test run, and not before, whichever thread asks for it."""
    return _STARTER.submit(subprocess.Popen, [*_DIES_WITH_US, *command], **options).result()


class Broker:
    """One broker. Over restarts its addresses stay: `bootstrap`, and `sasl_bootstrap` (PLAIN, `USER`, `PASSWORD`)."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, cluster_id: str | None = None) -> None:
        self._jars = jars()
        self._folder = folder
        self._ports = _free_ports(3)
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = f"127.0.0.1:{self._ports[0]}"
        self.sasl_bootstrap = f"127.0.0.1:{self._ports[1]}"
        self.controller = f"127.0.0.1:{self._ports[2]}"
        self.cluster_id = cluster_id or uuid.uuid4().hex[:22]
        self._write_settings(settings or {})
        self._java("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", "server.properties")
        self.start()
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap}, logger=_Silent())
        # One request at a time: a batch that is sent again (a topic just created may have no leader yet) would
        # else land behind the next. Not idempotence, which minds when a topic is made again under its name.
        in_order = {"bootstrap.servers": self.bootstrap, "linger.ms": 0, "max.in.flight": 1}
        self._producer = Producer(in_order, logger=_Silent())

    # The process.

    def start(self, wait: bool = True) -> None:
        with open(self._log, "ab") as log:
            command = [*_JAVA, *self._java_options(), "kafka.Kafka", "server.properties"]
            self._process = lasting(command, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT)
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.bootstrap):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"Kafka did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL: connections end at once, nothing is said or written."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: the orderly end."""
        self._end(signal.SIGTERM)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP for the block: connections stay open, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_STOP_SECONDS)

    # Topics.

    def topic(self, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """Creates a topic, with a unique name unless given one; `config` as `cleanup_policy="compact"`."""
        name = name or f"topic-{next(self._names)}-{uuid.uuid4().hex[:6]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        self._done(self._admin.create_topics([NewTopic(name, partitions, 1, config=settings)]))
        self._wait_for(lambda: len(self.describe(name)) == partitions, f"topic {name}")
        return name

    def add_partitions(self, topic: str, total: int) -> None:
        self._done(self._admin.create_partitions([NewPartitions(topic, total)]))
        self._wait_for(lambda: len(self.describe(topic)) == total, f"{total} partitions of {topic}")
        self._producer.list_topics(topic, timeout=_REQUEST_SECONDS)  # or it would not know them for minutes

    def delete(self, topic: str) -> None:
        self._done(self._admin.delete_topics([topic]))
        self._wait_for(lambda: not self.describe(topic), f"the end of {topic}")

    def deny(self, topic: str, operation: AclOperation) -> None:
        """Forbids `USER` (on `sasl_bootstrap`) one operation on a topic; the others stay allowed. In force on return:
        the controller has written it when it answers, and the broker was measured to act on it up to 30 ms later."""
        acls = [
            AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, user, "*", each, permission)
            for user, each, permission in (
                (f"User:{USER}", operation, AclPermissionType.DENY),
                ("User:*", AclOperation.ALL, AclPermissionType.ALLOW),
            )
        ]
        self._done(self._admin.create_acls(acls))
        user = AdminClient(self.credentials(), logger=_Silent())
        self._wait_for(lambda: operation not in _allowed(user, topic), f"the refusal of {operation.name} on {topic}")

    def credentials(self, password: str = PASSWORD) -> dict[str, str]:
        """librdkafka's settings for `USER` on the listener that asks for credentials."""
        return {
            "bootstrap.servers": self.sasl_bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        }

    def configure(self, topic: str, **config: str) -> None:
        """Changes settings of a topic, named as `topic` has them. In force on return, as with `deny`."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._done(self._admin.incremental_alter_configs([resource]))
        self._wait_for(lambda: settings.items() <= self._config(topic).items(), f"{settings} of {topic}")

    def _config(self, topic: str) -> dict[str, str]:
        [found] = self._admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return {name: entry.value for name, entry in found.result(_REQUEST_SECONDS).items()}

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Moves the beginning of partitions, as retention would."""
        wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        self._done(self._admin.delete_records(wanted))

    def describe(self, topic: str) -> list[int]:
        """The partitions that have a leader; empty when there is no such topic."""
        found = self._admin.list_topics(topic, timeout=_REQUEST_SECONDS).topics[topic]
        return [] if found.error else [each.id for each in found.partitions.values() if each.leader >= 0]

    # Records.

    def produce(self, topic: str, records: Iterable[Record], partition: int = -1) -> list[tuple[int, int]]:
        """Appends them in order; returns (partition, offset) of each once all are acknowledged, in that order."""
        return _produce(self._producer, topic, records, partition)

    def produce_raw(self, topic: str, value: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """One record with header names of any bytes, which the Python binding cannot write, to partition 0."""
        producer = Producer({"bootstrap.servers": self.bootstrap}, error_cb=_ignore, logger=_Silent())
        c_headers = _headers_new(len(headers))
        for name, content in headers:
            _header_add(c_headers, name, len(name), content, len(content))
        # RD_KAFKA_V_TOPIC, _PARTITION, _VALUE, _HEADERS, _END
        arguments = (1, topic.encode(), 3, 0, 4, value, ctypes.c_size_t(len(value)), 10, ctypes.c_void_p(c_headers), 0)
        assert _producev(ctypes.c_void_p(handle(producer, _ignore)), *arguments) == 0
        assert producer.flush(_REQUEST_SECONDS) == 0

    @contextlib.contextmanager
    def transaction(self, abort: bool = False) -> Iterator["Transaction"]:
        """`with kafka.transaction() as t: t.produce(...)`: committed, or with `abort` aborted, at the block's end, when
        the markers stand in the log too: the end of a transaction is answered before they are written."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": uuid.uuid4().hex}, logger=_Silent()
        )
        producer.init_transactions(_REQUEST_SECONDS)
        producer.begin_transaction()
        transaction = Transaction(producer)
        yield transaction
        end = producer.abort_transaction if abort else producer.commit_transaction
        end(_REQUEST_SECONDS)
        self._wait_for(lambda: self._has_ended(transaction), "the end of a transaction")

    def _has_ended(self, transaction: "Transaction") -> bool:
        """What may be read reaches beyond its records."""
        asked = {TopicPartition(*place): OffsetSpec.latest() for place in transaction.last}
        if not asked:
            return True
        found = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
        ends = {(place.topic, place.partition): future.result().offset for place, future in found.items()}
        return all(ends[place] > offset for place, offset in transaction.last.items())

    def _done(self, futures: Mapping[Any, Any]) -> None:
        for future in futures.values():
            future.result(_REQUEST_SECONDS)

    def _wait_for(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + _REQUEST_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)

    # Files.

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _java_options(self) -> list[str]:
        return ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{self._jars}/*"]

    def _java(self, *arguments: str) -> None:
        done = subprocess.run(
            [*_JAVA, *self._java_options(), *arguments], cwd=self._folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"{arguments[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _write_settings(self, more: Mapping[str, str]) -> None:
        settings = _settings(self._ports, self._folder / "data") | more
        (self._folder / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


class Transaction:
    """An open transaction; what is flushed stands in the log, but is not committed."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.last: dict[tuple[str, int], int] = {}  # by topic and partition, the offset of its last record

    def produce(self, topic: str, records: Iterable[Record], partition: int = -1) -> list[tuple[int, int]]:
        places = _produce(self._producer, topic, records, partition)
        self.last.update(((topic, partition), offset) for partition, offset in places)
        return places


def _ignore(_: object) -> None: ...


class _Silent:
    """librdkafka's lines about a broker that a test has killed are no news."""

    def log(self, *_: object) -> None: ...


def _settings(ports: Sequence[int], data: Path) -> dict[str, str]:
    plain, sasl, controller = ports
    jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{jaas} user_{USER}="{PASSWORD}";',
        # Everybody may do everything, but for what `deny` forbids to `USER`.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A restart after SIGKILL waits until the controller gives up the old broker: 9 s by default.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        # Retention looks 30 s after the start, and would take what a test has just dated back a month.
        "log.retention.ms": "-1",
        # A deleted topic's files go at once; two threads less each for what a test never needs.
        "log.segment.delete.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": "4194304",
        "log.cleaner.backoff.ms": "200",
    }


def _produce(producer: Producer, topic: str, records: Iterable[Record], partition: int) -> list[tuple[int, int]]:
    reports: list[Any] = []
    wanted = [{"partition": partition} | _fields(record) for record in records]
    for fields in wanted:
        while len(producer) >= _IN_FLIGHT:
            producer.poll(0.1)
        producer.produce(topic, on_delivery=lambda *report: reports.append(report), **fields)
    producer.flush(_REQUEST_SECONDS)
    assert len(reports) == len(wanted), f"{len(wanted) - len(reports)} records were not acknowledged"
    assert not any(error for error, _ in reports), next(error for error, _ in reports if error)
    return [(message.partition(), message.offset()) for _, message in reports]


def _fields(record: Record) -> dict[str, Any]:
    if isinstance(record, Mapping):
        return dict(record)
    key, value = record if isinstance(record, tuple) else (None, record)
    return {"key": key, "value": value}


def _allowed(user: AdminClient, topic: str) -> set[AclOperation]:
    """What these credentials may do with a topic; nothing when they may not even see it."""
    asked = user.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=_REQUEST_SECONDS
    )
    try:
        return set(asked[topic].result().authorized_operations)
    except KafkaException as refused:
        if refused.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return set()
        raise


def _answers(bootstrap: str) -> bool:
    try:
        AdminClient({"bootstrap.servers": bootstrap}, logger=_Silent()).list_topics(timeout=1.0)
    except KafkaException:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Below the range that outgoing connections are given: it must still be free when a killed broker comes back."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            each, port = stack.enter_context(socket.socket()), random.randrange(20_000, 32_000)
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", port))
                found.append(port)
        return found
