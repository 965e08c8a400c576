"""The Kafka that benchmarks run on: a real one, started here or given with TAILRACE_BENCH_KAFKA=HOST:PORT."""

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.harness import cpu

GIVEN = "TAILRACE_BENCH_KAFKA"
LEADER_SECONDS = 15.0


class Broker(msgspec.Struct, frozen=True):
    """Where it is, and its process when that is on this machine (its CPU is then not taken for a neighbour's)."""

    bootstrap: str
    pid: int | None

    def cpu_seconds(self) -> float:
        """CPU seconds of the broker, 0 when its process is unknown."""
        return cpu.process_seconds(self.pid) if self.pid else 0.0

    @contextmanager
    def topic(self, partitions: int = 1) -> Iterator[str]:
        """A new topic with one replica, deleted afterwards."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        name = f"bench-{os.getpid()}-{next(_numbers)}"
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
        wait_for_leaders(admin, name, partitions)
        try:
            yield name
        finally:
            admin.delete_topics([name])[name].result(30)


_numbers = itertools.count()


@contextmanager
def broker() -> Iterator[Broker]:
    """The broker given, or one of our own for as long as the block lasts."""
    given = os.environ.get(GIVEN)
    if given:
        yield Broker(given, listener_pid(int(given.rpartition(":")[2])))
        return
    from tests.kafka_broker import Broker as TestBroker  # only here: it fetches Kafka with Maven

    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        own = TestBroker(Path(folder))
        try:
            yield Broker(own.bootstrap, listener_pid(int(own.bootstrap.rpartition(":")[2])))
        finally:
            own.kill()


def wait_for_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    """A topic exists before its partitions have leaders; whoever asks in between is told that they are unknown."""
    deadline = time.monotonic() + LEADER_SECONDS
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=LEADER_SECONDS).topics[topic].partitions.values()
        if sum(partition.leader >= 0 for partition in found) == partitions:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{topic} has no leaders after {LEADER_SECONDS} s")


def listener_pid(port: int) -> int | None:
    """The process of this machine that listens on a TCP port, or None (another machine's, or not ours to see)."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) in sockets:
                return int(descriptor.parts[2])
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":  # TCP_LISTEN
                yield fields[9]
