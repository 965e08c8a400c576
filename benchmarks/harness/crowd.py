"""A topic's tail in this process with thousands of subscribers on real sockets, a `drain` process at their other ends.

What the gateway does with a batch, without Kafka, trio and WebSockets: append, pump, and bring on who fell behind. So
a fan-out can be held against the bare send loop (limit/sendloop.c), which sends to the same drain.
"""

import contextlib
import json
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from benchmarks.harness.programs import program
from tailrace import _fanout
from tailrace.core.frame import TEXT

BUDGET = 16 << 20
TAIL_BYTES = 64 << 20
Key = bytes | None


class Reader:
    """One connection: its socket, its line, and a subscription for each set of keys (None = every record)."""

    def __init__(self, connection: socket.socket, tail: _fanout.Tail, wanted: Sequence[frozenset[Key] | None]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.line = _fanout.Line(connection.fileno(), owner=self)
        self.subscriptions = [_fanout.Subscription(self.line, tail, 1, keys) for keys in wanted]

    def bring_on(self) -> None:
        """Sends what waits, as the writer task would."""
        while (found := self.line.flush(BUDGET)) != _fanout.DONE:
            assert found != _fanout.BROKEN, "the drain went away"
            if found == _fanout.BLOCKED:
                wait_writable(self.socket)

    def delivered(self) -> int:
        """Records committed to the line."""
        return sum(subscription.delivered for subscription in self.subscriptions)


class Crowd:
    """A reader on each connection, of the whole topic or of its own keys; `publish` gives them a batch."""

    def __init__(self, format_: int, connections: list[socket.socket], keys: Sequence[Sequence[Key]] | None) -> None:
        self.tail = _fanout.Tail(format_, [0])
        self.offset = 0
        wanted: list[list[frozenset[Key] | None]] = [[None]] * len(connections)
        if keys is not None:
            wanted = [[frozenset([key]) for key in mine] for mine in keys]
        self.readers = [Reader(each, self.tail, mine) for each, mine in zip(connections, wanted, strict=True)]

    def publish(self, payloads: Sequence[tuple[bytes, Key]]) -> None:
        """Appends records (payload, key) and sends until everybody has them."""
        for payload, key in payloads:
            self.tail.append(TEXT, payload, 0, self.offset, key)
            self.offset += 1
        while self.tail.pump(BUDGET):
            pass
        for reader in self.tail.take_woken():
            reader.bring_on()
        while self.tail.memory_bytes > TAIL_BYTES:
            self.tail.evict()

    def delivered(self) -> int:
        """Records committed to all lines."""
        return sum(reader.delivered() for reader in self.readers)

    def deliveries_per_cpu_second(self, payloads: Sequence[tuple[bytes, Key]], seconds: float) -> float:
        """Publishes the batch again and again for that many seconds."""
        before, started, until = self.delivered(), time.process_time(), time.monotonic() + seconds
        while time.monotonic() < until:
            self.publish(payloads)
        spent = time.process_time() - started
        return (self.delivered() - before) / spent


def wait_writable(connection: socket.socket) -> None:
    """Blocks until the kernel takes more."""
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    poll.poll()


@contextlib.contextmanager
def drained(connections: int) -> Iterator[list[socket.socket]]:
    """That many accepted connections whose other ends throw everything away."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener, contextlib.ExitStack() as stack:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        drain = subprocess.Popen([program("drain"), address, str(connections)])
        stack.callback(drain.wait)
        yield [stack.enter_context(listener.accept()[0]) for _ in range(connections)]


def send_loop(connections: int, frame_bytes: int, frames_per_send: int, seconds: float) -> float:
    """Deliveries per CPU second of the bare C loop."""
    program("drain")
    arguments = [connections, frame_bytes, frames_per_send, seconds]
    done = subprocess.run([program("sendloop"), *map(str, arguments)], capture_output=True, check=True)
    return float(json.loads(done.stdout)["deliveries_per_cpu_second"])
