"""What a tail costs without subscribers: appending a batch of encoded records, and forgetting them again.

The reference is the least that could be called a tail in Python: a deque of tuples.
"""

from collections import deque

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.beside import beside
from tailrace import _fanout
from tailrace.core.frame import TEXT

pytestmark = pytest.mark.benchmark

RECORDS = 500


@pytest.mark.parametrize("payload_bytes", [200, 1000])
@pytest.mark.parametrize("keys", [1, 10_000])
def test_append(benchmark: BenchmarkFixture, rounds: int, payload_bytes: int, keys: int) -> None:
    tail = _fanout.Tail(_fanout.VALUE, [0])
    names = [b"k%05d" % (number % keys) for number in range(RECORDS)]
    payload = b"x" * payload_bytes

    def batch() -> None:
        first = tail.positions[0]
        for number, key in enumerate(names):
            tail.append(TEXT, payload, 0, first + number, key)
        while tail.memory_bytes > 8 << 20:
            tail.evict()

    kept: deque[tuple[int, bytes, int, int, bytes]] = deque(maxlen=20_000)

    def reference() -> None:
        for number, key in enumerate(names):
            kept.append((TEXT, payload, 0, number, key))

    beside(benchmark, batch, reference, rounds, of="a deque of tuples")
    assert tail.positions[0] % RECORDS == 0
