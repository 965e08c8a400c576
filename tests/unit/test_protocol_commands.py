"""protocol: what a client sends, read in both subprotocols, and exactly how it is refused."""

import json
from typing import Any

import msgspec
import pytest

from tailrace.core.commands import is_topic_name
from tailrace.core.protocol import (
    JSON,
    LATEST,
    MSGPACK,
    Auth,
    Codec,
    Command,
    Earliest,
    From,
    Last,
    Offsets,
    Ping,
    Publish,
    Slow,
    Snapshot,
    Subscribe,
    Timestamp,
    Unsubscribe,
)
from tailrace.errors import CommandError, ErrorCode

CODECS = [pytest.param(JSON, id="json"), pytest.param(MSGPACK, id="msgpack")]


def write(codec: Codec, fields: Any) -> str | bytes:
    return json.dumps(fields) if codec is JSON else msgspec.msgpack.encode(fields)


def refused(codec: Codec, data: str | bytes) -> CommandError:
    with pytest.raises(CommandError) as caught:
        codec.decode(data)
    assert len(caught.value.message) <= 200
    return caught.value


def subscribe(**fields: Any) -> dict[str, Any]:
    return {"type": "subscribe", "id": 7, "topic": "orders", **fields}


def publish(**fields: Any) -> dict[str, Any]:
    return {"type": "publish", "id": 7, "topic": "orders", **fields}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"type": "ping", "id": 1}, Ping(1)),
        ({"id": 65535, "type": "ping"}, Ping(65535)),
        ({"type": "unsubscribe", "id": 7}, Unsubscribe(7)),
        ({"type": "auth", "id": 7, "token": "a.b.c"}, Auth(7, "a.b.c")),
        (subscribe(), Subscribe(7, "orders", LATEST, None, Slow.WAIT, 0)),
        (subscribe(slow="latest", interval_ms=250), Subscribe(7, "orders", slow=Slow.LATEST, interval_ms=250)),
        (subscribe(slow="latest"), Subscribe(7, "orders", slow=Slow.LATEST)),
        (subscribe(slow="skip"), Subscribe(7, "orders", slow=Slow.SKIP)),
        (subscribe(slow="close"), Subscribe(7, "orders", slow=Slow.CLOSE)),
        (subscribe(keys=[None]), Subscribe(7, "orders", keys=frozenset({None}))),
    ],
)
def test_commands_that_both_write_alike(codec: Codec, fields: dict[str, Any], command: Command) -> None:
    assert codec.decode(write(codec, fields)) == command


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("latest", LATEST),
        ("earliest", Earliest()),
        ("snapshot", Snapshot()),
        ({"timestamp": 1763862162044}, Timestamp(1763862162044)),
        ({"timestamp": "2026-11-23T10:00:00Z"}, Timestamp(1795428000000)),
        ({"timestamp": "2026-11-23T10:00:00.0001Z"}, Timestamp(1795428000001)),
        ({"timestamp": "2026-11-23T10:00:00.000000001Z"}, Timestamp(1795428000001)),
        ({"timestamp": "2026-11-23T10:00:00.001000400Z"}, Timestamp(1795428000002)),
        ({"timestamp": "2026-11-23T10:00:00.001000000+00:00"}, Timestamp(1795428000001)),
        ({"timestamp": "9999-12-31T23:59:59.9999999Z"}, Timestamp(253402300800000)),
        ({"timestamp": "2026-11-23t10:00:00.5-01:30"}, Timestamp(1795433400500)),
        ({"timestamp": "1970-01-01T00:00:00Z"}, Timestamp(0)),
        ("2026-11-23T10:00:00Z", Timestamp(1795428000000)),
        ({"last": 100}, Last(100)),
        ({"last": 0}, Last(0)),
        ({"offsets": {}}, Offsets({})),
        ({"offsets": {}, "topic_id": None}, Offsets({})),
        ({"offsets": {}, "topic_id": "x"}, Offsets({}, "x")),
    ],
)
def test_from(codec: Codec, start: Any, expected: From) -> None:
    assert codec.decode(write(codec, subscribe(**{"from": start}))) == Subscribe(7, "orders", expected)


