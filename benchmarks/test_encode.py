"""What encoding one record costs: each form at three sizes, and the check of values that are unlike the usual ones.

Encoding happens once per record and form, so it bounds the records a second, not the deliveries. The reference is what
msgspec needs to write the same fields around the value as it stands, unchecked; for a bare value, fetching it. Nothing
here touches Kafka: the message is confluent_kafka's own class, because its getters are a tenth of the time (140 ns of
1,230).
"""

import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.beside import beside
from tailrace._json import is_json
from tailrace.core.encode import Encoder

pytestmark = pytest.mark.benchmark

MAX_RECORD_BYTES = 8 << 20


def order(size_bytes: int) -> dict[str, Any]:
    """A flat order with the usual mix of fields, of about `size_bytes` as JSON; the same every time."""
    chosen = random.Random(size_bytes)
    fields: dict[str, Any] = {"order_id": f"ord-{chosen.randrange(10**8):08}", "status": "shipped", "total": 123.45}
    while len(json.dumps(fields)) < size_bytes - 20:
        kinds = ["some text here", chosen.randrange(10**6), chosen.random(), True, None, [1, 2, 3], {"a": "bcd"}]
        fields[f"field_{len(fields)}"] = chosen.choice(kinds)
    return fields


def message(value: bytes) -> Message:
    return Message(
        topic="orders", partition=0, offset=124, key=b"customer-17", value=value, timestamp=(1, 1763862162044)
    )


@pytest.mark.parametrize("size_bytes", [200, 500, 1000])
@pytest.mark.parametrize("form", ["json", "msgpack", "value"])
def test_encode(benchmark: BenchmarkFixture, rounds: int, form: str, size_bytes: int) -> None:
    encode: Callable[[Message], object] = getattr(Encoder("orders", max_record_bytes=MAX_RECORD_BYTES), form)
    record = message(json.dumps(order(size_bytes)).encode())
    assert encode(record)
    write = {"json": written_json, "msgpack": written_msgpack, "value": Message.value}[form]
    beside(benchmark, partial(encode, record), partial(write, record), rounds, of="msgspec, the value unchecked")


def fields(record: Message) -> dict[str, Any]:
    """Those of an envelope, without the value."""
    key = record.key() or b""
    places = {"topic": "orders", "partition": record.partition(), "offset": record.offset()}
    return {"id": 0, "type": "record", **places, "timestamp": record.timestamp()[1], "key": key.decode()}


def written_json(record: Message) -> bytes:
    return msgspec.json.encode({**fields(record), "value": msgspec.Raw(record.value() or b"null")})


def written_msgpack(record: Message) -> bytes:
    return msgspec.msgpack.encode({**fields(record), "value": record.value()})


UNLIKE = {
    "prose": json.dumps({"text": "The quick brown fox jumps over the lazy dog. " * 20}),
    "beyond ASCII": json.dumps({"text": "Съешь ещё этих мягких французских булок " * 12}, ensure_ascii=False),
    "escapes": json.dumps({"text": "Съешь ещё этих мягких французских булок " * 4}),
    "numbers": json.dumps([number * 1.37 for number in range(50)]),
    "numbers with exponents": json.dumps([number * 1.37e-7 for number in range(1, 50)]),
    "a thousand objects": json.dumps([order(200)] * 1000),
    "8 MB of brackets": "[" + "[]," * ((8 << 20) // 3) + "1]",
    "8 MB of open brackets": "[" * (8 << 20),
}


@pytest.mark.parametrize("text", UNLIKE.values(), ids=UNLIKE.keys())
def test_is_json(benchmark: BenchmarkFixture, rounds: int, text: str) -> None:
    value = text.encode()
    beside(benchmark, partial(is_json, value), partial(parsed, value), rounds, of="msgspec parsing it")


def parsed(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None
