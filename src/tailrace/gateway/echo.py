"""`/echo`: every message comes back as it came, for conformance suites. Only with TAILRACE_ECHO=1 in the environment.

It goes the way everything goes: the real listener, guard, trio-websocket and outlet; only its limits are wider, since
suites send 16 MiB in one message and a message in 65,536 frames. Text is held and echoed in the frames' own encoding,
so nothing is kept beside the message itself. It knows no topic and no Kafka.
"""

import os
from collections.abc import Mapping
from typing import Final

from tailrace.core.frame import BINARY, TEXT, frame
from tailrace.websocket.connection import Connection, Ended
from tailrace.websocket.guard import Guard

PATH: Final = "/echo"
VARIABLE: Final = "TAILRACE_ECHO"
MAX_MESSAGE_BYTES: Final = 16 * 2**20  # the largest of Autobahn's cases (9.1.6, 9.2.6)


def echo_enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process serves it; anything but "1" is no."""
    return environment.get(VARIABLE) == "1"


def echo_guard() -> Guard:
    """Text and binary, any number of fragments."""
    return Guard(MAX_MESSAGE_BYTES, None)


class EchoClient:
    """One client on `/echo`. The next message is read once few enough bytes of the last ones wait."""

    async def talk(self, connection: Connection) -> None:
        """Until the conversation ends."""
        try:
            while True:
                message = await connection.receive()
                connection.outlet.post(
                    frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message)
                )
                await connection.room()
        except Ended:
            return

    def release(self) -> None:
        """Nothing is held outside the conversation."""
