"""One client on `/ws`: what its session decides is done here, and what comes of it is told to the session.

The task that reads the client never waits for Kafka: what takes time runs in a task of its own, cancelled when the
client no longer wants it. A client that asks faster than it reads is read no further until it has (`Outlet.room`).
"""

import trio

from tailrace import __version__
from tailrace._fanout import JSON, MSGPACK, Subscription
from tailrace.config import Limits
from tailrace.core.actions import Abandon, Action, Authenticate, Close, End, Open, Produce, Send
from tailrace.core.commands import Last, Latest, Slow, Snapshot, Subscribe
from tailrace.core.frame import TEXT, frame
from tailrace.core.lifecycle import Ticket
from tailrace.core.messages import Message, Welcome
from tailrace.core.position import Positions
from tailrace.core.session import Session
from tailrace.disconnect import Disconnect
from tailrace.errors import CommandError, ErrorCode, KafkaUnavailable, UnknownTopic
from tailrace.gateway.reading import Reading
from tailrace.gateway.topics import Start, Topics
from tailrace.websocket.connection import Connection, Ended


class Client:
    """Joins one connection, its session and its subscriptions."""

    __slots__ = ("_connection", "_limits", "_opening", "_readings", "_session", "_topics")

    def __init__(self, session: Session, topics: Topics, limits: Limits) -> None:
        self._session = session
        self._topics = topics
        self._limits = limits
        self._readings: dict[Ticket, Reading] = {}
        self._opening: dict[Ticket, trio.CancelScope] = {}

    async def talk(self, connection: Connection) -> None:
        """Until the conversation ends."""
        self._connection = connection
        connection.on_end = self._leave
        connection.outlet.on_dropped = dropped
        self._say([self._welcome()])
        try:
            while True:
                self._act(self._session.receive(await connection.receive()))
                await connection.outlet.room()
        except Ended:
            return

    def _welcome(self) -> Welcome:
        ping = self._limits.ping_interval
        return Welcome(
            f"tailrace/{__version__}",
            self._connection.id,
            self._session.codec.name,
            None if ping is None else round(ping * 1000),
            self._limits.max_message_bytes,
        )

    def _say(self, messages: list[Message]) -> None:
        codec = self._session.codec
        if messages:
            self._connection.outlet.post(b"".join([frame(codec.opcode, codec.encode(message)) for message in messages]))

    def _act(self, actions: list[Action]) -> None:
        said: list[Message] = []
        for action in actions:
            if isinstance(action, Send):
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
                self._act(self._session.closed(ticket, self._readings.pop(ticket).close()))
            case Produce(ticket):
                message = f"publishing is not available in {__version__}"
                self._act(self._session.refused(ticket, ErrorCode.FORBIDDEN, message))
            case Authenticate(ticket):
                self._act(self._session.refused(ticket, ErrorCode.UNAUTHENTICATED, "no token is good here"))
            case End(disconnect):
                self._connection.end(disconnect)

    async def _open(self, ticket: Ticket, subscribe: Subscribe) -> None:
        with self._opening[ticket]:
            try:
                check(subscribe)
                start = await self._topics.start(subscribe.topic, self._format)
                self._begin(ticket, subscribe, start)
            except CommandError as error:
                self._act(self._session.refused(ticket, error.code, error.message))
            except UnknownTopic:
                self._act(
                    self._session.refused(ticket, ErrorCode.UNKNOWN_TOPIC, f"there is no topic {subscribe.topic}")
                )
            except KafkaUnavailable as error:
                self._act(self._session.refused(ticket, ErrorCode.KAFKA_UNAVAILABLE, str(error)))
        del self._opening[ticket]

    @property
    def _format(self) -> int:
        return JSON if self._session.codec.opcode == TEXT else MSGPACK

    def _begin(self, ticket: Ticket, subscribe: Subscribe, start: Start) -> None:
        """From here to the end without a checkpoint: `subscribed` and `live` are in line before the first record."""
        if not self._session.wants(ticket):
            self._topics.release(start.held)
            return
        described = start.held.description
        self._act(
            self._session.opened(ticket, described.name, described.topic_id, described.compacted, start.positions)
        )
        line = self._connection.outlet.line
        self._readings[ticket] = Reading(self._topics, start, line, ticket.id, subscribe.keys, ticket, self._ended)

    def _ended(self, reading: Reading, positions: Positions, code: ErrorCode, message: str) -> None:
        ticket = reading.ticket
        del self._readings[ticket]
        self._act(self._session.ended(ticket, positions, code, message))

    def _leave(self, ending: Disconnect) -> None:
        """The conversation is over: the subscriptions end, and the client is told where they stood if it can still
        hear."""
        last = [(ticket, reading.close()) for ticket, reading in self._readings.items()]
        self._readings.clear()
        connection = self._connection
        if connection.by_gateway and connection.outlet.close_sent is None:
            self._act(self._session.closing(ending, connection.retry_after_ms, last))


def check(subscribe: Subscribe) -> None:
    """Refuse what this version cannot do yet. Raises CommandError."""
    begin = subscribe.from_
    if isinstance(begin, Snapshot):
        raise CommandError(ErrorCode.SNAPSHOT_UNAVAILABLE, f"snapshots are not available in {__version__}")
    if not isinstance(begin, Latest) and begin != Last(0):
        raise CommandError(ErrorCode.BAD_POSITION, f'{__version__} begins at "latest" only')
    if subscribe.slow is not Slow.WAIT:
        raise CommandError(ErrorCode.BAD_REQUEST, f'`slow` can only be "wait" in {__version__}')


def dropped(subscriptions: list[Subscription]) -> None:
    """For `Outlet.on_dropped`: each subscription's reading knows what to say."""
    for subscription in subscriptions:
        subscription.owner.dropped()
