"""Who may come to the door, and when his handshake is worked on: ten thousand who come at once must neither starve
those who are connected nor wait in a heap until all of them time out.

Rules: work on handshakes is done in turns, first come first served, a turn every ROUNDS rounds of the event loop, so
that a fan-out is never behind more than one of them. At most `limits.handshakes` newcomers are inside; the next is told
at once when to come back, each at a time of his own. Who keeps us waiting for his request gives way: when it is full,
the one who has kept us waiting longest is let go, so that silent strangers do not close the door to others.
`limits.connections_per_address` counts from the first byte on, or from the head where a trusted proxy forwards it.
"""

import contextlib
import functools
import math
import os
import random
from collections import Counter
from collections.abc import Iterator

import msgspec
import trio

from tailrace.config import Config
from tailrace.core.crowd import Crowd
from tailrace.http.answers import refusal_answer, render, send_rendered
from tailrace.http.forwarded import Proxies, subscriber
from tailrace.http.head import HEAD_LIMIT_BYTES, Head
from tailrace.http.refusal import FULL, RATE_LIMITED, Refusal, Refused
from tailrace.sockets.tcp import RECEIVE_BYTES, TcpStream
from tailrace.websocket.turns import Turns

# A handshake is three steps in as many rounds: accepted and heard, worked on, its reader begun; 0.4 ms in all, three
# quarters of it in the second. With a turn in every round there is one of those in each, with one in every second
# there are rounds without between.
ROUNDS = 2
PATIENCE_SECONDS = 1.0  # for a request while others wait outside: a round trip, and a lost packet sent again
LOOKED_AT = 16  # of those inside, for one who keeps us waiting
AWAY = 1024  # who are told to come back and then waited for, until they have read it; the next are not waited for
RETRY_SECONDS = (2, 10)  # at least so long as the newcomers inside take, and spread

TOO_MANY = RATE_LIMITED.because("too many connections from this address")
CROWDED = FULL.because("too many newcomers at the moment")


class AdmissionStatistics(msgspec.Struct, frozen=True):
    """A moment: newcomers inside, those of them that wait for a turn, those being told to come back, addresses that
    have connections (0: not counted). Since the start: let go (`timeout`: `limits.handshake_timeout` was over;
    `crowded`: others needed the room; `flooded`: records of TLS without a request), sent away by reason."""

    inside: int
    waiting: int
    leaving: int
    addresses: int
    let_go: dict[str, int]
    sent_away: dict[str, int]


class Newcomer:
    """One who has come, until he is let in or answered. address: the peer's, or whom a trusted proxy forwards."""

    __slots__ = ("_admission", "_counted", "_scope", "_since", "_waits", "address", "peer")

    def __init__(self, admission: "Admission", peer: str, counted: bool) -> None:
        self._admission = admission
        self._counted = counted
        self._scope: trio.CancelScope | None = None
        self._since: float | None = None
        self._waits = False
        self.peer = self.address = peer

    def keeps_waiting(self, now: float) -> bool:
        """For longer than one who waits outside should have to."""
        return self._waits and self._since is not None and now - self._since > PATIENCE_SECONDS

    def was_late(self) -> None:
        """His time is over, unless he had to give way before."""
        if self in self._admission.newcomers:
            self._admission.let_go["timeout"] += 1

    def let_go(self) -> None:
        """End what he keeps us waiting for: others need the room."""
        if self._scope is not None:
            self._scope.cancel()

    @contextlib.contextmanager
    def waited_for(self, seconds: float = math.inf) -> Iterator[trio.CancelScope]:
        """It is his turn to say something, for so long; which may end early, when there is no room for such."""
        if self._since is None:
            self._since = trio.current_time()
        self._waits = True
        try:
            with trio.move_on_after(seconds) as self._scope:
                yield self._scope
        finally:
            self._scope, self._waits = None, False

    def came_for(self, head: Head) -> None:
        """Where he comes from, by his request. Raises Refused."""
        if self._counted:  # as whom he comes from: what he forwards is not believed
            return
        self.address = self._admission.proxies.client(self.peer, head.tokens(b"x-forwarded-for"))
        if not self._admission.enter(self.address):
            raise Refused(TOO_MANY.after(self._admission.retry_seconds()))
        self._counted = True

    def host(self, head: Head) -> str | None:
        """The host he asked for."""
        forwarded = head.tokens(b"x-forwarded-host")
        return self._admission.proxies.host(self.peer, forwarded, head.value(b"host"))

    async def turn(self) -> None:
        """Wait until his handshake may be worked on."""
        await self._admission.turns.take()

    def settled(self) -> None:
        """He is let in, or his answer is on its way: he is a newcomer no more."""
        self._admission.newcomers.pop(self, None)

    def left(self) -> None:
        """His connection has ended."""
        self.settled()
        if self._counted:
            self._counted = False
            self._admission.leave(self.address)


