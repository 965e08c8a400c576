"""The core's inner paths, each with fixed input, for counting: `python paths.py MARK_LIBRARY [CORE]` under callgrind.

A path is set up once, run once so that everything lazy is done, and run once more between two marks. Sockets are
datagram sockets whose receiver never reads: the kernel takes every send() and throws it away, so that no run is ever
refused a byte. `CORE` is another build of the compiled core to count, for the test of the gate.
"""

import ctypes
import gc
import importlib.machinery
import importlib.util
import socket
import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__" and len(sys.argv) > 2:
    spec = importlib.util.spec_from_loader(
        "tailrace._fanout", importlib.machinery.ExtensionFileLoader("tailrace._fanout", sys.argv[2])
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["tailrace._fanout"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

from tailrace import _fanout
from tailrace.core.encode import Encoder
from tailrace.core.frame import TEXT

BUDGET = NEVER = 1 << 30
VALUE = (
    b'{"order_id":"ord-00000017","status":"shipped","total":123.45,"tags":["a","b"],"note":"'.ljust(198, b"x") + b'"}'
)
ENVELOPE = b'{"id":    0,"type":"record","topic":"orders","partition":0,"offset":124,"value":' + VALUE + b"}"
ONE_OF_TEN: list[frozenset[bytes | None] | None] = [frozenset([b"k%05d" % number]) for number in range(10)]
Run = Callable[[], object]


class Record:
    """What the encoder reads of a confluent_kafka.Message, which would bring librdkafka's version into the counts."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1763862162044

    def key(self) -> bytes:
        return b"customer-17"

    def value(self) -> bytes:
        return VALUE

    def headers(self) -> None:
        return None


class Sockets:
    """Lines to nowhere."""

    def __init__(self) -> None:
        self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind(("127.0.0.1", 0))
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.connect(self._receiver.getsockname())

    def line(self) -> _fanout.Line:
        """A line on the one socket, which it keeps open."""
        return _fanout.Line(self._sender.fileno(), owner=self)


class Pipe:
    """A line whose other end is read after every flush: its writer's turns are larger than a datagram."""

    def __init__(self) -> None:
        sender, self._receiver = socket.socketpair()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._sender = sender
        self._buffer = bytearray(4 << 20)

    def line(self) -> _fanout.Line:
        """A new line into it."""
        return _fanout.Line(self._sender.fileno(), owner=self)

    def bring_on(self, line: _fanout.Line) -> None:
        """All that waits, in the writer's turns."""
        found = _fanout.MORE
        while found == _fanout.MORE:
            found = line.flush(131072)
            self._receiver.recv_into(self._buffer)
        assert found == _fanout.DONE, "the kernel refused bytes"


class Topic:
    """A tail and its subscriptions; `publish` appends a batch, sends it, and forgets old blocks."""

    def __init__(self, format_: int, payload: bytes) -> None:
        self.tail = _fanout.Tail(format_, [0])
        self._payload = payload
        self._offset = 0

    def append(self, keys: list[bytes | None]) -> None:
        """One record for each key."""
        for key in keys:
            self.tail.append(TEXT, self._payload, 0, self._offset, key)
            self._offset += 1
        while self.tail.memory_bytes > 8 << 20:
            self.tail.evict()

    def publish(self, keys: list[bytes | None]) -> None:
        """Append and send to everybody."""
        self.append(keys)
        while self.tail.pump(BUDGET):
            pass
        assert not self.tail.take_woken(), "the kernel refused bytes"


def append() -> Run:
    """5,000 records into a tail nobody reads, 200 keys."""
    topic = Topic(_fanout.JSON, ENVELOPE)
    keys: list[bytes | None] = [b"k%05d" % (number % 200) for number in range(5000)]
    return lambda: topic.append(keys)


def publish(format_: int, payload: bytes, connections: int, records: int, batches: int) -> Run:
    """The whole topic to that many connections."""
    topic, sockets = Topic(format_, payload), Sockets()
    held = [_fanout.Subscription(sockets.line(), topic.tail, 1) for _ in range(connections)]
    keys: list[bytes | None] = [None] * records

    def run() -> None:
        for _ in range(batches):
            topic.publish(keys)
        assert held[0].delivered

    return run


def publish_ids() -> Run:
    """Envelopes to 1,000 connections that use ten ids: the id is patched ten times a batch."""
    topic, sockets = Topic(_fanout.JSON, ENVELOPE), Sockets()
    held = [_fanout.Subscription(sockets.line(), topic.tail, 1 + number % 10) for number in range(1000)]

    def run() -> None:
        for _ in range(10):
            topic.publish([None] * 20)
        assert held[0].delivered

    return run


def publish_keyed() -> Run:
    """10,000 keys, ten to a connection; batches of 1,000 records, each wanted once."""
    topic, sockets = Topic(_fanout.VALUE, VALUE), Sockets()
    names = [b"k%05d" % number for number in range(10_000)]
    lines = [sockets.line() for _ in range(1000)]
    held = [
        _fanout.Subscription(lines[number // 10], topic.tail, 1 + number % 10, frozenset([name]))
        for number, name in enumerate(names)
    ]

    def run() -> None:
        for first in range(10):
            topic.publish(list(names[first::10]))
        assert held[0].delivered

    return run


def publish_several_keys() -> Run:
    """500 connections that name 20 of 10,000 keys each: every one walks the index itself."""
    topic, sockets = Topic(_fanout.VALUE, VALUE), Sockets()
    names = [b"k%05d" % number for number in range(10_000)]
    held = [
        _fanout.Subscription(sockets.line(), topic.tail, 1, frozenset(names[first : first + 20]))
        for first in range(0, 10_000, 20)
    ]

    def run() -> None:
        topic.publish(list(names[::50]))
        assert held[0].delivered

    return run


def encode(form: str) -> Run:
    """1,000 records of 200 bytes."""
    encoder = Encoder("orders", max_record_bytes=8 << 20)
    one = getattr(encoder, form)
    records = [Record(offset) for offset in range(1000)]

    def run() -> None:
        for record in records:
            one(record)

    return run


def take_in(format_: int, method: str) -> Run:
    """1,000 usual records of 200 bytes straight into a tail."""
    encoder = Encoder("orders", max_record_bytes=8 << 20)
    append_records = getattr(encoder, method)
    records = [Record(offset) for offset in range(1000)]
    encoder.json(records[0])  # the head of a partition is made once

    def run() -> None:
        assert append_records(_fanout.Tail(format_, [0]), records, 0) == len(records)

    return run


def catch_up(keys: list[frozenset[bytes | None] | None], wanted: int) -> Run:
    """1,000 records of ten keys, read back from Kafka, to 50 connections that want so many of them."""
    stretch, pipe = _fanout.Stretch(_fanout.JSON, 0, 0), Pipe()
    for offset in range(1000):
        stretch.append(TEXT, ENVELOPE, offset, b"k%05d" % (offset % 10))

    def run() -> None:
        tail = _fanout.Tail(_fanout.JSON, [5000])
        for number in range(50):
            line = pipe.line()
            reading = _fanout.Subscription(line, tail, 1 + number, keys[number % len(keys)], floor={0: 0}, away=True)
            reading.feed(stretch)
            pipe.bring_on(line)
            assert reading.delivered == wanted

    return run


def flush() -> Run:
    """Fifty connections that begin 1,000 records back in the tail."""
    topic, pipe = Topic(_fanout.JSON, ENVELOPE), Pipe()
    topic.append([None] * 1000)

    def run() -> None:
        for number in range(50):
            line = pipe.line()
            behind = _fanout.Subscription(line, topic.tail, 1 + number, seq=0)
            topic.tail.take_woken()
            pipe.bring_on(line)
            assert behind.delivered == 1000

    return run


def churn() -> Run:
    """2,000 subscriptions of single keys come and go."""
    topic, sockets = Topic(_fanout.VALUE, VALUE), Sockets()
    line = sockets.line()

    def run() -> None:
        for number in range(2000):
            _fanout.Subscription(line, topic.tail, 1, frozenset([b"k%05d" % number])).close()

    return run


def post() -> Run:
    """10,000 replies on an idle line."""
    line = Sockets().line()
    held = (line, b"\x81\x7d" + b"x" * 125)

    def run() -> None:
        for _ in range(10_000):
            held[0].post(held[1])

    return run


# Name, what it is counted per, how many of those a run has, and the path.
PATHS: dict[str, tuple[str, int, Callable[[], Run]]] = {
    "append": ("record", 5000, append),
    "publish, one record": ("delivery", 20_000, lambda: publish(_fanout.VALUE, VALUE, 1000, 1, 20)),
    "publish, a batch": ("send", 20_000, lambda: publish(_fanout.VALUE, VALUE, 1000, 100, 20)),
    "publish, envelopes": ("send", 20_000, lambda: publish(_fanout.JSON, ENVELOPE, 1000, 100, 20)),
    "publish, ten ids": ("send", 10_000, publish_ids),
    "publish, keyed": ("delivery", 10_000, publish_keyed),
    "publish, several keys": ("record and connection", 100_000, publish_several_keys),
    "take in, envelope": ("record", 1000, lambda: take_in(_fanout.JSON, "append_json")),
    "take in, value": ("record", 1000, lambda: take_in(_fanout.VALUE, "append_values")),
    "encode, envelope": ("record", 1000, lambda: encode("json")),
    "encode, msgpack": ("record", 1000, lambda: encode("msgpack")),
    "encode, value": ("record", 1000, lambda: encode("value")),
    "catch-up": ("delivery", 50_000, lambda: catch_up([None], 1000)),
    "catch-up, one key": ("record and connection", 50_000, lambda: catch_up(ONE_OF_TEN, 100)),
    "flush": ("delivery", 50_000, flush),
    "churn": ("subscription", 2000, churn),
    "post": ("frame", 10_000, post),
}


def main() -> None:
    """Counts every path."""
    mark = ctypes.CDLL(str(Path(sys.argv[1]).resolve()))
    gc.disable()
    _fanout.send_together(NEVER)  # or what is counted goes with the kernel that is there
    for name, (_, _, make) in PATHS.items():
        run = make()
        run()
        mark.mark_begin()
        run()
        mark.mark_end(name.encode())
        gc.collect()


if __name__ == "__main__":
    main()
