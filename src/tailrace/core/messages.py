"""What the gateway says, but for records (docs/protocol.md, section 3): one struct for each type.

Fields go out in the order written here, `type` first. An optional field is left out (UNSET) where the protocol says
"only when"; it is null (None) where the protocol says null. Records are encode's: they are encoded once for all
subscribers, these messages once for each.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from tailrace.disconnect import Disconnect
from tailrace.errors import CommandError, ErrorCode

GapReason = Literal["retention", "slow", "too_large", "truncated", "topic_recreated"]


class Welcome(Struct, frozen=True, tag_field="type", tag="welcome", gc=False):
    """The first on `/ws`. `server` is "tailrace/VERSION", `connection` the id that also stands in the logs."""

    server: str
    connection: str
    protocol: str
    ping_interval_ms: int | None
    max_message_bytes: int


class Subscribed(Struct, frozen=True, tag_field="type", tag="subscribed"):
    """`positions`: where reading begins in every partition. `compacted` None: not known."""

    id: int
    topic: str
    topic_id: str | None
    compacted: bool | None
    positions: Mapping[int, int]


class Live(Struct, frozen=True, tag_field="type", tag="live", gc=False):
    """Once per subscription: it has passed the end that was listed when it began."""

    id: int


class PositionMessage(Struct, frozen=True, tag_field="type", tag="position"):
    """Everything before these offsets was delivered, did not match, or was named by a gap."""

    id: int
    positions: Mapping[int, int]


class Gap(Struct, frozen=True, tag_field="type", tag="gap", gc=False):
    """The wanted records with `from` <= offset < `to` will not be sent (`to` None: not known how many)."""

    id: int
    topic: str
    partition: int
    from_: int = field(name="from")
    to: int | None
    next: int
    reason: GapReason
    topic_id: str | UnsetType = UNSET  # only with topic_recreated: the new one


class Unsubscribed(Struct, frozen=True, tag_field="type", tag="unsubscribed", gc=False):
    """The last about a subscription. With `code` and `message`: the gateway ended it."""

    id: int
    code: ErrorCode | UnsetType = UNSET
    message: str | UnsetType = UNSET


class Published(Struct, frozen=True, tag_field="type", tag="published", gc=False):
    """The broker acknowledged it. `timestamp` in epoch milliseconds, None when Kafka has none."""

    id: int
    topic: str
    partition: int
    offset: int
    timestamp: int | None


class Authenticated(Struct, frozen=True, tag_field="type", tag="authenticated", gc=False):
    """`expires_at` in epoch milliseconds, None: it does not."""

    id: int
    subject: str | None
    expires_at: int | None


class Pong(Struct, frozen=True, tag_field="type", tag="pong", gc=False):
    """The answer to `ping`."""

    id: int


class ErrorMessage(Struct, frozen=True, tag_field="type", tag="error", gc=False):
    """A command that failed; `id` and `command` are left out when they could not be read."""

    code: ErrorCode
    message: str
    id: int | UnsetType = UNSET
    command: str | UnsetType = UNSET

    @classmethod
    def of(cls, error: CommandError) -> "ErrorMessage":
        """What is answered to the client at fault."""
        return cls(
            error.code,
            error.message,
            UNSET if error.id is None else error.id,
            UNSET if error.command is None else error.command,
        )


class Closing(Struct, frozen=True, tag_field="type", tag="closing", gc=False):
    """Just before a close by the gateway. `retry_after_ms` None: the client's own back-off, or not at all."""

    code: int
    reason: str
    retry_after_ms: int | None

    @classmethod
    def of(cls, disconnect: Disconnect, retry_after_ms: int | None) -> "Closing":
        """What is said before this ending."""
        return cls(disconnect.code, disconnect.reason, retry_after_ms)


Message = (
    Welcome
    | Subscribed
    | Live
    | PositionMessage
    | Gap
    | Unsubscribed
    | Published
    | Authenticated
    | Pong
    | ErrorMessage
    | Closing
)
