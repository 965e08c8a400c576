"""One `/topics/{topic}` connection, sans-io: one subscription with the id 0, and a client that says nothing.

With format=record the same messages as on `/ws`, which Session explains, but for those that answer commands. With
format=value no message but the records' values, so that a hole cannot be told of: it ends the stream instead, unless
nothing was sent yet, since a client that has seen nothing misses nothing.

Whatever is refused is refused before the handshake is answered: a Stream exists once the positions are fixed.
"""

from tailrace.core.actions import Action, End, Send
from tailrace.core.commands import STREAM_ID
from tailrace.core.lifecycle import Event, State, Ticket
from tailrace.core.messages import Closing, Gap, Live, Message, Subscribed
from tailrace.core.position import Positions
from tailrace.core.stream_target import Format
from tailrace.disconnect import GAP, UNSUPPORTED_DATA, Disconnect


class Stream:
    """What is said to one stream's client. Every method returns the actions to carry out, in their order."""

    __slots__ = ("_closed", "_ticket", "format")

    def __init__(self, format: Format) -> None:
        self.format = format
        self._ticket = Ticket(STREAM_ID, State.OPENING)
        self._closed = False

    def opened(
        self, topic: str, topic_id: str | None, compacted: bool | None, positions: Positions, live: bool = True
    ) -> list[Action]:
        """The first: reading begins at `positions`; `live`: that is the end."""
        self._ticket.step(Event.OPENED)
        self._ticket.told = positions
        subscribed = self._say(Subscribed(STREAM_ID, topic, topic_id, compacted, positions))
        return subscribed + self.live(positions) if live else subscribed

    def live(self, positions: Positions) -> list[Action]:
        """It has passed the end that was listed when it began: once."""
        self._ticket.step(Event.REACHED_LIVE)
        return self._say(*self._ticket.position(positions), Live(STREAM_ID))

    def position(self, positions: Positions) -> list[Action]:
        """It is here, to be told between records."""
        return self._say(*self._ticket.position(positions))

    def gap(self, gap: Gap, started: bool) -> list[Action]:
        """Records will not be sent. `started`: a frame was sent (or put in line) before."""
        if self.format is Format.VALUE and started:
            return [End(GAP)]
        return self._say(gap)

    def receive(self, data: str | bytes) -> list[Action]:
        """A message from the client: there is none that a stream understands."""
        return [] if self._closed else [End(UNSUPPORTED_DATA)]

    def closing(
        self, disconnect: Disconnect, retry_after_ms: int | None = None, positions: Positions | None = None
    ) -> list[Action]:
        """The connection ends: the last that is said. `positions`: where it stands, None: it never began."""
        if self._closed:
            return []
        self._closed = True
        told = self._ticket.position(positions) if positions is not None else []
        return self._say(*told, Closing.of(disconnect, retry_after_ms))

    def _say(self, *messages: Message) -> list[Action]:
        return [] if self.format is Format.VALUE else [Send(message) for message in messages]
