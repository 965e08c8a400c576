"""protocol: what holds for any command, any message and any bytes."""

import json
from base64 import b64encode
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace.core.protocol import (
    JSON,
    LATEST,
    MSGPACK,
    Auth,
    Authenticated,
    Closing,
    Codec,
    Command,
    Earliest,
    ErrorMessage,
    From,
    Gap,
    Last,
    Live,
    Message,
    Offsets,
    Ping,
    Pong,
    PositionMessage,
    Publish,
    Published,
    Slow,
    Snapshot,
    Subscribe,
    Subscribed,
    Timestamp,
    Unsubscribe,
    Unsubscribed,
    Welcome,
)
from tailrace.errors import CommandError, ErrorCode

COMMANDS = Subscribe | Unsubscribe | Publish | Auth | Ping
OFFSET = st.integers(0, 2**63 - 1)
PARTITION = st.integers(0, 2**31 - 1)
VECTOR = st.dictionaries(PARTITION, OFFSET, max_size=4)
TOPIC = st.text("abzAZ09._-", min_size=1, max_size=249).filter(lambda name: name not in {".", ".."})
ID = st.integers(1, 65535)
BYTES = st.binary(max_size=20)
FROM: st.SearchStrategy[From] = st.one_of(
    st.sampled_from([LATEST, Earliest(), Snapshot()]),
    st.builds(Offsets, VECTOR, st.none() | st.text()),
    st.builds(Timestamp, OFFSET),
    st.builds(Last, OFFSET),
)
SLOW = st.one_of(
    st.tuples(st.sampled_from(Slow), st.just(0)), st.tuples(st.just(Slow.LATEST), st.integers(0, 86_400_000))
)
COMMAND: st.SearchStrategy[Command] = st.one_of(
    st.builds(Ping, ID),
    st.builds(Unsubscribe, ID),
    st.builds(Auth, ID, st.text()),
    st.builds(
        lambda id, topic, start, keys, slow: Subscribe(id, topic, start, keys, *slow),
        ID, TOPIC, FROM, st.none() | st.frozensets(st.none() | BYTES, min_size=1), SLOW,
    ),
    st.builds(
        Publish, ID, TOPIC, st.none() | BYTES, st.none() | BYTES, st.none() | PARTITION,
        st.lists(st.tuples(st.text(), st.none() | BYTES), max_size=3).map(tuple),
    ),
)  # fmt: skip


def base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def start(from_: From, json: bool) -> Any:
    match from_:
        case Offsets(offsets, topic_id):
            named = {str(partition): offset for partition, offset in offsets.items()} if json else offsets
            return {"offsets": named, "topic_id": topic_id}
        case Timestamp(ms):
            return {"timestamp": ms}
        case Last(count):
            return {"last": count}
    return type(from_).__name__.lower()


def as_json(command: Command) -> dict[str, Any]:
    """The command as a client would write it, its bytes in base64."""
    fields: dict[str, Any] = {"type": type(command).__name__.lower(), "id": command.id}
    match command:
        case Auth():
            fields["token"] = command.token
        case Subscribe():
            fields |= {"topic": command.topic, "from": start(command.from_, json=True), "slow": command.slow}
            if command.keys is not None:
                fields |= {"keys": [base64(key) for key in command.keys], "keys_encoding": "base64"}
            if command.slow is Slow.LATEST:
                fields["interval_ms"] = command.interval_ms
        case Publish():
            fields |= {"topic": command.topic, "encoding": "tombstone"}
            if command.value is not None:
                fields |= {"value": base64(command.value), "encoding": "base64"}
            if command.key is not None:
                fields |= {"key": base64(command.key), "key_encoding": "base64"}
            if command.partition is not None:
                fields["partition"] = command.partition
            fields["headers"] = [[name, base64(value), "base64"] for name, value in command.headers]
    return fields


def as_msgpack(command: Command) -> dict[str, Any]:
    """The command as a client would write it, its bytes as they are."""
    fields = as_json(command)
    match command:
        case Subscribe():
            fields["from"] = start(command.from_, json=False)
            if fields.pop("keys_encoding", None):
                fields["keys"] = list(command.keys or ())
        case Publish():
            fields |= {"key": command.key, "headers": command.headers}
            fields.pop("key_encoding", None)
            if command.value is not None:
                del fields["encoding"]
                fields["value"] = command.value
    return fields


