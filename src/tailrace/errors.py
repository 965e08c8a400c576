"""Whose fault it is: the client's (answered), the configuration's (exit 2), Kafka's (readiness).

A fault of ours has no class here: it is whatever exception it is, ends the session as `disconnect.INTERNAL`, and is
logged with its traceback.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """`error.code` and `unsubscribed.code` on the wire (docs/protocol.md, section 5)."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_TYPE = "unknown_type"
    ID_IN_USE = "id_in_use"
    UNKNOWN_ID = "unknown_id"
    UNKNOWN_TOPIC = "unknown_topic"
    FORBIDDEN = "forbidden"
    UNAUTHENTICATED = "unauthenticated"
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    BAD_POSITION = "bad_position"
    SNAPSHOT_UNAVAILABLE = "snapshot_unavailable"
    PUBLISH_FAILED = "publish_failed"
    PUBLISH_TIMEOUT = "publish_timeout"
    KAFKA_UNAVAILABLE = "kafka_unavailable"
    TOPIC_DELETED = "topic_deleted"
    INTERNAL = "internal"


class CommandError(Exception):
    """The client's fault: answered with an `error` message, the connection goes on.

    `id` and `command` (its type) are filled in as far as the command could be read.
    """

    def __init__(self, code: ErrorCode, message: str, id: int | None = None, command: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id
        self.command = command


class ConfigError(Exception):
    """A faulty configuration: every fault found, one line each, naming the key and where it was set."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: tuple[str, ...] = faults


class KafkaUnavailable(Exception):
    """No broker answered in time, or it refused us; worth another try later."""


class UnknownTopic(Exception):
    """The broker answered, and has no such topic (or none that it shows us)."""
