"""The wire protocol, version 1, in one name: its commands, its messages, its two codecs and how one is agreed on.

The contract is docs/protocol.md. The parts are in commands (what a client may ask), messages (what the gateway says),
codec (bytes to the one, the other to bytes; its grammar in wire, wire_json, wire_msgpack) and stream_target (the URL
of a `/topics` stream). Others import from here.
"""

from collections.abc import Sequence
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
from tailrace.errors import CommandError, ErrorCode

TOKEN_PREFIX: Final = "tailrace.token."
"""An offered subprotocol that begins so carries a token, and is no protocol (docs/protocol.md, section 2)."""

_CODECS: Final = {codec.name: codec for codec in (JSON, MSGPACK)}


def negotiate(offered: Sequence[str]) -> Codec | None:
    """The codec for the subprotocols a client offers, the first it names that we know; None when it offers none: then
    it speaks JSON and no subprotocol is echoed. CommandError `bad_request`: an offer without a name we know."""
    for name in offered:
        if name in _CODECS:
            return _CODECS[name]
    if offered:
        raise CommandError(ErrorCode.BAD_REQUEST, f"no subprotocol that is known here; known are {', '.join(_CODECS)}")
    return None


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
    "negotiate",
    "parse_stream_target",
]
