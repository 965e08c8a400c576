"""The gateway of the model: everything real between Kafka's edge and the socket, and its clients at the other end.

Real are the topics and what tends them, the pump, the sessions, the readings and their chase, the outlets and the
compiled core. Played are Kafka (tests/model/kafka.py), the WebSocket handshake and what a client sends.
"""

import contextlib
import json
import math
import socket
from typing import Any

import trio
from tests.model.book import IDLE, LEAVING, OPEN, Book
from tests.model.kafka import PlainBlocks, PlainCluster, PlainLive
from tests.model.log import NAME, Log
from tests.model.stepped import Stepped
from tests.plain_client import Frame, read_frames

from tailrace.config import Config, Topic
from tailrace.core.access import Access
from tailrace.core.exposure import Exposure
from tailrace.core.protocol import JSON
from tailrace.core.session import Session, Terms
from tailrace.disconnect import SLOW, Disconnect
from tailrace.gateway.client import Client
from tailrace.gateway.gate import Gate
from tailrace.gateway.publishing import Publishing
from tailrace.gateway.pump import Pump
from tailrace.gateway.tending import Tending
from tailrace.gateway.topics import Topics
from tailrace.kafka.batch import Batch
from tailrace.websocket.connection import LOST, Ended, close_frame
from tailrace.websocket.guard import Guard
from tailrace.websocket.outlet import ROOM_BYTES, Outlet

SLOW_BYTES = 1000


class PlainConnection:
    """What a client of the gateway has of its WebSocket: commands come by `say`."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.id = "plain"
        self.socket = sock
        self.by_gateway = False
        self.retry_after_ms = None
        self.on_end: Any = None
        self.ending: Disconnect | None = None
        self.say, self._said = trio.open_memory_channel[str](math.inf)
        self._scope: trio.CancelScope | None = None

    async def receive(self) -> str:
        if self.ending is None:
            with trio.CancelScope() as self._scope:
                try:
                    said = await self._said.receive()
                    if not self._scope.cancel_called:
                        return said
                except trio.EndOfChannel:
                    self.ending = self.ending or LOST
        raise Ended

    async def room(self) -> None:
        if self.ending is None and self.outlet.waiting_bytes > ROOM_BYTES:
            with trio.CancelScope() as self._scope:
                await self.outlet.room()

    def end(self, disconnect: Disconnect) -> None:
        if self.ending is None:
            self.ending, self.by_gateway = disconnect, True
        if self._scope is not None:
            self._scope.cancel()

    async def converse(self, client: Client) -> None:
        """In the order of `tailrace.websocket.connection.converse`."""
        try:
            async with trio.open_nursery() as self.nursery:
                self.outlet = Outlet(trio.abc.Stream, self.socket, Guard(65536, 64), self.nursery)
                try:
                    self.outlet.post(client.welcome(self))
                    await client.talk(self)
                finally:
                    self.outlet.dismiss()
                self.nursery.cancel_scope.cancel()
            self.on_end(self.ending)
            if not self.outlet.line.error and self.ending is not LOST:
                self.outlet.post(close_frame(self.ending))
                await self.outlet.drain()
        finally:
            self.socket.close()


class Gateway:
    """One process of it, from its start to its death. `kill` is SIGKILL: nothing is said."""

    def __init__(self, loop: Stepped, log: Log) -> None:
        send, receive = trio.open_memory_channel[Batch](math.inf)
        config = Config(topics={NAME: Topic()})
        self.live = PlainLive(log, send)
        self.cluster = PlainCluster(log)
        self.blocks = PlainBlocks(log)
        self.topics = Topics(self.live, self.cluster, self.blocks, config)
        self.terms = Terms(Access(Exposure(config.topics)))
        self.limits = config.limits
        self._publishing = Publishing(config, self.cluster)  # type: ignore[arg-type]  nobody publishes here
        self._gate = Gate(config)
        self._pump = Pump(self.topics, receive, 1 << 40)
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._loop = loop
        loop.start(self._run)
        while self._nursery is None:
            loop.step()

    async def _run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump.run)
                nursery.start_soon(Tending(self.topics, SLOW_BYTES).run)
                self._nursery = nursery

    def admit(self, connection: PlainConnection, max_chases: int | None) -> None:
        client = Client(Session(JSON, self.terms), self.topics, self._publishing, self.limits, max_chases, self._gate)
        assert self._nursery is not None
        self._nursery.start_soon(connection.converse, client)
        self._loop.step()

    def evict(self) -> None:
        """As `Pump` does when the tails are too large."""
        for tail in self.topics.tails:
            self.topics.tail_bytes -= tail.evict()
            for outlet in tail.take_woken():
                outlet.wake()

    def kill(self) -> None:
        self._scope.cancel()
        self._loop.step(3)


class Peer:
    """A client with one connection: it subscribes for its books, and reads when it is told to."""

    def __init__(self, gateway: Gateway, room: int | None, max_chases: int | None = None) -> None:
        near, self._far = socket.socketpair()
        for end in (near, self._far):
            end.setblocking(False)
        if room is not None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self.gateway = gateway
        self.connection = PlainConnection(trio.socket.from_stdlib_socket(near))
        self.books: dict[int, Book] = {}
        self.alive = True
        self.ending = 0  # the code of `closing`
        self._unread = b""
        self._welcome = False
        gateway.admit(self.connection, max_chases)

    def send(self, **command: Any) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.connection.say.send_nowait(json.dumps(command))

    def subscribe(self, book: Book) -> None:
        id = next(id for id in range(1, 99) if id not in self.books)
        self.books[id] = book
        self.send(type="subscribe", id=id, topic=NAME, **book.ask())

    def unsubscribe(self, id: int) -> None:
        if self.books[id].state == OPEN:
            self.books[id].state = LEAVING
            self.send(type="unsubscribe", id=id)

    def read(self, most: int) -> int:
        """So many bytes, as far as they are there: how many there were."""
        size = 0
        while self.alive and size < most:
            try:
                data = self._far.recv(most - size)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            size += len(data)
            if not data:
                assert self.ending, "the gateway is gone without a word"
                self.leave()
            frames, self._unread = read_frames(self._unread + data)
            for frame in frames:
                self._take(frame)
        return size

    def _take(self, frame: Frame) -> None:
        if frame.opcode == 8:
            assert int.from_bytes(frame.payload[:2], "big") == self.ending
            return
        assert frame.opcode == 1, frame
        assert not self.ending, frame
        message = json.loads(frame.payload)
        type = message["type"]
        if not self._welcome:
            assert type == "welcome"
            self._welcome = True
        elif type == "closing":
            self.ending = message["code"]
            assert self.ending == SLOW.code
            assert any(book.slow == "close" and book.live for book in self.books.values())
        else:
            book = self.books[message["id"]]
            book.told(message)
            if book.state == IDLE:
                del self.books[message["id"]]

    def leave(self) -> None:
        """Gone, with what it had not read: the gateway hears of it when it next writes, or by `hang_up`."""
        self._far.close()
        self.alive = False
        for book in self.books.values():
            book.state = IDLE
        self.books = {}

    def hang_up(self) -> None:
        """The gateway's reader notices."""
        self.connection.say.close()

    @property
    def quiet(self) -> bool:
        """Nothing is under way to it."""
        return not self.alive or (self.connection.outlet.line.idle and not self.readable)

    @property
    def readable(self) -> bool:
        try:
            return bool(self._far.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
