"""Whatever bytes a producer writes arrive as the protocol says, as valid frames, in every format at once."""

import base64
import json
import random
from typing import Any

import pytest
from tests.gateway import MSGPACK, Gateway, running
from tests.kafka_broker import Broker

from tailrace.config import Limits

HOSTILE = [
    b"",
    b"\0",
    b"\xff",
    b"\xc3(",
    b"\xed\xa0\x80",  # a surrogate
    b"\xef\xbb\xbf{}",  # a byte order mark
    b'"\xff"',  # JSON around bytes that are not UTF-8
    b'"\\ud800"',  # a lone surrogate, escaped
    b'"\\u0000"',
    b"[" * 100_000,
    b"[" * 512 + b"]" * 512,
    b"[" * 513 + b"]" * 513,
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"1" * 10_000,
    b"01",
    b"{} {}",
    b'{"a":1,"a":2}',
    b'{"total":5}\n',
    b"\n",
    b"null",
    b'"</script>"',
    "\u2028 \U0010ffff".encode(),
    json.dumps("\u2028").encode(),
    b'{"id":    1,"type":"record"}',  # what looks like the envelope
    bytes(range(256)),
    random.Random(1).randbytes(70_000),
    b"x" * 125,
    b"x" * 126,
    b"x" * 65_535,
    b"x" * 65_536,
]


def bytes_of(record: dict[str, Any]) -> bytes | None:
    """The value of a record, as far as the envelope tells: JSON comes as what it means."""
    if record.get("tombstone"):
        return None
    encoding = record.get("encoding")
    if encoding == "base64":
        return base64.b64decode(record["value"], validate=True)
    return record["value"].encode() if encoding == "text" else json.dumps(record["value"]).encode()


def same(found: bytes | None, sent: bytes | None) -> bool:
    if found == sent or found is None or sent is None:
        return found == sent
    return json.loads(found) == json.loads(sent)


async def test_hostile_values(gateway: Gateway, kafka: Broker) -> None:
    """The library checks every frame, `json.loads` every envelope, and nothing is lost on the way."""
    topic = kafka.topic()
    async with (
        gateway.client() as client,
        gateway.client(MSGPACK) as packed,
        gateway.stream(f"/topics/{topic}?format=value") as values,
    ):
        await client.subscribe(topic)
        await packed.subscribe(topic)
        sent = [*HOSTILE, None, b"the last"]
        kafka.produce(topic, [(b"k", value) for value in sent])
        for offset, value in enumerate(sent):
            record = await client.expect("record", offset=offset)
            assert same(bytes_of(record), value), (record, value)
            assert (await packed.expect("record", offset=offset))["value"] == value
            bare = await values.bare()
            assert (bare.encode() if isinstance(bare, str) else bare) == (value or b"")
            assert isinstance(bare, str) == (value is not None and is_text(value))


def is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


async def test_hostile_keys_and_headers(gateway: Gateway, kafka: Broker) -> None:
    topic = kafka.topic()
    keys = [value[:5000] for value in HOSTILE]
    async with gateway.client() as client, gateway.client(MSGPACK) as packed:
        await client.subscribe(topic)
        await packed.subscribe(topic)
        kafka.produce(topic, [{"key": key, "value": b"1", "headers": [("h", key), ("\u00e9", None)]} for key in keys])
        for offset, key in enumerate(keys):
            record = await client.expect("record", offset=offset)
            assert decoded(record["key"], record.get("key_encoding")) == key
            (name, *header), (other, nothing) = record["headers"]
            assert (name, decoded(*header), other, nothing) == ("h", key, "\u00e9", None)
            record = await packed.expect("record", offset=offset, key=key)
            assert record["headers"] == [["h", key], ["\u00e9", None]]


def decoded(text: str, encoding: str | None = None) -> bytes:
    return base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()


async def test_random_bytes(gateway: Gateway, kafka: Broker) -> None:
    """Short ones, made of what JSON is made of, come nearest to passing for it."""
    topic, chance = kafka.topic(), random.Random(7)
    alphabet = [b"{", b"}", b"[", b"]", b'"', b"\\", b"u", b"d8", b"00", b"1", b"e", b"-", b":", b",", b"\xff", b"\xc3"]
    sent = [b"".join(chance.choices(alphabet, k=chance.randrange(12))) for _ in range(2000)]
    async with gateway.client() as client:
        await client.subscribe(topic)
        kafka.produce(topic, sent, partition=0)
        for offset, value in enumerate(sent):
            assert same(bytes_of(await client.expect("record", offset=offset)), value)


@pytest.mark.parametrize("format", ["record", "value"])
async def test_a_record_too_large(kafka: Broker, format: str) -> None:
    """A `gap` names it, for whom it would have been. Bare values have no words for that, and end instead."""
    topic = kafka.topic()
    async with (
        running(kafka, limits=Limits(max_record_bytes=1000)) as gateway,
        gateway.stream(f"/topics/{topic}?format={format}") as client,
        gateway.stream(f"/topics/{topic}?key=b&format={format}") as other,
    ):
        kafka.produce(topic, [("a", "1"), ("a", b"x" * 2000), ("b", "2")], partition=0)
        if format == "value":
            assert await client.bare() == "1"
            assert await client.closed() == (4007, "gap")
            assert await other.bare() == "2"
            return
        for each in (client, other):
            await each.expect("subscribed")
            await each.expect("live")
        await client.expect("record", offset=0)
        gap = await client.expect("gap", reason="too_large", topic=topic, partition=0, to=2, next=2)
        assert gap["from"] == 1
        await client.expect("record", offset=2)
        await other.expect("record", offset=2)
