"""One client on `/topics/{topic}`: a single subscription that runs from the handshake to the close.

The positions are fixed before the handshake is answered, so whoever is connected has missed nothing since. A stream
of bare values has no words for a hole: it ends instead.
"""

import trio

from tailrace._fanout import JSON as JSON_FORMAT
from tailrace._fanout import VALUE
from tailrace.core.actions import Action, End, Send
from tailrace.core.begin import Verdict
from tailrace.core.claims import Principal
from tailrace.core.frame import frame
from tailrace.core.pace import ScanPace
from tailrace.core.position import Positions
from tailrace.core.protocol import JSON, STREAM_ID, Format, StreamRequest
from tailrace.core.stream import Stream
from tailrace.disconnect import FORBIDDEN, INTERNAL, TOPIC_DELETED, Disconnect
from tailrace.errors import ErrorCode
from tailrace.gateway.gate import Gate
from tailrace.gateway.reading import Reading, stopped
from tailrace.gateway.topics import Start, Topics
from tailrace.websocket.connection import Connection, Ended
from tailrace.websocket.outlet import Outlet


class StreamClient:
    """Joins one connection and its subscription. Owns the topic held in `start`: `release` it in the end.

    request: with the keys that the client may see.
    """

    __slots__ = ("_connection", "_cut", "_gate", "_reading", "_request", "_start", "_stream", "_topics", "principal")

    def __init__(
        self, request: StreamRequest, start: Start, topics: Topics, gate: Gate, principal: Principal | None
    ) -> None:
        self._gate = gate
        self.principal = principal
        self._cut: Positions | None = None  # where it stood when it was cut off
        self._request = request
        self._start: Start | None = start  # until the reading has taken it over
        self._topics = topics
        self._stream = Stream(request.format)
        self._reading: Reading | None = None

    async def talk(self, connection: Connection) -> None:
        """Until the conversation ends."""
        self._connection = connection
        connection.on_end = self._leave
        connection.outlet.on_dropped = stopped
        connection.outlet.on_close = self._stop
        self._gate.arrived(self, self.principal)
        try:
            self._begin()
            while True:
                self._act(self._stream.receive(await connection.receive()))
        except Ended:
            return

    def _begin(self) -> None:
        if self.outlet.close_sent is not None or self._connection.ending is not None:
            return
        start, self._start = self._start, None  # the reading takes it over
        assert start is not None
        if start.held.open.tails.get(start.tail.format) is not start.tail:  # the topic was read anew since then
            self._topics.give_up(start)
            self._connection.end(INTERNAL)
            raise Ended
        described, beginning = start.held.description, start.beginning
        told = (described.name, described.topic_id, described.compacted, beginning.positions)
        self._act(self._stream.opened(*told, live=False))
        for verdict in beginning.verdicts:
            self._act(self._stream.gap(verdict.gap(STREAM_ID, described.name), started=False))
        if beginning.live:
            self._act(self._stream.live(beginning.positions))
        self._reading = Reading(self._topics, start, self, STREAM_ID, self._request.keys, self._request.slow)

    def release(self) -> None:
        """Once nothing more can come of it: also when the client left before the handshake was answered."""
        if self._start is not None:
            self._topics.give_up(self._start)
            self._start = None

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._connection.outlet.post(frame(JSON.opcode, JSON.encode(action.message)))
            elif isinstance(action, End):
                self._connection.end(action.disconnect)

    def _stop(self) -> Positions | None:
        """Nothing of it is sent any more: where it stood, if it had begun."""
        reading, self._reading = self._reading, None
        return self._cut if reading is None else reading.close()

    def cut(self, disconnect: Disconnect) -> None:
        """Put nothing more of the topic in line, from now on, and end the connection so."""
        self._cut = self._stop()
        self._connection.end(disconnect)

    def _leave(self, ending: Disconnect) -> None:
        self._gate.left(self)
        positions = self._stop()
        connection = self._connection
        if connection.by_gateway and connection.outlet.close_sent is None:
            self._act(self._stream.closing(ending, connection.retry_after_ms, positions))

    # ------------------------------------------------------------------------------------ what its subscription tells

    @property
    def readings(self) -> list[Reading]:
        """Its subscription, while it runs."""
        return [] if self._reading is None else [self._reading]

    @property
    def outlet(self) -> Outlet:
        """Of the connection."""
        return self._connection.outlet

    @property
    def chases(self) -> None:
        """It has one subscription: no limit is needed."""
        return None

    def scan_pace(self) -> ScanPace:
        """How fast it may look through what it does not want: asked for once, when it is first read back."""
        return ScanPace(trio.current_time())

    def reached_live(self, reading: Reading, positions: Positions) -> None:
        """It has passed the ends that were listed when it began."""
        self._act(self._stream.live(positions))

    def missed(self, reading: Reading, verdicts: list[Verdict]) -> None:
        """Records will not be sent. Bare values have no words for that, and end when there were any before."""
        for verdict in verdicts:
            gap = verdict.gap(STREAM_ID, reading.topic)
            self._act(self._stream.gap(gap, started=reading.delivered > 0))

    def moved(self, reading: Reading, positions: Positions) -> None:
        """The place moved and no record told of it."""
        self._act(self._stream.position(positions))

    def ended(self, reading: Reading, positions: Positions, code: ErrorCode, message: str) -> None:
        """The gateway ends it, and the connection with it."""
        self._reading = None
        self._act(self._stream.position(positions))
        self._connection.end(ENDINGS.get(code, INTERNAL))

    def close(self, disconnect: Disconnect) -> None:
        """End the connection."""
        self._connection.end(disconnect)


ENDINGS = {ErrorCode.TOPIC_DELETED: TOPIC_DELETED, ErrorCode.FORBIDDEN: FORBIDDEN}


def format_of(request: StreamRequest) -> int:
    """Which tail it reads."""
    return VALUE if request.format is Format.VALUE else JSON_FORMAT
