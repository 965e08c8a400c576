"""One client on `/topics/{topic}`: a single subscription that runs from the handshake to the close.

The positions are fixed before the handshake is answered, so whoever is connected has missed nothing since. A stream
of bare values has no words for a hole: it ends instead.
"""

from tailrace._fanout import JSON as JSON_FORMAT
from tailrace._fanout import VALUE, Subscription
from tailrace.core.actions import Action, End, Send
from tailrace.core.frame import frame
from tailrace.core.position import Positions
from tailrace.core.protocol import JSON, STREAM_ID, Format, StreamRequest
from tailrace.core.stream import Stream
from tailrace.disconnect import GAP, INTERNAL, TOPIC_DELETED, Disconnect
from tailrace.errors import ErrorCode
from tailrace.gateway.reading import Reading
from tailrace.gateway.topics import Start, Topics
from tailrace.websocket.connection import Connection, Ended


class StreamClient:
    """Joins one connection and its subscription. Owns the topic held in `start`: `release` it in the end."""

    __slots__ = ("_connection", "_reading", "_request", "_start", "_stream", "_topics")

    def __init__(self, request: StreamRequest, start: Start, topics: Topics) -> None:
        self._request = request
        self._start: Start | None = start  # until the reading has taken it over
        self._topics = topics
        self._stream = Stream(request.format)
        self._reading: Reading | None = None

    async def talk(self, connection: Connection) -> None:
        """Until the conversation ends."""
        self._connection = connection
        connection.on_end = self._leave
        connection.outlet.on_dropped = self._dropped
        try:
            self._begin()
            while True:
                self._act(self._stream.receive(await connection.receive()))
        except Ended:
            return

    def _begin(self) -> None:
        start = self._start
        assert start is not None
        described = start.held.description
        self._act(self._stream.opened(described.name, described.topic_id, described.compacted, start.positions))
        line = self._connection.outlet.line
        try:
            self._reading = Reading(self._topics, start, line, STREAM_ID, self._request.keys, None, self._ended)
        except ValueError:  # the handshake took so long that the tail has moved on
            self._connection.end(GAP)
            raise Ended from None
        self._start = None

    def release(self) -> None:
        """Once nothing more can come of it: also when the client left before the handshake was answered."""
        if self._start is not None:
            self._topics.release(self._start.held)
            self._start = None

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._connection.outlet.post(frame(JSON.opcode, JSON.encode(action.message)))
            elif isinstance(action, End):
                self._connection.end(action.disconnect)

    def _dropped(self, subscriptions: list[Subscription]) -> None:
        self._connection.end(GAP)

    def _ended(self, reading: Reading, positions: Positions, code: ErrorCode, message: str) -> None:
        self._reading = None
        self._act(self._stream.position(positions))
        self._connection.end(TOPIC_DELETED if code is ErrorCode.TOPIC_DELETED else INTERNAL)

    def _leave(self, ending: Disconnect) -> None:
        positions = None if self._reading is None else self._reading.close()
        connection = self._connection
        if connection.by_gateway and connection.outlet.close_sent is None:
            self._act(self._stream.closing(ending, connection.retry_after_ms, positions))


def format_of(request: StreamRequest) -> int:
    """Which tail it reads."""
    return VALUE if request.format is Format.VALUE else JSON_FORMAT
