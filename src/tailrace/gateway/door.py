"""The front door: one accepted socket from its request head to an answer or a conversation.

Rules: everything about a stranger is bounded before it is looked at (the head by bytes and seconds, connections by
number); a refusal is an HTTP answer that says why; nothing a client does or fails to do raises past `handle`.
"""

from collections.abc import Awaitable
from functools import partial

import msgspec
import structlog
import trio

from tailrace import disconnect
from tailrace.config import Config
from tailrace.core.claims import Principal
from tailrace.core.pace import Incoming, IncomingRates
from tailrace.core.protocol import JSON as JSON_CODEC
from tailrace.core.protocol import MSGPACK as MSGPACK_CODEC
from tailrace.core.protocol import Codec, Format, StreamRequest, parse_stream_target
from tailrace.core.session import Session, Terms
from tailrace.core.stream_target import PATH
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.admission import Admission, Heard, Newcomer
from tailrace.gateway.client import Client
from tailrace.gateway.dismissed import Dismissed
from tailrace.gateway.echo import PATH as ECHO_PATH
from tailrace.gateway.echo import EchoClient, echo_enabled, echo_guard
from tailrace.gateway.gate import Gate, Unwelcome
from tailrace.gateway.presence import Gone, Presence
from tailrace.gateway.publishing import Publishing
from tailrace.gateway.stream import StreamClient, format_of
from tailrace.gateway.topics import Start, Topics
from tailrace.http.answers import refusal_answer, send_answer
from tailrace.http.head import Head, NoRequest, Replay, read_head
from tailrace.http.origin import origin_allowed
from tailrace.http.refusal import (
    DRAINING,
    FULL,
    NOT_FOUND,
    ORIGIN_NOT_ALLOWED,
    UNAUTHENTICATED,
    Refusal,
    Refused,
    refusal_for,
)
from tailrace.http.static import StaticFiles
from tailrace.http.upgrade import Upgrade, choose_subprotocol, upgrade
from tailrace.sockets.certificates import Certificates
from tailrace.sockets.tcp import TcpStream
from tailrace.sockets.tls import TlsStream, secured
from tailrace.websocket.connection import Connection, converse
from tailrace.websocket.guard import Guard
from tailrace.websocket.outlet import Outlet
from tailrace.websocket.secure import SecureOutlet

Accepted = TcpStream | TlsStream

CODECS = {codec.name: codec for codec in (JSON_CODEC, MSGPACK_CODEC)}
RETRY_SECONDS = 2  # suggested while Kafka does not answer, or the gateway drains

_log = structlog.get_logger(__name__)


Guest = Client | StreamClient | EchoClient | Dismissed


