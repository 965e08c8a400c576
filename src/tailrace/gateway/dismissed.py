"""A browser that is not let in. It cannot read an HTTP answer, so its handshake is accepted, and closed with the code
that says why (docs/protocol.md, section 1)."""

from tailrace.core.codec import Codec
from tailrace.core.frame import frame
from tailrace.core.messages import Closing
from tailrace.disconnect import Disconnect
from tailrace.websocket.connection import Connection


class Dismissed:
    """Says `closing` in this codec, None: there are no messages here, and goes."""

    def __init__(self, codec: Codec | None, disconnect: Disconnect) -> None:
        self._codec = codec
        self._disconnect = disconnect

    async def talk(self, connection: Connection) -> None:
        """Ends the conversation before it has begun."""
        if self._codec is not None:
            closing = Closing.of(self._disconnect, None)
            connection.outlet.post(frame(self._codec.opcode, self._codec.encode(closing)))
        connection.end(self._disconnect)

    def release(self) -> None:
        """Nothing was held for it."""
