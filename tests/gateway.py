"""The gateway and its clients for integration tests: all in one trio loop, on free ports, with the log kept.

`running` is a gateway in this process, with its innards in reach (`door`, `topics`); a block in which it logged a
traceback, or anything as an error, fails. `Process` is the command line in a process of its own, for signals and exit
codes. A `Client` is the `websockets` library, which knows nothing of ours; a `Raw` one is a socket and bytes. Nothing
waits longer than `DEADLINE_SECONDS`, and nothing sleeps.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h11
import msgpack
import msgspec
import pytest
import structlog
import trio
from structlog.processors import format_exc_info
from tests.kafka_broker import Broker
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import ClientConnection, connect

from tailrace.config import Admin, Config, Listen, Topic
from tailrace.gateway import server, tending
from tailrace.gateway.door import Door
from tailrace.gateway.parts import Parts
from tailrace.gateway.publishing import Publishing
from tailrace.gateway.topics import Topics
from tailrace.websocket.connection import Connection

DEADLINE_SECONDS = 180.0  # a gateway with two workers took more than 60 to start, on a core that twenty shared
JSON, MSGPACK = "tailrace.v1.json", "tailrace.v1.msgpack"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
UPGRADING = [("Host", "x"), ("Connection", "upgrade"), ("Upgrade", "websocket")]
SOURCES = Path(__file__).parent.parent / "src"

Log = list[Mapping[str, Any]]


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait for a condition of this process, looked at each time the loop has gone round."""
    with trio.move_on_after(DEADLINE_SECONDS) as scope:
        while not condition():  # noqa: ASYNC110  the gateway's plain state, which tells nobody when it changes
            await trio.sleep(0.005)
    assert not scope.cancelled_caught, f"waited in vain for {what}"