@given(COMMAND)
def test_any_command_written_in_json_is_read_back(command: Command) -> None:
    assert JSON.decode(json.dumps(as_json(command))) == command
    assert JSON.decode(json.dumps(as_json(command), ensure_ascii=False).encode()) == command


@given(COMMAND)
def test_any_command_written_in_msgpack_is_read_back(command: Command) -> None:
    assert MSGPACK.decode(msgspec.msgpack.encode(as_msgpack(command))) == command


MESSAGE: st.SearchStrategy[Message] = st.one_of(
    st.builds(Welcome, st.text(), st.text(), st.text(), st.none() | OFFSET, OFFSET),
    st.builds(Subscribed, ID, TOPIC, st.none() | st.text(), st.none() | st.booleans(), VECTOR),
    st.builds(PositionMessage, ID, VECTOR),
    st.builds(Gap, ID, TOPIC, PARTITION, OFFSET, st.none() | OFFSET, OFFSET, st.sampled_from(["slow", "truncated"])),
    st.builds(Unsubscribed, ID) | st.builds(Unsubscribed, ID, st.sampled_from(ErrorCode), st.text()),
    st.builds(Published, ID, TOPIC, PARTITION, OFFSET, st.none() | OFFSET),
    st.builds(Authenticated, ID, st.none() | st.text(), st.none() | OFFSET),
    st.builds(Live, ID) | st.builds(Pong, ID),
    st.builds(ErrorMessage, st.sampled_from(ErrorCode), st.text())
    | st.builds(ErrorMessage, st.sampled_from(ErrorCode), st.text(), ID, st.text()),
    st.builds(Closing, ID, st.text(), st.none() | OFFSET),
)


@given(MESSAGE)
def test_any_message_is_read_back(message: Message) -> None:
    assert msgspec.json.decode(JSON.encode(message), type=type(message)) == message
    assert msgspec.msgpack.decode(MSGPACK.encode(message), type=type(message)) == message
    json.loads(JSON.encode(message).decode())  # a parser that is not ours


def check(codec: Codec, data: str | bytes) -> CommandError | None:
    """Whatever the data: a command, or a refusal that can itself be sent."""
    try:
        assert isinstance(codec.decode(data), COMMANDS)
    except CommandError as error:
        codec.encode(ErrorMessage.of(error))
        return error
    return None


@given(st.binary() | st.text(st.characters()))
@example("\ud800")
@example(b'{"type":"ping","id":1,"\xff":1}')
def test_any_data_is_read_or_refused(data: bytes | str) -> None:
    check(JSON, data)
    check(MSGPACK, data)


NAMES = st.sampled_from(
    ["type", "id", "topic", "from", "keys", "keys_encoding", "slow", "interval_ms", "value", "encoding", "key",
     "key_encoding", "partition", "headers", "token", "offsets", "topic_id", "timestamp", "last", "0", "1"]
)  # fmt: skip
TYPES = ["subscribe", "unsubscribe", "publish", "auth", "ping", "record"]
SCALARS = (
    st.none() | st.booleans() | st.integers(-1, 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from([*TYPES, "base64", "text", "latest", "2026-11-23T10:00:00Z", "QQ=="])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES) | SCALARS, "id": ID | SCALARS, "topic": TOPIC | SCALARS}
).flatmap(lambda fields: st.dictionaries(NAMES, VALUES, max_size=4).map(lambda more: more | fields))


def readable_id(fields: dict[str, Any]) -> int | None:
    return fields["id"] if type(fields["id"]) is int and 1 <= fields["id"] <= 65535 else None


@given(FIELDS)
def test_a_refusal_has_the_id_and_the_command_that_could_be_read(fields: dict[str, Any]) -> None:
    command = fields["type"] if isinstance(fields["type"], str) else None
    for codec, data in ((JSON, json.dumps(fields)), (MSGPACK, msgspec.msgpack.encode(fields))):
        error = check(codec, data)
        if error is not None:
            assert (error.id, error.command) == (readable_id(fields), command)


@given(COMMAND, st.data())
def test_damaged_commands_are_read_or_refused(command: Command, data: st.DataObject) -> None:
    for codec, written in (
        (JSON, json.dumps(as_json(command)).encode()),
        (MSGPACK, msgspec.msgpack.encode(as_msgpack(command))),
    ):
        place = data.draw(st.integers(0, len(written) - 1))
        length = data.draw(st.integers(0, 3))
        check(codec, written[:place] + data.draw(st.binary(max_size=3)) + written[place + length :])
