"""What encoding one record costs: each form at three sizes, and the values that need the slow checks.

Encoding happens once per record and form, so it bounds the records a second, not the deliveries. Nothing here touches
Kafka: the message is confluent_kafka's own class, because its getters are a tenth of the time.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Message
from pytest_benchmark.fixture import BenchmarkFixture

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
def test_encode(benchmark: BenchmarkFixture, form: str, size_bytes: int) -> None:
    encode: Callable[[Message], object] = getattr(Encoder("orders", max_record_bytes=MAX_RECORD_BYTES), form)
    record = message(json.dumps(order(size_bytes)).encode())
    assert benchmark(encode, record)


SLOW_CHECKS = {
    "uuid that looks like an exponent": {"u": "550e8400-e29b-41d4-a716-446655440000"} | order(500),
    "a thousand objects": [order(200)] * 1000,
}


@pytest.mark.parametrize("document", SLOW_CHECKS.values(), ids=SLOW_CHECKS.keys())
def test_slow_checks(benchmark: BenchmarkFixture, document: object) -> None:
    assert benchmark(is_json, json.dumps(document).encode())