class Heard(trio.abc.ReceiveStream):
    """A newcomer's bytes, a turn before each piece is handed on, since parsing is work. seconds: how long he may take
    over all of them, the waiting for our turns left out; None: any time."""

    def __init__(self, stream: trio.abc.ReceiveStream, newcomer: Newcomer, seconds: float | None) -> None:
        self._stream = stream
        self._newcomer = newcomer
        self._left = math.inf if seconds is None else seconds

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray | None = None
        if self._left > 0 and isinstance(self._stream, TcpStream):  # most have spoken before we listen
            data = self._stream.receive_nowait(max_bytes or RECEIVE_BYTES)
        if data is None:
            data = await self._wait(max_bytes)
        await self._newcomer.turn()
        return data

    async def _wait(self, max_bytes: int | None) -> bytes | bytearray:
        begin = trio.current_time()
        with self._newcomer.waited_for(self._left) as scope:
            data = await self._stream.receive_some(max_bytes)
        if scope.cancelled_caught:
            self._newcomer.was_late()
            raise trio.BrokenResourceError("kept us waiting")
        self._left = max(0.0, self._left - (trio.current_time() - begin))  # on a busy machine he may be heard late
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class Admission:
    """Of one gateway. newcomers: in the order they came."""

    def __init__(self, config: Config) -> None:
        self._most = config.limits.handshakes
        self._answers = config.listen.tls_certificate is None  # a plain answer says nothing to one who speaks TLS
        self._leaving = 0
        self.let_go: Counter[str] = Counter()
        self._sent_away: Counter[str] = Counter()
        self.proxies = Proxies(config.listen.trusted_proxies)
        self._counts = config.limits.connections_per_address is not None
        self.crowd = Crowd(config.limits.connections_per_address)
        self.newcomers: dict[Newcomer, None] = {}
        self.turns = Turns(1, ROUNDS)

    def statistics(self) -> AdmissionStatistics:
        """As of now."""
        return AdmissionStatistics(
            len(self.newcomers),
            len(self.turns),
            self._leaving,
            len(self.crowd),
            dict(self.let_go),
            dict(self._sent_away),
        )

    def arrive(self, peer: str) -> Newcomer | Refusal:
        """One more has come: let him say what he wants, or send him away."""
        if self._most is not None and len(self.newcomers) >= self._most and not self._make_room():
            return CROWDED
        counted = not self.proxies.trusts(peer)
        if counted and not self.enter(peer):
            return TOO_MANY
        newcomer = Newcomer(self, peer, counted)
        self.newcomers[newcomer] = None
        return newcomer

    def enter(self, address: str) -> bool:
        """Whether one more may come from there; he is then counted, if they are."""
        return not self._counts or self.crowd.enter(subscriber(address))

    def leave(self, address: str) -> None:
        """One that has entered."""
        if self._counts:
            self.crowd.leave(subscriber(address))

    def _make_room(self) -> bool:
        """Let the first go who keeps us waiting; whether there was one."""
        now = trio.current_time()
        for _, newcomer in zip(range(LOOKED_AT), self.newcomers, strict=False):
            if newcomer.keeps_waiting(now):
                newcomer.let_go()
                newcomer.settled()
                self.let_go["crowded"] += 1
                return True
        return False

    def retry_seconds(self) -> int:
        """A time of his own for each who is told to come back."""
        return random.randint(*RETRY_SECONDS)

    async def send_away(self, stream: TcpStream, refusal: Refusal) -> None:
        """Say so, without having looked at his request, and close; nobody is waited for beyond AWAY of them."""
        self._sent_away[refusal.code] += 1
        answer = rendered(refusal, self.retry_seconds()) if self._answers else b""
        if not answer or self._leaving >= AWAY:
            say_at_once(stream.socket, answer)
            await trio.aclose_forcefully(stream)
            return
        self._leaving += 1
        try:
            await send_rendered(stream, answer)
        finally:
            self._leaving -= 1


@functools.cache
def rendered(refusal: Refusal, seconds: int) -> bytes:
    """The answer on the wire: few different ones, many times."""
    return render(refusal_answer(refusal.after(seconds)))


def say_at_once(sock: trio.socket.SocketType, answer: bytes) -> None:
    """As much as the kernel takes, which is all of so little. What has come is read away first: a close over unread
    input is an RST, which may destroy the answer."""
    with contextlib.suppress(OSError):
        os.read(sock.fileno(), HEAD_LIMIT_BYTES)
    with contextlib.suppress(OSError):
        os.write(sock.fileno(), answer)
