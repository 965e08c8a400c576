"""One client on `/ws`: what its session decides is done here, and what comes of it is told to the session.

The task that reads the client never waits for Kafka: what takes time runs in a task of its own, cancelled when the
client no longer wants it. A client that asks faster than it reads is read no further until it has (`Connection.room`).
"""

from functools import partial

import trio

from tailrace import __version__
from tailrace._fanout import JSON, MSGPACK
from tailrace.auth.authenticator import KeysUnavailable
from tailrace.auth.verify import BadToken
from tailrace.config import Limits
from tailrace.core.actions import Abandon, Action, Authenticate, Close, End, Open, Produce, Revoke, Send
from tailrace.core.begin import Verdict
from tailrace.core.claims import Principal
from tailrace.core.commands import Publish, Subscribe
from tailrace.core.frame import TEXT, frame
from tailrace.core.lifecycle import Ticket
from tailrace.core.messages import ErrorMessage, Message, Welcome
from tailrace.core.pace import CommandPace, ScanPace
from tailrace.core.position import Positions
from tailrace.core.session import REVOKED, Session
from tailrace.disconnect import SHUTDOWN, TOKEN_EXPIRED, Disconnect
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.gate import Gate
from tailrace.gateway.publisher import Publisher, Settled
from tailrace.gateway.publishing import Publishing
from tailrace.gateway.reading import Reading, stopped
from tailrace.gateway.topics import Start, Topics
from tailrace.websocket.connection import Connection, Ended
from tailrace.websocket.outlet import Outlet

MAX_HELD = 4  # messages behind an `auth` that is being judged: then the client is read no further


