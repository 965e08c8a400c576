"""One topic, followed over any number of connections: sans-io. It says what a message means and what to do when a
connection has ended; who carries it out hands `had` each event once it is done, and only then does it count.

Rules: what is kept is `Kept`'s. Unknown types and fields are ignored, an unknown reason of a gap is told as it came.
After an ending that is no `Over` the next connection continues at what was had. A `/topics` URL cannot carry a topic's
id: there a recreated topic is found by its `subscribed`, and read from its beginning.
"""

import random
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, Struct

from tailrace.client.line import line
from tailrace.client.target import Target, write_from
from tailrace.core.messages import Gap, GapReason, PositionMessage, Subscribed
from tailrace.core.position import Kept
from tailrace.core.protocol import Earliest, From
from tailrace.disconnect import NORMAL, Disconnect

FIRST_SECONDS: Final = 0.5
LAST_SECONDS: Final = 20.0
SETTLED_SECONDS: Final = 5.0  # a connection that lasted this long was a good one: back-off starts anew
PASSING: Final = frozenset({"kafka_unavailable", "rate_limited", "internal"})  # refusals that time heals

_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])


class Line(Struct, frozen=True):
    """A record: to be printed."""

    text: bytes
    partition: int
    offset: int


class Say(Struct, frozen=True):
    """To be sent."""

    text: str


class Told(Struct, frozen=True):
    """For the person."""

    text: str


class Leave(Struct, frozen=True):
    """This connection is of no more use: `again`, after a while, or never."""

    text: str
    again: bool = True


class Wait(Struct, frozen=True):
    """The next connection is due in so many seconds."""

    seconds: float
    text: str


class Over(Struct, frozen=True):
    """There is no next connection. failed: it is not as the person wished."""

    text: str
    failed: bool = True


Event = Line | Say | Told | Leave | Subscribed | PositionMessage | Gap


