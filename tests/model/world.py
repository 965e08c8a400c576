"""Kafka's log, a gateway on it, and its clients, between two moments: what a rule of the model, or a case, works on.

The loop stands still until `step`; `come_to_rest` heals everything, lets everybody resume and read, and then looks
whether anything is missing.
"""

import pytest
import structlog
from tests.model.book import IDLE, Book
from tests.model.gateway import Gateway, Peer
from tests.model.log import Log
from tests.model.stepped import Stepped

from tailrace._fanout import Tail
from tailrace.core import pace
from tailrace.gateway import topic
from tailrace.websocket import outlet

LOTS = 1 << 20
SCANNED_PER_SECOND = 4  # blocks in vain: so few that some have to wait


class World:
    """block_bytes: of a tail. budget: bytes of a turn of the pump, and of a writer's step."""

    def __init__(self, partitions: int = 1, block_bytes: int = 1, budget: int = LOTS) -> None:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(topic, "Tail", lambda format, positions: Tail(format, positions, block_bytes))
        self._patch.setattr(topic, "PUMP_BYTES", budget)
        self._patch.setattr(outlet, "FLUSH_BYTES", budget)
        self._patch.setattr(pace, "SCANNED_BLOCKS_PER_SECOND", SCANNED_PER_SECOND)
        self._patch.setattr(pace, "SCANNED_BURST_SECONDS", 1.0)
        self._logging = structlog.testing.capture_logs()
        self._logged = self._logging.__enter__()
        self.loop = Stepped()
        self.log = Log(partitions)
        self.gateway = Gateway(self.loop, self.log)
        self.peers: list[Peer] = []
        self.books: list[Book] = []

    def connect(self, room: int | None = None, max_chases: int | None = None) -> Peer:
        """room: of the socket's send buffer."""
        peer = Peer(self.gateway, room, max_chases)
        self.peers.append(peer)
        return peer

    def subscribe(self, peer: Peer, book: Book) -> Book:
        self.books.append(book)
        peer.subscribe(book)
        return book

    def bury(self, peer: Peer) -> None:
        """Who is gone is forgotten; the gateway's reader hears of it."""
        if not peer.alive:
            peer.hang_up()
            self.peers.remove(peer)

    def die(self) -> None:
        """SIGKILL to the gateway, and another one."""
        for peer in self.peers:
            peer.leave()
        self.peers = []
        self.gateway.kill()
        self.gateway = Gateway(self.loop, self.log)

    def resume(self, peer: Peer, i: int = 0) -> bool:
        """One of those that are idle: whether there is one."""
        idle = [book for book in self.books if book.state == IDLE]
        if idle:
            peer.subscribe(idle[i % len(idle)])
        return bool(idle)

    # ---------------------------------------------------------------------------------------------------- in the end

    def go_on(self) -> bool:
        """Everything that is waited for, once, and 0.7 s: whether anything moved."""
        moved = False
        for number in range(len(self.log.partitions)):
            moved |= self.gateway.live.deliver(number, 9)
        while self.gateway.blocks.waiting:
            self.gateway.blocks.serve(0, 9)
            moved = True
        self.loop.pass_seconds(0.7)
        self.loop.step(6)
        for peer in list(self.peers):
            moved |= peer.read(LOTS) > 0
            self.bury(peer)
        return moved

    def come_to_rest(self) -> None:
        """Kafka heals, everybody resumes and reads; then nothing is missing, and every place is the very end."""
        self.gateway.cluster.down = False
        for number, partition in enumerate(self.log.partitions):
            partition.stuck = False
            self.log.finish(number, True)
        still = 0
        for _ in range(600):
            moved = self.go_on() | self.resume((self.peers or [self.connect()])[0])
            still = 0 if moved else still + 1
            if still > 12:
                break
        assert still > 12, "it does not come to rest"
        self._check()

    def _check(self) -> None:
        for book in self.books:
            book.check_complete()
        for peer in self.peers:
            for id in list(peer.books):
                peer.unsubscribe(id)
            for _ in range(20):
                self.loop.step(6)
                peer.read(LOTS)
        ends = {p: partition.stable for p, partition in enumerate(self.log.partitions)}
        for book in self.books:
            book.check_place(ends)
        assert not [entry for entry in self._logged if entry["log_level"] in ("error", "critical")]

    def close(self) -> None:
        try:
            for peer in self.peers:
                peer.leave()
            self.loop.stop()
        finally:
            self._patch.undo()
            self._logging.__exit__(None, None, None)