@pytest.mark.parametrize("codec", CODECS)
def test_offsets_up_to_kafkas_limits(codec: Codec) -> None:
    offsets = {0: 124, 1: 2**63 - 1, 2**31 - 1: 0}
    written = {str(partition): offset for partition, offset in offsets.items()} if codec is JSON else offsets
    command = codec.decode(write(codec, subscribe(**{"from": {"offsets": written, "topic_id": "abc"}})))
    assert command == Subscribe(7, "orders", Offsets(offsets, "abc"))


def test_keys_in_json() -> None:
    command = JSON.decode(write(JSON, subscribe(keys=["A", None, "", "ö", "A"])))
    assert command == Subscribe(7, "orders", keys=frozenset({b"A", None, b"", "ö".encode()}))
    command = JSON.decode(write(JSON, subscribe(keys=["/w==", None, ""], keys_encoding="base64")))
    assert command == Subscribe(7, "orders", keys=frozenset({b"\xff", None, b""}))


def test_keys_in_msgpack() -> None:
    command = MSGPACK.decode(write(MSGPACK, subscribe(keys=[b"\xff", None, b""])))
    assert command == Subscribe(7, "orders", keys=frozenset({b"\xff", None, b""}))


@pytest.mark.parametrize(
    "value",
    ["1.50", "null", '"a\\u00e9\\/"', '{"b" :1, "a":[ ],"a":2}', "1e99999", "-0.0", "9" * 5000, "[" * 500 + "]" * 500],
)
def test_a_published_json_value_is_taken_byte_for_byte(value: str) -> None:
    for data in (
        f'{{"type":"publish","id":7,"topic":"orders","value": {value} }}',
        f'{{"value":{value},"encoding":"json","type":"publish","id":7,"topic":"orders"}}',
    ):
        assert JSON.decode(data) == Publish(7, "orders", value.encode())


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"value": "ö", "encoding": "text"}, "ö".encode()),
        ({"value": "", "encoding": "text"}, b""),
        ({"value": "/w==", "encoding": "base64"}, b"\xff"),
        ({"value": "", "encoding": "base64"}, b""),
        ({"encoding": "tombstone"}, None),
    ],
)
def test_published_values_of_other_encodings(fields: dict[str, Any], value: bytes | None) -> None:
    assert JSON.decode(write(JSON, publish(**fields))) == Publish(7, "orders", value)


def test_the_rest_of_a_publish_in_json() -> None:
    fields = publish(value=1, key="/w==", key_encoding="base64", partition=3)
    headers = [["a", "ö"], ["a", "/w==", "base64"], ["", None]]
    command = JSON.decode(write(JSON, {**fields, "headers": headers}))
    assert command == Publish(7, "orders", b"1", b"\xff", 3, (("a", "ö".encode()), ("a", b"\xff"), ("", None)))
    assert JSON.decode(write(JSON, publish(value=1, key="ö"))) == Publish(7, "orders", b"1", "ö".encode())
    assert JSON.decode(write(JSON, publish(value=1, key=None))) == Publish(7, "orders", b"1", None)
    assert JSON.decode(write(JSON, publish(value=1, key=""))) == Publish(7, "orders", b"1", b"")


def test_publish_in_msgpack() -> None:
    fields = publish(value=b"\xff", key=b"k", partition=0, headers=[["a", b"\xff"], ["b", None]])
    command = MSGPACK.decode(write(MSGPACK, fields))
    assert command == Publish(7, "orders", b"\xff", b"k", 0, (("a", b"\xff"), ("b", None)))
    for tombstone in ({"encoding": "tombstone"}, {"value": None}):
        assert MSGPACK.decode(write(MSGPACK, publish(**tombstone))) == Publish(7, "orders", None)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("id", [0, 65536, -1, True, 1.0, 1.5, "1", None, [1], {}, 2**64 - 1])
