"""protocol: what the gateway says, byte for byte, and the choice of a subprotocol."""

import json

import msgspec
import pytest

from tailrace.core.protocol import (
    JSON,
    MSGPACK,
    Authenticated,
    Closing,
    ErrorMessage,
    Gap,
    Live,
    Message,
    Pong,
    PositionMessage,
    Published,
    Subscribed,
    Unsubscribed,
    Welcome,
)
from tailrace.disconnect import SHUTDOWN
from tailrace.errors import CommandError, ErrorCode

EVERY_TYPE: list[tuple[Message, str]] = [
    (
        Welcome("t/1", "c", "p", 25000, 1),
        '{"type":"welcome","server":"t/1","connection":"c","protocol":"p","ping_interval_ms":25000,"max_message_bytes":1}',
    ),
    (
        Subscribed(7, "orders", None, None, {0: 124, 10: 0}),
        '{"type":"subscribed","id":7,"topic":"orders","topic_id":null,"compacted":null,"positions":{"0":124,"10":0}}',
    ),
    (Live(7), '{"type":"live","id":7}'),
    (PositionMessage(7, {0: 124}), '{"type":"position","id":7,"positions":{"0":124}}'),
    (
        Gap(7, "orders", 0, 5, 9, 9, "retention"),
        '{"type":"gap","id":7,"topic":"orders","partition":0,"from":5,"to":9,"next":9,"reason":"retention"}',
    ),
    (
        Gap(7, "a", 0, 5, None, 0, "topic_recreated", "new"),
        '{"type":"gap","id":7,"topic":"a","partition":0,"from":5,"to":null,"next":0,"reason":"topic_recreated","topic_id":"new"}',
    ),
    (Unsubscribed(7), '{"type":"unsubscribed","id":7}'),
    (
        Unsubscribed(7, ErrorCode.TOPIC_DELETED, "gone"),
        '{"type":"unsubscribed","id":7,"code":"topic_deleted","message":"gone"}',
    ),
    (
        Published(7, "orders", 0, 124, None),
        '{"type":"published","id":7,"topic":"orders","partition":0,"offset":124,"timestamp":null}',
    ),
    (Authenticated(7, "me", None), '{"type":"authenticated","id":7,"subject":"me","expires_at":null}'),
    (Pong(7), '{"type":"pong","id":7}'),
    (ErrorMessage(ErrorCode.BAD_REQUEST, "no"), '{"type":"error","code":"bad_request","message":"no"}'),
    (
        ErrorMessage.of(CommandError(ErrorCode.ID_IN_USE, "no", 7, "ping")),
        '{"type":"error","code":"id_in_use","message":"no","id":7,"command":"ping"}',
    ),
    (
        ErrorMessage.of(CommandError(ErrorCode.UNKNOWN_TYPE, "no", None, "")),
        '{"type":"error","code":"unknown_type","message":"no","command":""}',
    ),
    (Closing.of(SHUTDOWN, 1500), '{"type":"closing","code":4000,"reason":"shutdown","retry_after_ms":1500}'),
]


@pytest.mark.parametrize(("message", "written"), EVERY_TYPE)
def test_every_message_in_json(message: Message, written: str) -> None:
    assert JSON.encode(message) == written.encode()


@pytest.mark.parametrize(("message", "written"), EVERY_TYPE)
def test_msgpack_says_the_same_with_integer_partitions(message: Message, written: str) -> None:
    expected = json.loads(written)
    if "positions" in expected:
        expected["positions"] = {int(partition): offset for partition, offset in expected["positions"].items()}
    assert msgspec.msgpack.decode(MSGPACK.encode(message)) == expected


def test_what_a_codec_is() -> None:
    assert (JSON.name, JSON.opcode, JSON.text) == ("tailrace.v1.json", 1, True)
    assert (MSGPACK.name, MSGPACK.opcode, MSGPACK.text) == ("tailrace.v1.msgpack", 2, False)
