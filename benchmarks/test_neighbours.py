"""A well-behaved client beside hostile ones: how much later its records come, the attacker held to half a core.

The median of a stretch without the attacker is held against the one with it, in pairs that alternate, on one gateway;
docs/performance.md says what was seen. What is counted, not timed, is in tests/integration/test_hostile_neighbours.py.
"""

import contextlib
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from tests.attacks import ATTACKS, SCANNED

from benchmarks.harness.broker import broker
from benchmarks.harness.child import Child
from benchmarks.harness.gateways import free_address, wait_ready
from benchmarks.test_storm import _request

pytestmark = pytest.mark.benchmark

PAIRS = 3
RATE = 50  # records a second
STRETCH_SECONDS = 2.0
SETTLE_SECONDS = 0.7  # until the attack is under way, or forgotten
SLICE_SECONDS = 0.01  # it runs so long, then rests so long
MOST = 2.0  # times the usual latency
RATES_OFF = ("limits.handshake_timeout=1s", "limits.commands_per_second=false", "limits.frames_per_second=false")


class Reader(threading.Thread):
    """One client, by the time its records took, in milliseconds."""

    def __init__(self, address: str, topic: str) -> None:
        super().__init__(daemon=True)
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.sendall(_request(f"/topics/{topic}?format=value"))
        assert self._socket.recv(4096).startswith(b"HTTP/1.1 101 ")
        self._latencies: list[float] = []

    def run(self) -> None:
        while data := self._socket.recv(65536):
            now = time.monotonic_ns()
            self._latencies += [(now - int(each[:15])) / 1e6 for each in data.split(b"\x81\x0f")[1:]]

    def median(self) -> float:
        """Of the stretch that begins when it has settled."""
        time.sleep(SETTLE_SECONDS)
        begin = len(self._latencies)
        time.sleep(STRETCH_SECONDS)
        return statistics.median(self._latencies[begin:])


@contextlib.contextmanager
def producing(bootstrap: str, topic: str) -> Iterator[None]:
    """Records whose value is the time, in 15 digits."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def produce() -> None:
        producer.produce(topic, b"%015d" % time.monotonic_ns())
        producer.poll(0)

    with _again_and_again(produce, 1 / RATE):
        yield


@contextlib.contextmanager
def attacking(address: str, topic: str, name: str) -> Iterator[None]:
    """By a process that runs half of the time."""
    command = [sys.executable, "-m", "benchmarks.harness.attacker", address, topic, name]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def rest() -> None:
        attacker.send_signal(signal.SIGSTOP)
        time.sleep(SLICE_SECONDS)
        attacker.send_signal(signal.SIGCONT)

    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"begins\n"  # its interpreter's start would be measured too
        with _again_and_again(rest, SLICE_SECONDS):
            yield
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.communicate()


@contextlib.contextmanager
def _again_and_again(act: Callable[[], None], pause_seconds: float) -> Iterator[None]:
    """In a thread, until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(pause_seconds):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def gateway(bootstrap: str, *topics: str) -> Iterator[str]:
    """Its address. Rates are off: what is attacked is what lies behind."""
    listen, admin = free_address(), free_address()
    options = [word for topic in topics for word in ("--topic", topic)]
    options += [word for each in RATES_OFF for word in ("--set", each)]
    command = [sys.executable, "-m", "tailrace", "serve", "--kafka", bootstrap, *options]
    with Child([*command, "--listen", listen, "--admin", admin, "--log-format", "json"]) as child:
        wait_ready(child, f"http://{admin}/readyz")
        yield listen


@pytest.fixture(scope="module")
def attacked() -> Iterator[tuple[str, str, Reader]]:
    """A gateway's address, a topic to be scanned, and who reads another."""
    with broker() as kafka, kafka.topic() as topic, kafka.topic() as scanned:
        _fill(kafka.bootstrap, scanned)
        with gateway(kafka.bootstrap, topic, scanned) as address, producing(kafka.bootstrap, topic):
            reader = Reader(address, topic)
            reader.start()
            yield address, scanned, reader


@pytest.mark.parametrize("name", ATTACKS)
def test_it_keeps_its_latency(attacked: tuple[str, str, Reader], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    address, scanned, reader = attacked
    pairs = []
    for _ in range(PAIRS):
        quiet = reader.median()
        with attacking(address, scanned, name):
            pairs.append((quiet, reader.median()))
    times = statistics.median(beside / quiet for quiet, beside in pairs)
    with capsys.disabled():
        told = ", ".join(f"{quiet:.2f} > {beside:.2f}" for quiet, beside in pairs)
        print(f"{name:28} {times:.2f} times ({told} ms)", flush=True)
    assert times < MOST


def _fill(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for at in range(SCANNED):
        producer.produce(topic, b"%d" % at, key=b"some")
    producer.flush()