def test_a_bad_id_is_an_error_without_one(codec: Codec, id: Any) -> None:
    error = refused(codec, write(codec, {"type": "ping", "id": id}))
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, None, "ping")
    assert "id" in error.message


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"type": "ping", "id": 7, "x": 1}, "`x`"),
        ({"type": "unsubscribe", "id": 7, "topic": "orders"}, "`topic`"),
        ({"type": "subscribe", "id": 7}, "`topic`"),
        ({"type": "auth", "id": 7}, "`token`"),
        ({"type": "auth", "id": 7, "token": 1}, "token"),
        ({"type": "subscribe", "id": 7, "topic": None}, "topic"),
        (subscribe(keys=[]), "keys"),
        (subscribe(keys="A"), "keys"),
        (subscribe(keys=None), "keys"),
        (subscribe(keys=[1]), "keys"),
        (subscribe(slow="fast"), "slow"),
        (subscribe(slow=None), "slow"),
        (subscribe(interval_ms=5), "interval_ms"),
        (subscribe(slow="latest", interval_ms=-1), "interval_ms"),
        (subscribe(slow="latest", interval_ms=86_400_001), "interval_ms"),
        (subscribe(slow="latest", interval_ms=1.5), "interval_ms"),
        (subscribe(partitions=[0]), "`partitions`"),
        (subscribe(**{"from": "start"}), "from"),
        (subscribe(**{"from": "2026-11-23T10:00:00"}), "from"),
        (subscribe(**{"from": None}), "from"),
        (subscribe(**{"from": 5}), "from"),
        (subscribe(**{"from": {}}), "from"),
        (subscribe(**{"from": {"x": 1}}), "`x`"),
        (subscribe(**{"from": {"last": 1, "timestamp": 1}}), "from"),
        (subscribe(**{"from": {"last": 1, "topic_id": "x"}}), "topic_id"),
        (subscribe(**{"from": {"topic_id": "x"}}), "from"),
        (subscribe(**{"from": {"last": -1}}), "last"),
        (subscribe(**{"from": {"last": 1.0}}), "last"),
        (subscribe(**{"from": {"last": 2**63}}), "last"),
        (subscribe(**{"from": {"timestamp": -1}}), "timestamp"),
        (subscribe(**{"from": {"timestamp": "2026-11-23"}}), "timestamp"),
        (subscribe(**{"from": {"timestamp": "2026-11-23T10:00:00"}}), "timestamp"),
        (subscribe(**{"from": {"timestamp": "1969-12-31T23:59:59Z"}}), "timestamp"),
        (subscribe(**{"from": {"timestamp": "0001-01-01T00:00:00+23:59"}}), "timestamp"),
        (subscribe(**{"from": {"offsets": None}}), "offsets"),
        (subscribe(**{"from": {"offsets": []}}), "offsets"),
        (subscribe(**{"from": {"offsets": {}, "topic_id": 1}}), "topic_id"),
        (publish(), "`value`"),
        (publish(encoding="tombstone", value=None), "`value`"),
        (publish(encoding="xml", value=None), "encoding"),
        (publish(value=None, partition=-1), "partition"),
        (publish(value=None, partition=2**31), "partition"),
        (publish(value=None, partition=None), "partition"),
        (publish(value=None, key=1), "key"),
        (publish(value=None, headers={}), "headers"),
        (publish(value=None, headers=[[]]), "headers"),
        (publish(value=None, headers=[["a"]]), "headers"),
        (publish(value=None, headers=[[None, None]]), "headers"),
        (publish(value=None, headers=[["a", 1]]), "headers"),
        (publish(value=None, headers=[["a", None, "base64", None]]), "headers"),
    ],
)
def test_a_field_at_fault_is_named(codec: Codec, fields: dict[str, Any], named: str) -> None:
    error = refused(codec, write(codec, fields))
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, 7, fields["type"])
    assert named in error.message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (subscribe(keys_encoding="base64"), "keys_encoding"),
        (subscribe(keys=["A"], keys_encoding="hex"), "keys_encoding"),
        (subscribe(keys=["A"], keys_encoding="base64"), "keys"),
        (subscribe(keys=["/w"], keys_encoding="base64"), "keys"),
        (subscribe(keys=["/w== "], keys_encoding="base64"), "keys"),
        (subscribe(keys=["_w=="], keys_encoding="base64"), "keys"),
        (subscribe(keys=["ö"], keys_encoding="base64"), "keys"),
        (subscribe(**{"from": {"offsets": {"0": "1"}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {"0": 2**63}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {"a": 1}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {"00": 1}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {"-1": 1}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {"٣": 1}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {"2147483648": 1}}}), "offsets"),
        (publish(encoding="text"), "`value`"),
        (publish(encoding="text", value=1), "`value`"),
        (publish(encoding="base64", value="/w"), "`value`"),
        (publish(value=1, key_encoding="base64"), "key_encoding"),
        (publish(value=1, key=None, key_encoding="base64"), "key_encoding"),
        (publish(value=1, key="?", key_encoding="base64"), "key"),
        (publish(value=1, headers=[["a", "b", "hex"]]), "headers"),
        (publish(value=1, headers=[["a", "b", None]]), "headers"),
        (publish(value=1, headers=[["a", "?", "base64"]]), "headers"),
    ],
)
def test_what_only_json_can_get_wrong(fields: dict[str, Any], named: str) -> None:
    error = refused(JSON, write(JSON, fields))
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, 7, fields["type"])
    assert named in error.message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (subscribe(keys=["A"]), "keys"),
        (subscribe(keys=[b"A"], keys_encoding="base64"), "keys_encoding"),
        (subscribe(**{"from": {"offsets": {"0": 1}}}), "offsets"),
        (subscribe(**{"from": {"offsets": {-1: 1}}}), "offsets"),
        (publish(value="A"), "value"),
        (publish(value=b"A", encoding="text"), "encoding"),
        (publish(value=b"A", key="A"), "key"),
        (publish(value=b"A", headers=[["a", "b"]]), "headers"),
        (publish(value=b"A", headers=[["a", b"b", "base64"]]), "headers"),
    ],
)
def test_what_only_msgpack_can_get_wrong(fields: dict[str, Any], named: str) -> None:
    error = refused(MSGPACK, write(MSGPACK, fields))
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, 7, fields["type"])
    assert named in error.message


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ö", "orders\n", "x" * 250])
@pytest.mark.parametrize("type", ["subscribe", "publish"])
def test_a_name_no_topic_can_have(codec: Codec, name: str, type: str) -> None:
    fields = {"type": type, "id": 7, "topic": name} | ({"value": None} if type == "publish" else {})
    error = refused(codec, write(codec, fields))
    assert (error.code, error.id, error.command) == (ErrorCode.UNKNOWN_TOPIC, 7, type)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("fields", "id", "command"),
    [
        ({"type": "replay", "id": 7, "x": 1}, 7, "replay"),
        ({"type": "", "id": 7}, 7, ""),
        ({"type": "record", "id": 0}, None, "record"),
        ({"type": "Ping"}, None, "Ping"),
        ({"type": "x" * 65, "id": 7}, 7, "x" * 64),
    ],
)
def test_an_unknown_type(codec: Codec, fields: dict[str, Any], id: int | None, command: str) -> None:
    error = refused(codec, write(codec, fields))
    assert (error.code, error.id, error.command) == (ErrorCode.UNKNOWN_TYPE, id, command)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("fields", [{"id": 7}, {"type": 5, "id": 7}, {"type": None, "id": 7}])
