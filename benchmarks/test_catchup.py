"""Catching up without Kafka: a thousand connections read the same block, beside the C send loop to the same sockets.

The block has been read back already; what is measured is what each connection costs. The loop sends as many frames at
once as fit into a writer's turn.
"""

import statistics
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.gate.ratios import FRAME_BYTES, VALUE
from benchmarks.harness.crowd import Crowd, drained, send_loop
from tailrace import _fanout
from tailrace.core.frame import TEXT

pytestmark = [
    pytest.mark.benchmark(timer=time.process_time),
    pytest.mark.benchmark,
    pytest.mark.usefixtures("compiled"),
]

CONNECTIONS, RECORDS, TENTHS = 1000, 1000, 10
SECONDS = 0.4
TURN_FRAMES = 65536 // FRAME_BYTES
ONE_KEY = frozenset([b"k3"])


def stretch() -> _fanout.Stretch:
    """Records of ten keys."""
    made = _fanout.Stretch(_fanout.VALUE, 0, 0)
    for offset in range(RECORDS):
        made.append(TEXT, VALUE, offset, b"k%d" % (offset % TENTHS))
    return made


@pytest.mark.parametrize("keys", [None, ONE_KEY], ids=["whole", "one key of ten"])
def test_catch_up(benchmark: BenchmarkFixture, rounds: int, keys: frozenset[bytes | None] | None) -> None:
    block = stretch()
    tail = _fanout.Tail(_fanout.VALUE, [RECORDS])
    wanted = RECORDS if keys is None else RECORDS // TENTHS
    with drained(CONNECTIONS) as sockets:
        readers = Crowd(_fanout.VALUE, sockets, None).readers

        def catch_up() -> int:
            for reader in readers:
                reading = _fanout.Subscription(reader.line, tail, 1, keys, floor={0: 0}, away=True)
                reading.feed(block)
                reader.bring_on()
                assert reading.delivered == wanted
                reading.close()
            return wanted * CONNECTIONS

        pairs = []
        for _ in range(rounds):
            loop = send_loop(CONNECTIONS, FRAME_BYTES, min(wanted, TURN_FRAMES), SECONDS)
            before = time.process_time()
            delivered = catch_up()
            pairs.append((delivered / (time.process_time() - before), loop))
        benchmark.extra_info["deliveries_per_cpu_second"] = statistics.median(ours for ours, _ in pairs)
        benchmark.extra_info["send_loop"] = statistics.median(loop for _, loop in pairs)
        benchmark.extra_info["ratio"] = statistics.median(ours / loop for ours, loop in pairs)
        benchmark.pedantic(catch_up, rounds=3)  # type: ignore[no-untyped-call]