class Client:
    """A `/ws` or `/topics` client. Messages come as dicts, in either subprotocol; `closed` after the last."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._packed = connection.subprotocol == MSGPACK

    async def send(self, **command: Any) -> None:
        """A command; `from_` is `from`."""
        if "from_" in command:
            command["from"] = command.pop("from_")
        await self.raw(msgpack.packb(command) if self._packed else json.dumps(command))

    async def raw(self, message: str | bytes) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            await self.connection.send(message)

    async def receive(self) -> Any:
        """The next message, decoded. Raises ConnectionClosed."""
        return self.decoded(await self.bare())

    def decoded(self, message: str | bytes) -> Any:
        """What it says; it must be of the kind that its subprotocol has."""
        if self._packed:
            assert isinstance(message, bytes), message
            return msgpack.unpackb(message, strict_map_key=False)
        assert isinstance(message, str), message
        return json.loads(message)

    async def bare(self) -> str | bytes:
        """The next message as it is."""
        with trio.fail_after(DEADLINE_SECONDS):
            return await self.connection.recv()

    async def expect(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next message, which must be of this type and have these fields."""
        message = await self.receive()
        assert message["type"] == type, message
        assert {name: message.get(name) for name in fields} == fields, message
        return message

    async def ask(self, type: str, id: int = 1, **fields: Any) -> dict[str, Any]:
        """A command and the next message."""
        await self.send(type=type, id=id, **fields)
        return await self.receive()

    async def subscribe(self, topic: str, id: int = 1, **fields: Any) -> dict[str, Any]:
        """`subscribed`, once `live` has come too; nothing else may come between."""
        await self.send(type="subscribe", id=id, topic=topic, **fields)
        subscribed = await self.expect("subscribed", id=id, topic=topic)
        await self.expect("live", id=id)
        return subscribed

    async def records(self, count: int) -> list[dict[str, Any]]:
        """The next messages, which must be so many records."""
        return [await self.expect("record") for _ in range(count)]

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame that came; 1006 without one. Fails when a message comes."""
        try:
            message = await self.bare()
        except ConnectionClosed as ended:
            return (ended.rcvd.code, ended.rcvd.reason) if ended.rcvd else (1006, "")
        raise AssertionError(f"not the end: {message!r}")


class Raw:
    """A socket with a WebSocket handshake behind it, for what no library does."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""

    async def send(self, data: bytes) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            await self.stream.send_all(data)

    async def head(self) -> None:
        """The answer to the handshake, which must be 101."""
        while b"\r\n\r\n" not in self.received:
            with trio.fail_after(DEADLINE_SECONDS):
                data = await self.stream.receive_some(4096)
            assert data, self.received
            self.received += data
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload; EOFError when there is none."""
        head = await self._read(2)
        size = head[1] & 0x7F
        assert head[0] & 0xF0 == 0x80, head
        assert head[1] < 0x80, "masked"
        if size > 125:
            size = int.from_bytes(await self._read(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, await self._read(size)

    async def message(self) -> Any:
        """The next one; pings before it are answered, as whoever waits long gets some."""
        opcode, payload = await self.frame()
        while opcode == 9:
            await self.send(masked(10, payload))
            opcode, payload = await self.frame()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    async def close_frame(self) -> tuple[int, str]:
        """Skips whatever comes before it."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def end_of_file(self) -> bytes:
        """Everything up to the end; an RST counts as one."""
        rest = self.received
        with trio.fail_after(DEADLINE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some(65536):
                rest += data
        return rest

    async def reset(self) -> None:
        """Ends it with RST."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(self.stream)

    async def _read(self, size: int) -> bytes:
        with trio.fail_after(DEADLINE_SECONDS):
            while len(self.received) < size:
                data = await self.stream.receive_some(65536)
                if not data:
                    raise EOFError
                self.received += data
        data, self.received = self.received[:size], self.received[size:]
        return data


def masked(opcode: int, payload: bytes = b"", *, final: bool = True, announce: int | None = None) -> bytes:
    """A client's frame, its mask all zero; `announce` another size than the payload has."""
    size = len(payload) if announce is None else announce
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class Answer(msgspec.Struct):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Addressed:
    """What can be connected to. public, admin: HOST:PORT."""

    public: str
    admin: str

    def connect(self, path: str = "/ws", **options: Any) -> connect:
        """The `websockets` client, without its own keep-alive, and with more patience than its 10 s for a handshake."""
        waits = {"ping_interval": None, "open_timeout": DEADLINE_SECONDS}
        options = waits | {"compression": None, "proxy": None, "max_size": None} | options
        return connect(f"ws://{self.public}{path}", **options)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, **options: Any) -> AsyncIterator[Client]:
        """A client at a `/topics` path; nothing is read."""
        async with self.connect(path, **options) as connection:
            yield Client(connection)

    @contextlib.asynccontextmanager
    async def client(self, subprotocol: str = JSON, **options: Any) -> AsyncIterator[Client]:
        """A client at `/ws` that was welcomed."""
        async with self.stream("/ws", subprotocols=[subprotocol], **options) as client:
            await client.expect("welcome")
            yield client

    @contextlib.asynccontextmanager
    async def raw(self, path: str = "/ws", *, buffer_bytes: int | None = None) -> AsyncIterator[Raw]:
        """A socket, after the handshake. buffer_bytes: of its receive buffer."""
        async with await self.socket(buffer_bytes) as stream:
            raw = Raw(stream)
            await raw.send(handshake(path))
            await raw.head()
            yield raw

    async def socket(self, buffer_bytes: int | None = None, admin: bool = False) -> trio.SocketStream:
        """A connected TCP stream."""
        host, _, port = (self.admin if admin else self.public).rpartition(":")
        sock = trio.socket.socket()
        if buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await sock.connect((host, int(port)))
        return trio.SocketStream(sock)

    @contextlib.asynccontextmanager
    async def reset_after(self, data: bytes) -> AsyncIterator[None]:
        """A client that says this much, and is gone with an RST when the block ends."""
        raw = Raw(await self.socket())
        await raw.send(data)
        yield
        await raw.reset()

    async def get(self, path: str, admin: bool = False, method: str = "GET", **headers: str) -> Answer:
        """A plain HTTP request; `sec_websocket_key` is the header Sec-WebSocket-Key."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in ({"host": self.public} | headers).items()]
        async with await self.socket(admin=admin) as stream:
            await stream.send_all("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode())
            return await _answer(stream)

    async def refused(self, path: str, **headers: str) -> Answer:
        """The answer to a handshake."""
        return await self.get(
            path,
            **{
                "upgrade": "websocket",
                "connection": "Upgrade",
                "sec_websocket_key": KEY,
                "sec_websocket_version": "13",
            }
            | headers,
        )

    async def until_ready(self, ready: bool = True) -> Answer:
        """Wait until `/readyz` says so."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (answer := await self.get("/readyz", admin=True)).status != (200 if ready else 503):
            assert time.monotonic() < deadline, answer
            await trio.sleep(0.05)
        return answer


def handshake(path: str = "/ws", *lines: str) -> bytes:
    """A handshake's head."""
    head = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