class Client:
    """Joins one connection, its session and its subscriptions."""

    __slots__ = (
        "_chases",
        "_connection",
        "_cut",
        "_format",
        "_gate",
        "_judged",
        "_limits",
        "_max_chases",
        "_opening",
        "_pace",
        "_publisher",
        "_publishing",
        "_readings",
        "_scans",
        "_session",
        "_topics",
    )

    def __init__(
        self,
        session: Session,
        topics: Topics,
        publishing: Publishing,
        limits: Limits,
        max_chases: int | None,
        gate: Gate,
    ) -> None:
        self._session = session
        self._publishing = publishing
        self._publisher: Publisher | None = None
        self._pace: CommandPace | None = None  # from the first command on
        self._gate = gate
        self._judged: trio.Event | None = None  # set when the outcome of the `auth` under way is known
        self._cut: list[tuple[Ticket, Positions]] = []  # where subscriptions stood when they were cut off
        self._format = JSON if session.codec.opcode == TEXT else MSGPACK
        self._max_chases = max_chases
        self._chases: trio.CapacityLimiter | None = None
        self._scans: ScanPace | None = None  # from the first that is read back on
        self._topics = topics
        self._limits = limits
        self._readings: dict[Ticket, Reading] = {}
        self._opening: dict[Ticket, trio.CancelScope] = {}

    async def talk(self, connection: Connection) -> None:
        """Behind the welcome, until the conversation ends."""
        self._connection = connection
        connection.on_end = self._leave
        connection.outlet.on_dropped = stopped
        connection.outlet.on_close = self._stop
        self._gate.arrived(self, self._session.principal)
        try:
            while True:
                self._act(await self._heard(await connection.receive()))
                await connection.room()
                if self._publisher is not None and self._publisher.full:
                    await connection.pause(self._publisher.room)
                if self._session.held >= MAX_HELD and self._judged is not None:
                    await connection.pause(self._judged.wait)
        except Ended:
            if self._publisher is not None and connection.ending in (SHUTDOWN, TOKEN_EXPIRED):
                await self._publisher.settled()  # the drain and `publish.timeout` bound it

    async def _heard(self, data: str | bytes) -> list[Action]:
        """What its session makes of a message, in the time that is allowed for one."""
        now = trio.current_time()
        if self._pace is None:
            self._pace = CommandPace(self._limits.commands_per_second, now)
        wait = self._pace.take(now)
        if wait:
            self._topics.counts.throttled["commands"] += 1
            await self._connection.pause(partial(trio.sleep, wait))
        lasts = self._pace.lasts(now + wait)
        return self._session.too_fast(data) if lasts else self._session.receive(data)

    def welcome(self, connection: Connection) -> bytes:
        """The first that it is told, in the same send as the answer to its handshake."""
        ping, codec = self._limits.ping_interval, self._session.codec
        message = Welcome(
            f"tailrace/{__version__}",
            connection.id,
            codec.name,
            None if ping is None else round(ping * 1000),
            self._limits.max_message_bytes,
        )
        return frame(codec.opcode, codec.encode(message))

    def _say(self, messages: list[Message]) -> None:
        codec = self._session.codec
        if messages:
            self._connection.outlet.post(b"".join([frame(codec.opcode, codec.encode(message)) for message in messages]))

    def _act(self, actions: list[Action]) -> None:
        said: list[Message] = []
        for action in actions:
            if isinstance(action, Send):
                if isinstance(action.message, ErrorMessage):
                    self._topics.counts.commands_refused[action.message.code] += 1
                said.append(action.message)
                continue
            self._say(said)
            said = []
            self._do(action)
        self._say(said)

    def _do(self, action: Action) -> None:
        match action:
            case Open(ticket, subscribe):
                self._opening[ticket] = trio.CancelScope()
                self._connection.nursery.start_soon(self._open, ticket, subscribe)
            case Abandon(ticket):
                self._opening[ticket].cancel()
            case Close(ticket):
                if ticket in self._readings:  # else it was revoked in the same breath
                    self._act(self._session.closed(ticket, self._readings.pop(ticket).close()))
            case Revoke(ticket):
                self._readings[ticket].ended(ErrorCode.FORBIDDEN, REVOKED)
            case Produce(ticket, publish):
                self._publish(ticket, publish)
            case Authenticate(ticket, auth):
                self._judged = trio.Event()
                self._connection.nursery.start_soon(self._judge, ticket, auth.token, self._judged)
            case End(disconnect):
                self._connection.end(disconnect)

    async def _open(self, ticket: Ticket, subscribe: Subscribe) -> None:
        with self._opening[ticket]:
            try:
                start = await self._topics.start(subscribe.topic, subscribe.from_, self._format)
                self._begin(ticket, subscribe, start)
            except CommandError as error:
                self._act(self._session.refused(ticket, error.code, error.message))
            except UnknownTopic:
                self._act(
                    self._session.refused(ticket, ErrorCode.UNKNOWN_TOPIC, f"there is no topic {subscribe.topic}")
                )
            except KafkaUnavailable as error:
                told = self._topics.away.told(subscribe.topic, error)
                self._act(self._session.refused(ticket, ErrorCode.KAFKA_UNAVAILABLE, told))
        del self._opening[ticket]

    def _begin(self, ticket: Ticket, subscribe: Subscribe, start: Start) -> None:
        """From here to the end without a checkpoint: `subscribed`, what is missing, and `live` are in line before the
        first record."""
        if not self._session.wants(ticket) or self._connection.ending or self.outlet.close_sent is not None:
            self._topics.give_up(start)
            return
        described, beginning = start.held.description, start.beginning
        told = (described.name, described.topic_id, described.compacted, beginning.positions)
        self._act(self._session.opened(ticket, *told, live=False))
        self._say([verdict.gap(ticket.id, described.name) for verdict in beginning.verdicts])
        if beginning.live:
            self._act(self._session.live(ticket, beginning.positions))
        reading = Reading(
            self._topics, start, self, ticket.id, subscribe.keys, subscribe.slow, subscribe.interval_ms, ticket
        )
        self._readings[ticket] = reading

    def _publish(self, ticket: Ticket, publish: Publish) -> None:
        if self._publisher is None:
            self._publisher = self._publishing.publisher(self._settled)
        try:
            self._publisher.publish(ticket, publish)
        except CommandError as error:
            self._act(self._session.refused(ticket, error.code, error.message))

    def _settled(self, settled: list[Settled]) -> None:
        actions: list[Action] = []
        for each in settled:
            if each.code is None:
                where = (each.topic, each.partition, each.offset, each.timestamp_ms)
                actions += self._session.published(each.ticket, *where)
            else:
                actions += self._session.refused(each.ticket, each.code, each.message)
        self._act(actions)

    async def _judge(self, ticket: Ticket, token: str, judged: trio.Event) -> None:
        """Waits only when the token's key is not known yet."""
        try:
            principal = await self._gate.judge(token)
        except BadToken as bad:
            actions = self._session.refused(ticket, ErrorCode.UNAUTHENTICATED, str(bad))
        except KeysUnavailable as error:
            actions = self._session.refused(ticket, ErrorCode.INTERNAL, str(error))
        else:
            actions = self._session.authenticated(ticket, principal)
            if self._session.principal is principal and self._connection.ending is None:
                self._gate.prolong(self, principal)
        self._act(actions)
        judged.set()

    def cut(self, disconnect: Disconnect) -> None:
        """Put nothing more of any topic in line, from now on, and end the connection so."""
        self._cut += self._stop()
        self._connection.end(disconnect)

    def release(self) -> None:
        """The conversation is over: nobody waits for answers any more."""
        if self._publisher is not None:
            self._publisher.close()

    def _stop(self) -> list[tuple[Ticket, Positions]]:
        """Nothing of any subscription is sent any more: where each stood."""
        last = [(ticket, reading.close()) for ticket, reading in self._readings.items()]
        self._readings.clear()
        return last

    def _leave(self, ending: Disconnect) -> None:
        """The conversation is over: the subscriptions end, and the client is told where they stood if it can still
        hear."""
        self._gate.left(self)
        last = self._cut + self._stop()
        connection = self._connection
        if connection.by_gateway and connection.outlet.close_sent is None:
            self._act(self._session.closing(ending, connection.retry_after_ms, last))

    # ----------------------------------------------------------------------------------- what its subscriptions tell

    @property
    def readings(self) -> list[Reading]:
        """Its subscriptions that run."""
        return list(self._readings.values())

    @property
    def principal(self) -> Principal | None:
        """Whose token it brought."""
        return self._session.principal

    @property
    def outlet(self) -> Outlet:
        """Of the connection."""
        return self._connection.outlet

    @property
    def chases(self) -> trio.CapacityLimiter | None:
        """How many of its subscriptions may be read back at the same time."""
        if self._chases is None and self._max_chases is not None:
            self._chases = trio.CapacityLimiter(self._max_chases)
        return self._chases

    def scan_pace(self) -> ScanPace:
        """How fast its subscriptions may look through what they do not want."""
        if self._scans is None:
            self._scans = ScanPace(trio.current_time())
        return self._scans

    def reached_live(self, reading: Reading, positions: Positions) -> None:
        """It has passed the ends that were listed when it began."""
        self._act(self._session.live(reading.ticket, positions))

    def missed(self, reading: Reading, verdicts: list[Verdict]) -> None:
        """Records will not be sent."""
        self._say([verdict.gap(reading.ticket.id, reading.topic) for verdict in verdicts])

    def moved(self, reading: Reading, positions: Positions) -> None:
        """The place moved and no record told of it."""
        self._act(self._session.position(reading.ticket, positions))

    def ended(self, reading: Reading, positions: Positions, code: ErrorCode, message: str) -> None:
        """The gateway ends it."""
        self._readings.pop(reading.ticket, None)
        self._act(self._session.ended(reading.ticket, positions, code, message))

    def close(self, disconnect: Disconnect) -> None:
        """End the connection."""
        self._connection.end(disconnect)