class Door:
    """Lets clients in. connections: those who talk now; `draining` refuses newcomers; limit: of open connections.

    gate: who is who; None: one of its own. certificates: for TLS; None: none is spoken.
    """

    def __init__(
        self,
        config: Config,
        topics: Topics,
        publishing: Publishing,
        page: StaticFiles | None,
        limit: int,
        gate: Gate | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._config = config
        self._topics = topics
        self.publishing = publishing
        self.gate = gate or Gate(config)
        self._terms = Terms(self.gate.access, config.limits.max_subscriptions, self.gate.required)
        self.page = page
        self._limit = limit
        self._inside = 0
        self.admission = Admission(config)
        self._rates = IncomingRates(config.limits.frames_per_second, config.limits.bytes_per_second)
        self._echo = echo_enabled()
        self._certificates = certificates
        self._presence = Presence()
        self.connections: dict[Connection, Client | StreamClient | EchoClient] = {}
        self.draining = False

    async def handle(self, tcp: TcpStream) -> None:
        """Serve one socket and close it."""
        newcomer = self.admission.arrive(tcp.peer)
        if isinstance(newcomer, Refusal):
            self._topics.counts.refused[newcomer.code] += 1
            await self.admission.send_away(tcp, newcomer)
            return
        self._inside += 1
        stream: Accepted | None = tcp
        try:
            if self._certificates is not None:
                stream = None
                with newcomer.waited_for():
                    stream = await secured(tcp, self._certificates, self._config.limits.handshake_timeout or 1e9)
            visit = None if stream is None else await self._receive(stream, newcomer)
            if stream is not None and visit is not None:
                try:
                    connection = await self._conversation(stream, visit, newcomer)
                finally:
                    visit.client.release()
                self._over(connection)
        except Exception:  # noqa: BLE001  costs this connection, not the gateway
            _log.exception("a connection failed, by a fault of ours")
        finally:
            self._inside -= 1
            newcomer.left()
            await trio.aclose_forcefully(stream or tcp)

    def _throttled(self) -> None:
        self._topics.counts.throttled["frames"] += 1

    async def _receive(self, stream: Accepted, newcomer: Newcomer) -> "Visit | None":
        """The conversation that is asked for; None when the request has been answered, or nobody is there.

        The head is forgotten on the way out: a conversation may last for days, and need not keep 2 KiB of cookies.
        """
        head_only = False
        try:
            head = await read_head(Heard(stream, newcomer, self._config.limits.handshake_timeout), None)
            newcomer.came_for(head)
            head_only = head.method == "HEAD"
            if head.path == "/ws":
                return await self._multiplexed(stream, head, self._admit(head, newcomer), newcomer)
            if head.path == ECHO_PATH and self._echo:
                asked = self._admit(head, newcomer)
                return Visit(head.path, behind(stream, head), echo_guard(), asked.answer(None), EchoClient())
            if head.path.startswith(PATH):
                return await self._single(stream, head, self._admit(head, newcomer), newcomer)
            answer = None if self.page is None else self.page.answer(head)
            if answer is None:
                raise Refused(NOT_FOUND)
            newcomer.settled()
            await send_answer(stream, answer, head_only=head_only)
        except NoRequest:
            if isinstance(stream, TlsStream) and stream.flooded:
                self.admission.let_go["flooded"] += 1
        except Gone:
            pass  # before it was answered: there is nobody to tell
        except Refused as refused:
            self._topics.counts.refused[refused.refusal.code] += 1
            newcomer.settled()
            await send_answer(stream, refusal_answer(refused.refusal), head_only=head_only)
        return None

    def _admit(self, head: Head, newcomer: Newcomer) -> Upgrade:
        """A correct handshake from an origin that may; raises Refused."""
        asked = upgrade(head)
        sent = head.values(b"origin")
        if sent and not origin_allowed(sent, newcomer.host(head), self._config.listen.origins):
            raise Refused(ORIGIN_NOT_ALLOWED)
        if self.draining:
            raise Refused(DRAINING.after(RETRY_SECONDS))
        if self._inside > self._limit:
            raise Refused(FULL.after(self.admission.retry_seconds()))
        return asked

    async def _multiplexed(self, stream: Accepted, head: Head, asked: Upgrade, newcomer: Newcomer) -> "Visit":
        chosen = choose_subprotocol(asked.offers, tuple(CODECS))
        codec = CODECS[chosen] if chosen else JSON_CODEC
        limits, chases = self._config.limits, self._config.catchup.max_per_connection
        client: Client | Dismissed
        try:
            session = Session(codec, self._terms, await self._identify(stream, head, asked, newcomer))
            client = Client(session, self._topics, self.publishing, limits, chases, self.gate)
        except Unwelcome as unwelcome:
            client = dismissed(unwelcome, head, codec)
        return self._visit(stream, head, asked.answer(chosen), frozenset({codec.opcode}), client)

    async def _single(self, stream: Accepted, head: Head, asked: Upgrade, newcomer: Newcomer) -> "Visit":
        """The positions are fixed before the handshake is answered."""
        chosen = choose_subprotocol(asked.offers, (JSON_CODEC.name,))
        request = self._read(head)
        client: StreamClient | Dismissed
        try:
            principal = await self._identify(stream, head, asked, newcomer)
            request = self._permitted(request, principal)
            start = await self._presence.meanwhile(stream.socket, partial(self._start, request, newcomer))
            client = StreamClient(request, start, self._topics, self.gate, principal)
        except Unwelcome as unwelcome:
            client = dismissed(unwelcome, head, None if request.format is Format.VALUE else JSON_CODEC)
        return self._visit(stream, head, asked.answer(chosen), frozenset(), client)

    async def _identify(self, stream: Accepted, head: Head, asked: Upgrade, newcomer: Newcomer) -> Principal | None:
        if not self.gate.required:
            return None
        with newcomer.waited_for():  # a key that nobody knows is waited for: such strangers are not to fill the door
            return await self._presence.meanwhile(
                stream.socket, partial(self.gate.identify, head, asked.offers, newcomer.host(head))
            )
        raise Gone

    def _permitted(self, request: StreamRequest, principal: Principal | None) -> StreamRequest:
        """With the keys that the client may see. Raises Unwelcome, and Refused for a topic that is not there for it."""
        if self.gate.required and principal is None:
            raise Unwelcome(UNAUTHENTICATED, disconnect.UNAUTHENTICATED)
        try:
            keys = self.gate.access.readable(principal, request.topic, request.keys)
        except CommandError as error:
            raise turned_away(error) from None
        return msgspec.structs.replace(request, keys=keys)

    def _visit(
        self,
        stream: Accepted,
        head: Head,
        answer: bytes,
        accepts: frozenset[int],
        client: Guest,
    ) -> "Visit":
        limits, pace = self._config.limits, Incoming(self._rates, trio.current_time())
        guard = Guard(limits.max_message_bytes, limits.max_fragments, accepts, pace)
        return Visit(head.path, behind(stream, head), guard, answer, client)

    def _read(self, head: Head) -> StreamRequest:
        parameter = self._config.auth.query_parameter
        try:
            return parse_stream_target(head.target, frozenset() if parameter is None else frozenset({parameter}))
        except CommandError as error:
            raise Refused(refusal_for(error.code, error.message)) from None

    async def _start(self, request: StreamRequest, newcomer: Newcomer) -> Start:
        try:
            start = await self._topics.start(request.topic, request.from_, format_of(request))
        except CommandError as error:
            raise turned_away(error) from None
        except UnknownTopic as error:
            raise Refused(refusal_for(ErrorCode.UNKNOWN_TOPIC, f"there is no topic {error}")) from None
        except KafkaUnavailable as error:
            told = self._topics.away.told(request.topic, error)
            raise Refused(refusal_for(ErrorCode.KAFKA_UNAVAILABLE, told).after(RETRY_SECONDS)) from None
        if start.snapshot is not None:
            try:
                await newcomer.turn()  # all who waited for it have it in the same moment
            except BaseException:
                self._topics.give_up(start)
                raise
        return start

    def _conversation(self, stream: Accepted, visit: "Visit", newcomer: Newcomer) -> Awaitable[Connection]:
        """To be awaited by the caller: one coroutine less that an idle connection keeps."""
        outlet = partial(SecureOutlet, seal=stream) if isinstance(stream, TlsStream) else Outlet
        begun, talk = partial(self._begun, newcomer, visit), visit.client.talk
        return converse(visit.stream, stream.socket, newcomer.address, visit.guard, visit.answer, begun, talk, outlet)

    def _begun(self, newcomer: Newcomer, visit: "Visit", connection: Connection) -> bytes:
        """The handshake is about to be answered: what is said behind the answer."""
        newcomer.settled()
        connection.outlet.on_throttled = self._throttled
        self._topics.counts.handshakes["ws" if visit.path == "/ws" else "topics"] += 1
        if not isinstance(visit.client, Dismissed):  # it is gone as soon as it has come
            self.connections[connection] = visit.client
        _log.debug("connected", connection=connection.id, remote=newcomer.address, path=visit.path)
        return visit.client.welcome(connection) if isinstance(visit.client, Client) else b""

    def _over(self, connection: Connection) -> None:
        """The conversation has ended, for a reason that has a name."""
        self.connections.pop(connection, None)
        ending = connection.ending
        assert ending is not None
        self._topics.counts.ended(ending)
        _log.debug("disconnected", connection=connection.id, code=ending.code, reason=ending.reason)


class Visit(msgspec.Struct, frozen=True, gc=False):
    """A handshake that was found good. path: for the log; answer: to be sent; stream: what the client sends then."""

    path: str
    stream: trio.abc.Stream
    guard: Guard
    answer: bytes
    client: Guest


def turned_away(error: CommandError) -> Refused | Unwelcome:
    """What is wrong with a stream, as an answer; what is forbidden, a browser is told too."""
    refusal = refusal_for(error.code, error.message)
    return Unwelcome(refusal, disconnect.FORBIDDEN) if error.code is ErrorCode.FORBIDDEN else Refused(refusal)


def dismissed(unwelcome: Unwelcome, head: Head, codec: Codec | None) -> Dismissed:
    """For a browser, which cannot read an answer; raises Refused for everybody else."""
    if head.value(b"origin") is None:
        raise Refused(unwelcome.refusal)
    return Dismissed(codec, unwelcome.disconnect)


def behind(stream: Accepted, head: Head) -> trio.abc.Stream:
    """The stream from behind a head that was read off it."""
    return Replay(stream, head.behind) if head.behind else stream
