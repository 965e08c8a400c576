"""What a tail costs without subscribers: appending a batch of encoded records, and forgetting them again."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tailrace import _fanout
from tailrace.core.frame import TEXT

pytestmark = pytest.mark.benchmark

RECORDS = 500


@pytest.mark.parametrize("payload_bytes", [200, 1000])
@pytest.mark.parametrize("keys", [1, 10_000])
def test_append(benchmark: BenchmarkFixture, payload_bytes: int, keys: int) -> None:
    tail = _fanout.Tail(_fanout.VALUE, [0])
    names = [b"k%05d" % (number % keys) for number in range(RECORDS)]
    payload = b"x" * payload_bytes

    def batch() -> None:
        first = tail.positions[0]
        for number, key in enumerate(names):
            tail.append(TEXT, payload, 0, first + number, key)
        while tail.memory_bytes > 8 << 20:
            tail.evict()

    benchmark(batch)
    assert tail.positions[0] % RECORDS == 0