def test_no_type(codec: Codec, fields: dict[str, Any]) -> None:
    error = refused(codec, write(codec, fields))
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, 7, None)
    assert "`type`" in error.message


@pytest.mark.parametrize(
    ("data", "id", "command", "named"),
    [
        ('{"type":"ping","id":1,"id":2}', None, "ping", "`id`"),
        ('{"type":"ping","id":1,"id":1}', None, "ping", "`id`"),
        ('{"type":"ping","id":1,"i\\u0064":1}', None, "ping", "`id`"),
        ('{"type":"ping","type":"ping","id":1}', 1, None, "`type`"),
        ('{"x":1,"x":2,"id":1,"type":"ping","x":3}', 1, "ping", "`x`"),
        ('{"x":1,"x":2,"id":1,"id":3,"type":"ping"}', None, "ping", "`x`"),
        ('{"type":"subscribe","id":1,"topic":"a","from":{"last":1,"last":2}}', 1, "subscribe", "`from.last`"),
        ('{"type":"subscribe","id":1,"topic":"a","from":{"offsets":{"0":1,"0":1}}}', 1, "subscribe", "offsets"),
    ],
)
def test_names_that_stand_twice_in_json(data: str, id: int | None, command: str | None, named: str) -> None:
    error = refused(JSON, data)
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, id, command)
    assert named in error.message


