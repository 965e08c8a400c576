"""The wire protocol, version 1, in one name: its commands, its messages and its two codecs.

The contract is docs/protocol.md. The parts are in commands (what a client may ask), messages (what the gateway says),
codec (bytes to the one, the other to bytes; its grammar in wire, wire_json, wire_msgpack) and stream_target (the URL
of a `/topics` stream). Others import from here.
"""

from typing import Final

from tailrace.core.codec import JSON, MSGPACK, Codec
from tailrace.core.commands import (
    LATEST,
    STREAM_ID,
    Auth,
    Command,
    Earliest,
    From,
    Last,
    Latest,
    Offsets,
    Ping,
    Publish,
    Slow,
    Snapshot,
    Subscribe,
    Timestamp,
    Unsubscribe,
    check_topic_name,
)
from tailrace.core.messages import (
    Authenticated,
    Closing,
    ErrorMessage,
    Gap,
    GapReason,
    Live,
    Message,
    Pong,
    PositionMessage,
    Published,
    Subscribed,
    Unsubscribed,
    Welcome,
)
from tailrace.core.stream_target import Format, StreamRequest, parse_stream_target

TOKEN_PREFIX: Final = "tailrace.token."
"""An offered subprotocol that begins so carries a token, and is no protocol (docs/protocol.md, section 2)."""

__all__ = [
    "JSON",
    "LATEST",
    "MSGPACK",
    "STREAM_ID",
    "TOKEN_PREFIX",
    "Auth",
    "Authenticated",
    "Closing",
    "Codec",
    "Command",
    "Earliest",
    "ErrorMessage",
    "Format",
    "From",
    "Gap",
    "GapReason",
    "Last",
    "Latest",
    "Live",
    "Message",
    "Offsets",
    "Ping",
    "Pong",
    "PositionMessage",
    "Publish",
    "Published",
    "Slow",
    "Snapshot",
    "StreamRequest",
    "Subscribe",
    "Subscribed",
    "Timestamp",
    "Unsubscribe",
    "Unsubscribed",
    "Welcome",
    "check_topic_name",
    "parse_stream_target",
]
