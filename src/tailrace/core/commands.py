"""What a client may ask (docs/protocol.md, section 2), the same whichever way it was written.

A command is complete and checked: base64 is decoded, times are milliseconds, defaults are filled in, the topic's name
is one that Kafka could have. What needs the configuration, the session or Kafka to judge is not judged here.
"""

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from tailrace.errors import CommandError, ErrorCode

STREAM_ID: Final = 0
"""The id of a `/topics` stream, which no command can take: they go from 1 to MAX_ID."""
MAX_ID: Final = 65535
MAX_PARTITION: Final = 2**31 - 1  # Kafka's int32
MAX_OFFSET: Final = 2**63 - 1  # Kafka's int64, for offsets and times alike

# org.apache.kafka.common.internals.Topic, of Kafka 4.1: LEGAL_CHARS, MAX_NAME_LENGTH, and not "." or ".."
_TOPIC_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,249}\Z")


class Slow(StrEnum):
    """What happens when the client reads slower than records arrive."""

    WAIT = "wait"
    LATEST = "latest"
    SKIP = "skip"
    CLOSE = "close"


class Latest(Struct, frozen=True, gc=False):
    """From the end."""


class Earliest(Struct, frozen=True, gc=False):
    """From the oldest record the broker still has."""


class Snapshot(Struct, frozen=True, gc=False):
    """The newest record of every key, then what follows."""


class Offsets(Struct, frozen=True):
    """From these: {partition: next offset wanted}, of the topic with this id (None: whichever has the name)."""

    offsets: dict[int, int]
    topic_id: str | None = None


class Timestamp(Struct, frozen=True, gc=False):
    """From the first record at or after `ms` (epoch milliseconds) in each partition."""

    ms: int


class Last(Struct, frozen=True, gc=False):
    """From `count` offsets before the end of each partition; 0 is the end."""

    count: int


From = Latest | Earliest | Snapshot | Offsets | Timestamp | Last
LATEST: Final = Latest()


class Subscribe(Struct, frozen=True):
    """`keys`: only records with one of these, None in it: without a key; None: every record."""

    id: int
    topic: str
    from_: From = LATEST
    keys: frozenset[bytes | None] | None = None
    slow: Slow = Slow.WAIT
    interval_ms: int = 0


class Unsubscribe(Struct, frozen=True, gc=False):
    """`id` is the subscription's."""

    id: int


class Publish(Struct, frozen=True):
    """`value` is what Kafka gets, None: a tombstone. `partition` None: by key, as Kafka's clients do."""

    id: int
    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Auth(Struct, frozen=True, gc=False):
    """A token, never shown: not in a log, not in a traceback."""

    id: int
    token: str

    def __repr__(self) -> str:
        return f"Auth(id={self.id}, token=...)"


class Ping(Struct, frozen=True, gc=False):
    """Answered with `pong`."""

    id: int


Command = Subscribe | Unsubscribe | Publish | Auth | Ping


def is_topic_name(name: str) -> bool:
    """Whether a topic of Kafka's can have this name at all."""
    return _TOPIC_NAME.match(name) is not None


def check_topic_name(name: str) -> str:
    """`name`, if Kafka could have a topic of that name; else `unknown_topic`, since none can exist."""
    if not is_topic_name(name):
        raise CommandError(ErrorCode.UNKNOWN_TOPIC, "no topic can have this name: 1 to 249 of a-z A-Z 0-9 . _ -")
    return name
