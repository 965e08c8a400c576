"""What is asked of the gateway, as data: how it is measured, which figures count, and what they must reach.

A relative figure is the subject's divided by the reference's in the same round; the others are absolute. Bounds are
the project's own ("must"): deliveries per CPU second at least that share of the C limit, latencies at most that much.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from benchmarks.harness import measuring, standing
from benchmarks.harness.gateways import Shape
from benchmarks.harness.load import Traffic
from benchmarks.harness.measuring import Bench, Measurement
from benchmarks.harness.slow import beside_slow


class Metric(msgspec.Struct, frozen=True):
    """One figure of a measurement. `bound` is the least (higher is better) or the most that it may be."""

    name: str
    bound: float
    higher_is_better: bool = False
    relative: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.bound if self.higher_is_better else value <= self.bound


class Scenario(msgspec.Struct, frozen=True):
    """`measure(bench, gateway name)` is one run; a scenario without relative metrics needs no reference."""

    about: str
    measure: Callable[[Bench, str], Measurement]
    metrics: tuple[Metric, ...]

    def needs_reference(self) -> bool:
        """Whether the reference is measured beside the subject."""
        return any(metric.relative for metric in self.metrics)


def cost(bound: float) -> Metric:
    """Deliveries per CPU second, as a share of the reference's."""
    return Metric("deliveries_per_cpu_second", bound, higher_is_better=True, relative=True)


BURST = Traffic(records=10_000)
SCENARIOS = {
    "burst-value": Scenario(
        "10,000 records of 200 bytes at once, bare values to 1,000 connections",
        partial(measuring.deliver, shape=Shape.VALUE, connections=1000, traffic=BURST),
        (cost(0.8),),
    ),
    "burst-envelope": Scenario(
        "the same as records of /ws",
        partial(measuring.deliver, shape=Shape.ENVELOPE, connections=1000, traffic=BURST),
        (cost(0.5),),
    ),
    "steady": Scenario(
        "100 records a second to 1,000 connections, 5 s",
        partial(measuring.deliver, shape=Shape.VALUE, connections=1000, traffic=Traffic(500, rate=100)),
        (cost(0.85),),
    ),
    "latency": Scenario(
        "10 records a second to 1,000 connections, 8 s: at 100 two cores are near saturation",
        partial(measuring.deliver, shape=Shape.VALUE, connections=1000, traffic=Traffic(80, rate=10)),
        (Metric("p50_ms", 1.2, relative=True), Metric("p99_ms", 1.3, relative=True)),
    ),
    "keyed": Scenario(
        "5,000 records a second over 1,000 keys, each to the one connection that asked for its key, 4 s",
        partial(
            measuring.deliver,
            shape=Shape.KEYED,
            connections=1000,
            traffic=Traffic(20_000, 5000, keys=1000, per_key=True),
        ),
        (cost(0.75),),
    ),
    "replay": Scenario(
        "20 connections read back 200,000 records of 200 bytes at once, bare values",
        partial(measuring.replay, connections=20, traffic=Traffic(records=200_000)),
        (cost(0.33),),
    ),
    "resume": Scenario(
        "1,000 connections come back at once, 10,000 to 11,000 records of 200 bytes behind, each at another offset",
        partial(measuring.resume, connections=1000, traffic=Traffic(records=11_000)),
        (Metric("seconds", 15),),
    ),
    "one-at-a-time": Scenario(
        "the core without Kafka, one record at a time to 1,000 connections, beside a bare loop of send()",
        partial(standing.one_at_a_time, connections=1000),
        (cost(0.9),),
    ),
    "per-byte": Scenario(
        "bytes sent per CPU second in a burst to 1,000: as records of /ws, by those as bare values",
        partial(standing.envelope, connections=1000, traffic=BURST),
        (Metric("bytes_ratio", 0.7, higher_is_better=True),),
    ),
    "scaling": Scenario(
        "CPU of a delivery at 5,000 connections, by that at 100",
        partial(standing.scaling, few=100, many=5000, traffic=Traffic(records=2000)),
        (Metric("cost_ratio", 1.5),),
    ),
    "consume": Scenario(
        "records of an open topic consumed per CPU second while nobody is connected",
        partial(standing.consume, traffic=Traffic(records=300_000)),
        (Metric("records_per_cpu_second", 0.2, higher_is_better=True, relative=True),),
    ),
    "beside-burst": Scenario(
        "200 pings, and a second topic at 50 records a second, while a burst goes to 5,000 connections",
        partial(measuring.beside_burst, connections=5000, burst=BURST, pings=200, quiet=Traffic(records=200, rate=50)),
        (Metric("ping_p99_ms", 50), Metric("quiet_p99_ms", 50)),
    ),
    "slow-one": Scenario(
        "one connection that reads 2 KB/s beside 500 fast ones, 50 records of 2 KB a second, 40 s, then reads the rest",
        partial(beside_slow, connections=500, slow=1, traffic=Traffic(2000, rate=50, bytes=2000)),
        (Metric("beyond_ms", 0),),
    ),
    "slow-five": Scenario(
        "resident memory that five of them add in ten minutes beside ten fast ones, 50 records of 2 KB a second",
        partial(
            beside_slow,
            connections=10,
            slow=5,
            traffic=Traffic(30_000, rate=50, bytes=2000),
            before=Traffic(140_000, bytes=2000),  # the tail, 256 MiB, is full then
        ),
        (Metric("added_mib", 64),),
    ),
    "idle-memory": Scenario(
        "resident memory of a connection subscribed to a quiet topic on /ws, 2,000 of them",
        partial(measuring.idle_memory, shape=Shape.ENVELOPE, connections=2000),
        (Metric("kib_per_connection", 22),),
    ),
    "idle-memory-stream": Scenario(
        "the same on /topics",
        partial(measuring.idle_memory, shape=Shape.VALUE, connections=2000),
        (Metric("kib_per_connection", 22),),
    ),
    "idle-cpu": Scenario(
        "CPU of opening 1,000 connections, and of having them with nothing to do",
        partial(measuring.idle_cpu, shape=Shape.IDLE, connections=1000),
        (Metric("idle_percent", 1.0), Metric("handshake_us", 450)),
    ),
}
