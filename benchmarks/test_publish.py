"""The fan-out without Kafka: a batch to N connections, held against the bare C send loop to the same sockets.

`extra_info.ratio` is the median of deliveries per CPU second, ours by the loop's, of interleaved rounds. The loop
sends one frame to each connection and record, or the whole batch at once where we can do that, too. With a single
connection the loop's receiver never sleeps and the ratio says little; it is there for the cost of an empty fan-out.
"""

import statistics
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.crowd import Crowd, Key, drained, send_loop
from tailrace import _fanout

pytestmark = [
    pytest.mark.benchmark(timer=time.process_time),
    pytest.mark.benchmark,
    pytest.mark.usefixtures("compiled"),
]

PAYLOAD_BYTES, HEAD_BYTES = 200, 4
SECONDS = 0.4
PAYLOADS = {
    _fanout.VALUE: b'{"t":1,"pad":"'.ljust(PAYLOAD_BYTES - 2, b"x") + b'"}',
    _fanout.JSON: b'{"id":    0,"pad":"'.ljust(PAYLOAD_BYTES - 2, b"x") + b'"}',
}
Batch = list[tuple[bytes, Key]]


def compare(benchmark: BenchmarkFixture, crowd: Crowd, batch: Batch, coalesced: int, rounds: int) -> None:
    """Takes the ratio to a loop that sends `coalesced` frames at once, then lets pytest-benchmark time one batch."""
    pairs = []
    for _ in range(rounds):
        loop = send_loop(len(crowd.readers), PAYLOAD_BYTES + HEAD_BYTES, coalesced, SECONDS)
        pairs.append((crowd.deliveries_per_cpu_second(batch, SECONDS), loop))
    benchmark.extra_info["deliveries_per_cpu_second"] = statistics.median(ours for ours, _ in pairs)
    benchmark.extra_info["send_loop"] = statistics.median(loop for _, loop in pairs)
    benchmark.extra_info["ratio"] = statistics.median(ours / loop for ours, loop in pairs)
    benchmark.pedantic(crowd.publish, (batch,), rounds=20, warmup_rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("records", [1, 100])
@pytest.mark.parametrize("connections", [1, 100, 1000, 5000])
def test_publish(benchmark: BenchmarkFixture, rounds: int, connections: int, records: int) -> None:
    batch: Batch = [(PAYLOADS[_fanout.VALUE], None)] * records
    with drained(connections) as sockets:
        compare(benchmark, Crowd(_fanout.VALUE, sockets, None), batch, records, rounds)


def test_publish_envelope(benchmark: BenchmarkFixture, rounds: int) -> None:
    batch: Batch = [(PAYLOADS[_fanout.JSON], None)] * 100
    with drained(1000) as sockets:
        compare(benchmark, Crowd(_fanout.JSON, sockets, None), batch, 100, rounds)


def test_publish_keyed(benchmark: BenchmarkFixture, rounds: int) -> None:
    """10,000 keys, ten to a connection; a batch of 1,000 records, every one to one connection."""
    names = [b"k%05d" % number for number in range(10_000)]
    batch: Batch = [(PAYLOADS[_fanout.VALUE], key) for key in names[::10]]
    with drained(1000) as sockets:
        crowd = Crowd(_fanout.VALUE, sockets, [names[first : first + 10] for first in range(0, 10_000, 10)])
        compare(benchmark, crowd, batch, 1, rounds)