class Following:
    """`chance`: gives numbers from 0 to 1, for the jitter."""

    def __init__(self, target: Target, chance: Callable[[], float] = random.random) -> None:
        self._target = target
        self._chance = chance
        self._kept = Kept()
        self._start: From = target.request.from_
        self._attempts = 0
        self._closing: tuple[Disconnect, float | None] | None = None

    @property
    def url(self) -> str:
        """Where to connect next."""
        return self._target.url(self._next)

    @property
    def place(self) -> str | None:
        """What was had, as `--from` takes it; None: nothing is known yet."""
        return write_from(self._kept.resume()) if self._kept.positions else None

    @property
    def _next(self) -> From:
        return self._kept.resume() if self._kept.positions else self._start

    def receive(self, data: str | bytes) -> list[Event]:
        """What is to be done about a message, in this order."""
        try:
            fields = _FIELDS.decode(data)
            hear = _HEAR.get(_plain(fields, "type", None))
            return hear(self, fields) if hear else []
        except (ValueError, KeyError, TypeError) as error:
            return [Leave(f"this is no message of a Tailrace gateway: {error!r}", again=False)]

    def had(self, event: Event) -> None:
        """This was done: the record is printed, the gap told."""
        match event:
            case Line():
                self._kept.record(event.partition, event.offset)
            case Subscribed():
                self._kept.subscribed(event)
            case PositionMessage():
                self._kept.position(event)
            case Gap():
                self._kept.gap(event)

    # How a connection ends

    def lost(self, code: int, reason: str, lasted_seconds: float) -> Wait | Over:
        """It was closed; 1006: without a word."""
        told, retry_seconds = self._closing or (None, None)
        self._closing = None
        if lasted_seconds > SETTLED_SECONDS:
            self._attempts = 0
        ending = told if told and code == 1006 else Disconnect(code, reason)
        text = f"closed with {ending.code} {ending.reason}".rstrip()
        if not ending.reconnect:
            return Over(text, failed=ending.code != NORMAL.code)
        return self._wait(text, retry_seconds)

    def left(self, leave: Leave) -> Wait | Over:
        """It was left, as `receive` said."""
        self._closing = None
        return self._wait(leave.text) if leave.again else Over(leave.text)

    def refused(self, status: int, message: str, retry_seconds: float | None = None) -> Wait | Over:
        """The handshake was answered with this HTTP status: 429 and 5xx pass."""
        text = f"refused with {status}: {message}"
        if status == 429 or status >= 500:
            return self._wait(text, max(retry_seconds or 0, self._backoff_seconds()))
        return Over(text)

    def unreachable(self, why: str) -> Wait:
        """There was no answer at all."""
        return self._wait(f"cannot connect: {why}")

    def _wait(self, text: str, seconds: float | None = None) -> Wait:
        seconds = self._backoff_seconds() if seconds is None else seconds
        self._attempts += 1
        return Wait(seconds, f"{text}; trying again in {seconds:.1f} s")

    def _backoff_seconds(self) -> float:
        """Doubling, and half of it by chance."""
        ceiling: float = min(LAST_SECONDS, FIRST_SECONDS * 2 ** min(self._attempts, 10))
        return ceiling / 2 * (1 + self._chance())

    # What the gateway says

    def _welcome(self, fields: dict[str, Raw]) -> list[Event]:
        command = self._target.command(self._next)
        return [] if command is None else [Say(command)]

    def _subscribed(self, fields: dict[str, Raw]) -> list[Event]:
        topic_id = _plain(fields, "topic_id", None)
        if not self._target.by_command and topic_id and self._kept.topic_id not in (None, topic_id):
            self._kept, self._start = Kept(), Earliest()
            return [Leave("the topic was deleted and created again; reading it from its beginning")]
        positions = msgspec.json.decode(fields["positions"], type=dict[int, int])
        return [Subscribed(_plain(fields, "id", 0), self._target.request.topic, topic_id, None, positions)]

    def _record(self, fields: dict[str, Raw]) -> list[Event]:
        return [Line(line(fields), int(bytes(fields["partition"])), int(bytes(fields["offset"])))]

    def _position(self, fields: dict[str, Raw]) -> list[Event]:
        return [PositionMessage(_plain(fields, "id", 0), msgspec.json.decode(fields["positions"], type=dict[int, int]))]

    def _gap(self, fields: dict[str, Raw]) -> list[Event]:
        partition, from_, to, next_, reason = (
            _plain(fields, name, None) for name in ("partition", "from", "to", "next", "reason")
        )
        gap = Gap(0, self._target.request.topic, partition, from_, to, next_, cast(GapReason, reason))
        gap = msgspec.structs.replace(gap, topic_id=_plain(fields, "topic_id", UNSET))
        missing = f"from {from_} on" if to is None else f"{from_} to {to - 1}" if to > from_ else f"at {from_}"
        return [Told(f"gap ({reason}): partition {partition}, {missing}; goes on at {next_}"), gap]

    def _refused(self, fields: dict[str, Raw]) -> list[Event]:
        """An error, or the gateway's end of the subscription."""
        code, message = _plain(fields, "code", "ended"), _plain(fields, "message", "the gateway ended it")
        return [Leave(f"{code}: {message}", again=code in PASSING)]

    def _closes(self, fields: dict[str, Raw]) -> list[Event]:
        retry_ms = _plain(fields, "retry_after_ms", None)
        ending = Disconnect(_plain(fields, "code", 1006), _plain(fields, "reason", ""))
        self._closing = ending, None if retry_ms is None else retry_ms / 1000
        return []


_HEAR: Final[dict[str, Callable[[Following, dict[str, Raw]], list[Event]]]] = {
    "welcome": Following._welcome,
    "subscribed": Following._subscribed,
    "record": Following._record,
    "position": Following._position,
    "gap": Following._gap,
    "unsubscribed": Following._refused,
    "error": Following._refused,
    "closing": Following._closes,
}


def _plain(fields: dict[str, Raw], name: str, default: Any) -> Any:
    """A field that is no object."""
    return msgspec.json.decode(fields[name]) if name in fields else default
