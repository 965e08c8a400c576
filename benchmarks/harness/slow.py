"""Clients that read two kilobytes a second beside fast ones: what they cost the others, and the gateway's memory.

Traffic to the same fast connections of one gateway, twice: without slow ones, which warms it up, then with them. Their
sockets have the buffers that Linux gives to everyone. At the end they read as fast as they can and must have had every
record in order. A server's ping is answered when it comes out of the socket, as a client would.
"""

import re
import select
import socket
import threading
import time
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.harness import cpu
from benchmarks.harness.gateways import Shape
from benchmarks.harness.load import Producer, Report, Sink, Traffic
from benchmarks.harness.measuring import (
    PATIENCE_SECONDS,
    Bench,
    Measurement,
    Window,
    flaws,
    open_sink,
    percentiles,
    settled_bytes,
    warm,
)

READ_BYTES = 512
READ_SECONDS = 0.25  # so many bytes each: 2 KB/s
FAST_BYTES = 1 << 18
PING, CLOSE = 9, 8
PONG = b"\x8a\x80\0\0\0\0"
MIB = 1024 * 1024
_SEQUENCE = re.compile(rb',"n":(\d+),')


class Slow:
    """One client of bare values."""

    def __init__(self, address: str, path: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        request = "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        self.socket.sendall(request.format(path).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head.decode())
        self.numbers: list[int] = []
        self.cut = False
        self._data = bytearray()

    def read(self, most: int) -> None:
        """Takes so many bytes, if they are there."""
        if self.cut or not select.select([self.socket], [], [], 0)[0]:
            return
        try:
            data = self.socket.recv(most)
        except ConnectionError:
            data = b""
        self.cut = not data
        self._data += data
        while (frame := self._frame()) is not None:
            self._take(*frame)

    def _frame(self) -> tuple[int, bytes] | None:
        """The first that is whole: opcode and payload."""
        data = self._data
        if len(data) < 2:
            return None
        extended = {126: 2, 127: 8}.get(data[1], 0)
        begin = 2 + extended
        size = int.from_bytes(data[2:begin], "big") if extended else data[1]
        if len(data) < begin + size:
            return None
        frame = data[0] & 15, bytes(data[begin : begin + size])
        del data[: begin + size]
        return frame

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.socket.sendall(PONG)
        elif opcode == CLOSE:
            self.cut = True
        elif found := _SEQUENCE.search(payload):
            self.numbers.append(int(found[1]))


class Crawlers:
    """`count` of them, in a thread, until `hurry`."""

    def __init__(self, count: int, address: str, path: str) -> None:
        self.all = [Slow(address, path) for _ in range(count)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._crawl)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for each in self.all:
            each.socket.close()

    def _crawl(self) -> None:
        while not self._stop.wait(READ_SECONDS):
            for each in self.all:
                each.read(READ_BYTES)

    def hurry(self, records: int, first: int) -> dict[str, int]:
        """Read to the end now: what was wrong with what they got, of so many records from number `first` on."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and any(len(each.numbers) < records and not each.cut for each in self.all):
            select.select([each.socket for each in self.all], [], [], 0.1)
            for each in self.all:
                each.read(FAST_BYTES)
        wrong = {
            "slow_cut": sum(each.cut for each in self.all),
            "slow_incomplete": sum(each.numbers != list(range(first, first + records)) for each in self.all),
        }
        return {name: count for name, count in wrong.items() if count}


class Figures(msgspec.Struct, frozen=True):
    """Of one of the two times."""

    report: Report
    resident_bytes: int
    kernel_bytes: int


def beside_slow(
    bench: Bench, name: str, connections: int, slow: int, traffic: Traffic, before: Traffic | None = None
) -> Measurement:
    """`beyond_ms`: by how much the fast ones' p99 exceeds 1.2 times that without slow ones, or 5 ms more, whichever is
    more; 0 or less is well. `added_mib`: to the resident memory; `kernel_mib`: to the TCP buffers of the machine.

    before: what comes without slow ones, the same by default. Where memory counts it fills the tail, or what the tail
    keeps of the traffic would be taken for the slow ones'.
    """
    traffic = msgspec.structs.replace(traffic, records=bench.records(traffic.records))
    before = before or traffic
    with (
        bench.gateway(name, Shape.VALUE) as (running, (topic,)),
        open_sink(running, topic, Shape.VALUE, connections) as sink,
    ):
        first = warm(bench.broker, topic, sink, traffic, 1)
        window = Window(running.child, (sink,), bench.broker)
        alone = _once(bench, topic, sink, before, first, running.child.pid)
        first += before.records
        with Crawlers(slow, running.address, running.access(topic, Shape.VALUE).path) as crawlers:
            beside = _once(bench, topic, sink, traffic, first, running.child.pid)
            foreign = window.foreign_share()
            wrong = crawlers.hurry(traffic.records, first)
    without, with_ = percentiles(alone.report, "without_"), percentiles(beside.report, "with_")
    allowed = max(1.2 * without["without_p99_ms"], without["without_p99_ms"] + 5)
    values = {
        "beyond_ms": with_["with_p99_ms"] - allowed,
        "added_mib": (beside.resident_bytes - alone.resident_bytes) / MIB,
        "kernel_mib": (beside.kernel_bytes - alone.kernel_bytes) / MIB,
    }
    return Measurement(name, values | without | with_, flaws(alone.report, beside.report) | wrong, foreign)


def _once(bench: Bench, topic: str, sink: Sink, traffic: Traffic, first: int, pid: int) -> Figures:
    sink.expect(traffic.records)
    with Producer(bench.broker.bootstrap, topic, traffic, first):
        reached = sink.wait_reached(traffic.seconds() + PATIENCE_SECONDS)
    report = sink.report(reached)
    return Figures(report, settled_bytes(pid) if reached else cpu.resident_bytes(pid), kernel_bytes())


def kernel_bytes() -> int:
    """What all TCP sockets of the machine hold (`mem` of /proc/net/sockstat, in pages)."""
    found = re.search(r"^TCP:.* mem (\d+)$", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 4096