async def _answer(stream: trio.SocketStream) -> Answer:
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=UPGRADING))
    parser.send(h11.EndOfMessage())
    status, headers, body = 0, {}, b""
    with trio.fail_after(DEADLINE_SECONDS):
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await stream.receive_some(65536))
            elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
                if status == 101:
                    return Answer(status, headers, b"")
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return Answer(status, headers, body)


class Gateway(Addressed):
    """A gateway in this process."""

    door: Door
    topics: Topics
    parts: Parts
    publishing: Publishing
    log: Log

    async def metrics(self) -> dict[str, float]:
        """What `/metrics` says: by the series as it stands there, `name{label="value"}`."""
        answer = await self.get("/metrics", admin=True)
        assert answer.status == 200, answer
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def logged(self, event: str) -> Log:
        return [entry for entry in self.log if entry["event"] == event]

    def users(self, topic: str) -> int:
        """How many subscriptions hold it open; 0 when it is not."""
        return sum(held.open.users for held in self.topics.held if held.open.name == topic)

    async def only(self) -> Connection:
        """The one connection, once it has been let in."""
        await until(lambda: self.door.connections, "a connection")
        (connection,) = self.door.connections
        return connection

    async def until_all_left(self) -> None:
        """Every connection has been closed and forgotten."""
        await until(lambda: not self.door.connections and not self.door._inside, "the connections' end")


@contextlib.asynccontextmanager
async def running(kafka: Broker | str, /, **sections: Any) -> AsyncIterator[Gateway]:
    """A gateway that exposes every topic named topic-*. sections: of the configuration, in place of the defaults."""
    bootstrap = kafka if isinstance(kafka, str) else kafka.bootstrap
    defaults = {
        "listen": Listen(address="127.0.0.1:0"),
        "admin": Admin(address="127.0.0.1:0"),
        "kafka": {"bootstrap.servers": bootstrap},
        "topics": {"topic-*": Topic()},
    }
    gateway = Gateway()
    config = Config(**(defaults | sections))
    with structlog.testing.capture_logs([format_exc_info]) as gateway.log, _observed(gateway):
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(server.serve, config)
            gateway.public, gateway.admin = addresses.public, addresses.admin
            yield gateway
            nursery.cancel_scope.cancel()
    faults = [entry for entry in gateway.log if "exception" in entry or entry["log_level"] in ("error", "critical")]
    assert not faults, "\n".join(f"{fault['event']}\n{fault.get('exception')}" for fault in faults)


@contextlib.contextmanager
def _observed(gateway: Gateway) -> Iterator[None]:
    """Let the gateway's innards be found by the test."""

    class SeenDoor(Door):
        def __init__(self, config: Config, topics: Topics, publishing: Publishing, *rest: Any) -> None:
            super().__init__(config, topics, publishing, *rest)
            gateway.door, gateway.topics, gateway.publishing = self, topics, publishing

    class SeenParts(Parts):
        def __post_init__(self) -> None:
            gateway.parts = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "Door", SeenDoor)
        patch.setattr(server, "Parts", SeenParts)
        # A place may be told between any two messages then; that it is: tests/unit/test_tending.py.
        patch.setattr(tending, "PLACE_SECONDS", 3600.0)
        yield


class Process(Addressed):
    """`python -m tailrace serve` as a process."""

    def __init__(self, process: trio.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """Whole lines: the last one may be half written yet."""
        return self._log.read_bytes().rpartition(b"\n")[0].decode()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Its exit code."""
        with trio.fail_after(DEADLINE_SECONDS):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def process(folder: Path, kafka: Broker | str, *options: str) -> AsyncIterator[Process]:
    """The gateway as a process that exposes topic-*, once it listens; killed at the end if it still runs."""
    bootstrap = kafka if isinstance(kafka, str) else kafka.bootstrap
    free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"]
    command = [sys.executable, "-m", "tailrace", "serve", "--kafka", bootstrap, "--topic", "topic-*", *free, *options]
    environment = os.environ | {"PYTHONPATH": f"{SOURCES}:{os.environ.get('PYTHONPATH', '')}"}
    log = folder / "gateway.log"
    with log.open("wb") as out:
        running = await trio.lowlevel.open_process(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    found = Process(running, log)
    try:
        await until(lambda: "listening" in found.log or running.poll() is not None, "the gateway's start")
        told = [json.loads(line) for line in found.log.splitlines() if '"listening"' in line]
        assert told, f"it did not begin: {log.read_text()}"
        (listening,) = told
        found.public, found.admin = re.sub("^https?://", "", listening["address"]), listening["admin"]
        yield found
    finally:
        if running.poll() is None:
            running.kill()
        with trio.CancelScope(shield=True):
            await running.wait()
