"""The gateways that can be measured: Tailrace as its users run it, and the C limit. A new peer is one more class."""

import random
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum

import msgspec

from benchmarks.harness.child import Child, TooLate
from benchmarks.harness.programs import LIMIT, program

READY_SECONDS = 30.0


class Shape(StrEnum):
    """What a client asks for."""

    VALUE = "value"  # every record of the topic, bare values
    ENVELOPE = "envelope"  # every record, as /ws sends it
    KEYED = "keyed"  # bare values of one key, a different one for each connection
    REPLAY = "replay"  # bare values from the topic's beginning
    RESUME = "resume"  # bare values, each connection from the offset of its own number on
    IDLE = "idle"  # the multiplexed endpoint, nothing subscribed


class Access(msgspec.Struct, frozen=True):
    """How the sink asks: %06d in a template is the connection's number. `ready` is the text that says it is live.

    With `lines` a frame holds a message a line.
    """

    path: str
    subprotocol: str | None = None
    command: str | None = None
    ready: str | None = None
    lines: bool = False


class Running(msgspec.Struct, frozen=True):
    """A gateway that serves: where, how to ask it for a topic in a shape, and the process whose CPU counts.

    `channels_header` is the header by which it wants to be told where a record goes, if any.
    """

    address: str
    access: Callable[[str, Shape], Access]
    child: Child
    channels_header: str | None = None


@contextmanager
def limit(bootstrap: str, topics: tuple[str, ...], shape: Shape) -> Iterator[Running]:
    """The minimal C gateway, on the first of the topics. It knows no commands: its envelope comes on any path."""
    flags = [f"--{shape}"] if shape in (Shape.ENVELOPE, Shape.KEYED, Shape.REPLAY) else []
    flags += ["--batch", "2000"] if shape is Shape.REPLAY else []  # 400 KB a send
    command = ["--kafka", bootstrap, "--topic", topics[0], "--listen", "127.0.0.1:0", *flags]
    with Child([program("gateway"), *command]) as child:
        port = child.wait_event("ready", READY_SECONDS)["port"]
        yield Running(f"127.0.0.1:{port}", plain_access, child)


@contextmanager
def shape_alone(bootstrap: str, topics: tuple[str, ...], shape: Shape) -> Iterator[Running]:
    """The least a gateway of Tailrace's shape does (limit/shape.py): bare values by key, of the first of the topics."""
    with Child([sys.executable, LIMIT / "shape.py", bootstrap, topics[0]]) as child:
        port = child.wait_event("ready", READY_SECONDS)["port"]
        yield Running(f"127.0.0.1:{port}", plain_access, child)


@contextmanager
def tailrace(bootstrap: str, topics: tuple[str, ...], shape: Shape) -> Iterator[Running]:
    """`tailrace serve` in its defaults."""
    listen, admin = free_address(), free_address()
    exposed = [option for topic in topics for option in ("--topic", topic)]
    command = [sys.executable, "-m", "tailrace", "serve", "--kafka", bootstrap, *exposed]
    with Child([*command, "--listen", listen, "--admin", admin, "--log-format", "json"]) as child:
        wait_ready(child, f"http://{admin}/readyz")
        yield Running(listen, access, child)


Starter = Callable[[str, tuple[str, ...], Shape], AbstractContextManager[Running]]
GATEWAYS: dict[str, Starter] = {"tailrace": tailrace, "limit": limit, "shape": shape_alone}


def access(topic: str, shape: Shape) -> Access:
    """Tailrace's way in for a shape (protocol, sections 1 and 2)."""
    if shape is Shape.IDLE:
        return Access("/ws", "tailrace.v1.json", None, '"type":"welcome"')
    if shape is Shape.ENVELOPE:
        subscribe = msgspec.json.encode({"type": "subscribe", "id": 1, "topic": topic}).decode()
        return Access("/ws", "tailrace.v1.json", subscribe, '"type":"live"')
    return Access(stream_path(topic, shape))


def plain_access(topic: str, shape: Shape) -> Access:
    """The C limit's way in: any path, no commands."""
    return Access(stream_path(topic, shape))


def stream_path(topic: str, shape: Shape) -> str:
    """The path template of a plain stream of values."""
    more = {Shape.KEYED: "&key=k%06d", Shape.REPLAY: "&from=earliest", Shape.RESUME: "&from=offsets:0=%d"}
    return f"/topics/{topic}?format=value" + more.get(shape, "")


def wait_ready(child: Child, url: str) -> None:
    """Waits until /readyz answers 200. Raises TooLate when it ends before, or is not ready in time."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and not child.ended():
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    raise TooLate(f"{child.name} is not ready: {child.stderr()}")


def free_address() -> str:
    """A loopback address nobody listens on, below the ephemeral ports so that no client of a benchmark takes it."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return f"127.0.0.1:{port}"
