"""Ten thousand reconnect within a second: those who are connected keep their latency, and everybody has an answer.

200 clients read records that carry the time they were produced at. The median of a quiet stretch is held against the
one beside the storm, in pairs on one gateway each; benchmarks/README.md says what was seen.
"""

import select
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from confluent_kafka import Producer

from benchmarks.harness.broker import broker
from benchmarks.harness.gateways import Shape, tailrace
from benchmarks.harness.storm import Outcome

pytestmark = pytest.mark.benchmark

CONNECTED = 200
COUNT = 10_000
PAIRS = 3
RATE = 20  # records a second
QUIET_SECONDS = 4.0
MOST = 2.0  # times the quiet latency


class Readers(threading.Thread):
    """Connected clients, by the time their records took."""

    def __init__(self, address: str, topic: str) -> None:
        super().__init__(daemon=True)
        self._epoll = select.epoll()
        self._sockets = {}
        host, _, port = address.rpartition(":")
        for _ in range(CONNECTED):
            sock = socket.create_connection((host, int(port)))
            sock.sendall(_request(f"/topics/{topic}?format=value"))
            assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)
        self.latencies: list[float] = []
        self.ending = False

    def run(self) -> None:
        while not self.ending:
            for number, _ in self._epoll.poll(0.1):
                data = self._sockets[number].recv(65536)
                now = time.monotonic_ns()
                self.latencies += [(now - int(each)) / 1e6 for each in data.split(b"\x81\x0f")[1:]]

    def take(self) -> list[float]:
        """What came since the last time, in milliseconds."""
        taken, self.latencies = self.latencies, []
        return taken


def _request(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


@contextmanager
def producing(bootstrap: str, topic: str) -> Iterator[None]:
    """Records whose value is the time, in 15 digits."""
    ended = threading.Event()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def run() -> None:
        while not ended.wait(1 / RATE):
            producer.produce(topic, b"%015d" % time.monotonic_ns())
            producer.poll(0)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


def come(address: str) -> tuple[Outcome, subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.harness.storm", address, str(COUNT)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return msgspec.json.decode(process.stdout.readline(), type=Outcome), process


def test_ten_thousand_reconnect(capsys: pytest.CaptureFixture[str]) -> None:
    ratios = []
    with broker() as kafka, kafka.topic() as topic:
        for _ in range(PAIRS):
            with tailrace(kafka.bootstrap, (topic,), Shape.VALUE) as gateway, producing(kafka.bootstrap, topic):
                readers = Readers(gateway.address, topic)
                readers.start()
                time.sleep(1.0)
                readers.take()
                time.sleep(QUIET_SECONDS)
                quiet = readers.take()
                outcome, process = come(gateway.address)
                beside = readers.take()
                readers.ending = True
                readers.join()
                process.communicate(b"")
            ratios.append(statistics.median(beside) / statistics.median(quiet))
            with capsys.disabled():
                print(f"\n{outcome}\n  quiet {_told(quiet)}\n  storm {_told(beside)}, {ratios[-1]:.2f} times")
            assert outcome.lost == 0
            assert outcome.let_in + outcome.told == COUNT
    assert statistics.median(ratios) < MOST


def _told(milliseconds: list[float]) -> str:
    tenths = statistics.quantiles(milliseconds, n=100)
    return f"p50 {statistics.median(milliseconds):.2f} ms, p99 {tenths[98]:.2f} ms"