SUBSCRIBE_FROM = b"\x84\xa2id\x01\xa4type\xa9subscribe\xa5topic\xa1a\xa4from"


@pytest.mark.parametrize(
    ("data", "id", "command"),
    [
        (b"\x83\xa2id\x01\xa2id\x02\xa4type\xa4ping", None, "ping"),
        (b"\xde\x00\x03\xa2id\x01\xa4type\xa4ping\xa4type\xa4ping", 1, None),
        (SUBSCRIBE_FROM + b"\x82\xa4last\x01\xa4last\x01", 1, "subscribe"),
        (SUBSCRIBE_FROM + b"\x81\xa7offsets\x82\x00\x01\x00\x01", 1, "subscribe"),
        (SUBSCRIBE_FROM + b"\x81\xa7offsets\x82\x00\x01\xcc\x00\x01", 1, "subscribe"),
    ],
)
def test_names_that_stand_twice_in_msgpack(data: bytes, id: int | None, command: str | None) -> None:
    error = refused(MSGPACK, data)
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, id, command)
    assert "twice" in error.message or "more than once" in error.message


def test_names_may_repeat_inside_a_published_value() -> None:
    assert JSON.decode('{"type":"publish","id":1,"topic":"a","value":{"a":1,"a":2}}').value == b'{"a":1,"a":2}'


@pytest.mark.parametrize(
    "data",
    [
        "", " ", "{", "}", "[]", "[1]", "null", "true", "1", '"ping"', "{} {}", "{'type':'ping'}", '{"type":"ping",}',
        '{"type":"ping","id":01}', '{"type":"ping","id":NaN}', "\ufeff{}",
        '{"id":1,"type":"\ud800"}', '{"id":1 "type":"ping"}', '{"type":"ping","id":1}\x00', '{"a\tb":1}',
        b"\xff", b'{"id":1,"type":"ping","x\xff":1}', b'{"id":1,"type":"ping","x":"\xff"}',
        b'{"id":1,"x":"\xed\xa0\x80"}',
    ],
)  # fmt: skip
def test_what_is_not_a_json_object(data: str | bytes) -> None:
    error = refused(JSON, data)
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, None, None)


@pytest.mark.parametrize(
    ("text", "lone"),
    [
        (r"\ud800", r"\ud800"), (r"a\uDBFFb", r"\uDBFF"), (r"\udc00", r"\udc00"), (r"\ud83d\ude00\ude01", r"\ude01"),
        (r"\ud83d\ud83d\ude00", r"\ud83d"), (r"\\\ud800", r"\ud800"), (r"\ud800\n", r"\ud800"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["type", "topic", "key", "value", "x"])
def test_a_lone_surrogate_is_called_one(field: str, text: str, lone: str) -> None:
    error = refused(JSON, f'{{"id":7,"{field}":"{text}"}}')
    assert (error.code, error.message) == (ErrorCode.BAD_REQUEST, f"a lone surrogate has no UTF-8: {lone}")
    assert error.id == 7


def test_what_has_a_lone_surrogate_is_answered_to_its_command() -> None:
    """What JavaScript makes of half an emoji: the client waits for the answer to its publish."""
    halves = r"\ud83d\\\ud83d\ud83d\ude00\ude00\u0041"
    error = refused(JSON, f'{{"type":"publish","id":7,"topic":"a","value":{{"{halves}":["{halves}"]}}}}')
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, 7, "publish")
    error = refused(JSON, r'{"type":"ping","id":7,"x":"\ud83d","id":7}')
    assert (error.id, error.command, "more than once" in error.message) == (None, "ping", True)
    error = refused(JSON, r'{"type":"ping","id":7,"x":"\ud83d"')
    assert (error.id, error.command, "surrogate" in error.message) == (None, None, True)


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud800", r"\\\\udc00", r"\ue000"])
def test_what_is_no_lone_surrogate_is_not_called_one(text: str) -> None:
    assert JSON.decode(f'{{"id":7,"type":"auth","token":"{text}"}}') == Auth(7, json.loads(f'"{text}"'))
    assert "surrogate" not in refused(JSON, f'{{"id":7,"type":"auth","token":"{text}"').message


@pytest.mark.parametrize(
    "data",
    [
        "", "{}", b"", b"\x01", b"\xc0", b"\x90", b"\x81", b"\x80\x80", b"\xde", b"\xde\x00", b"\xdf\xff\xff\xff\xff",
        b"\xdf\x00\x00\x00\x02\xa1a\x01", b"\x81\x01\x01", b"\x81\xc4\x01a\x01", b"\x81\xdd\xff\xff\xff\xff\x01",
        b"\x81\xa1a\xdd\xff\xff\xff\xff", b"\x81\xa1a\xc6\xff\xff\xff\xff", b"\x81\xa1\xff\x01", b"\x81\xa1a\xc1",
    ],
)  # fmt: skip
def test_what_is_not_a_msgpack_map(data: str | bytes) -> None:
    error = refused(MSGPACK, data)
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, None, None)


@pytest.mark.parametrize("field", ["value", "from", "id", "x"])
def test_deep_nesting_is_refused(field: str) -> None:
    for deep in ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 100_000):
        assert refused(JSON, f'{{"type":"publish","id":1,"{field}":{deep}}}').code is ErrorCode.BAD_REQUEST
    head = b"\x83\xa4type\xa7publish\xa2ID\x01" + bytes([0xA0 + len(field)]) + field.encode()
    for deep in (b"\x91" * 100_000 + b"\x01", b"\x81\xa1a" * 100_000 + b"\x01", b"\x91" * 100_000):
        assert refused(MSGPACK, head + deep).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("number", ["9" * 60_000, "1e999999", "-" + "9" * 400, "0." + "0" * 60_000 + "1"])
@pytest.mark.parametrize("field", ["id", "type", "topic", "partition", "key", "x"])
def test_huge_numbers_are_refused(number: str, field: str) -> None:
    written = {"type": '"publish"', "id": "1", "topic": '"a"', "value": "1", field: number}
    data = "{" + ",".join(f'"{name}":{value}' for name, value in written.items()) + "}"
    assert refused(JSON, data).code is ErrorCode.BAD_REQUEST


def test_thousands_of_keys_in_a_message_of_64_kib() -> None:
    keys = [f"key-{number:05}" for number in range(4_700)]
    data = write(JSON, subscribe(keys=keys))
    assert 60_000 < len(data) < 65_536
    command = JSON.decode(data)
    assert isinstance(command, Subscribe)
    assert command.keys == frozenset(key.encode() for key in keys)


def test_thousands_of_unknown_fields_are_refused() -> None:
    error = refused(
        JSON, write(JSON, {"id": 1, "type": "ping"} | {f"field-{number}": number for number in range(3_000)})
    )
    assert (error.code, error.id, error.command) == (ErrorCode.BAD_REQUEST, 1, "ping")


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(JSON.decode('{"type":"auth","id":1,"token":"secret"}'))


@pytest.mark.parametrize("name", ["a", "orders.v2_x-Y", "...", "a" * 249])
def test_legal_names(name: str) -> None:
    assert is_topic_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "a\0b", "ü", "\ud800", "a" * 250, "a\n"])
def test_names_that_no_topic_can_have(name: str) -> None:
    assert not is_topic_name(name)
