"""One measurement of one gateway: it is started for it, loaded, and stopped again.

Figures are of the gateway's process only, between the moment the producer is started and the moment the last
connection has its last record. What else the machine did is taken down beside them, because a neighbour's minute looks
like a slow gateway. A gateway that lost, repeated or reordered a record has flaws, and its figures count for nothing.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from benchmarks.harness import cpu
from benchmarks.harness.broker import Broker
from benchmarks.harness.child import Child
from benchmarks.harness.gateways import GATEWAYS, Running, Shape
from benchmarks.harness.load import Producer, Report, Sink, Traffic

WARM_RECORDS = 200  # for the sockets' buffers, the broker's and the gateway's caches
PATIENCE_SECONDS = 120.0
MILLISECOND_NS = 1e6
IDLE_SECONDS = 5.0
STILL_BYTES = 65536


class Bench(msgspec.Struct, frozen=True):
    """Where measurements run. `scale` shortens or lengthens the traffic of every scenario."""

    broker: Broker
    scale: float = 1.0

    def records(self, full: int, multiple_of: int = 1) -> int:
        """A number of records, scaled, and a multiple (so that every key has as many)."""
        return max(1, round(full * self.scale / multiple_of)) * multiple_of

    @contextmanager
    def gateway(self, name: str, shape: Shape, topics: int = 1) -> Iterator[tuple[Running, tuple[str, ...]]]:
        """A gateway on new topics."""
        with ExitStack() as stack:
            names = tuple(stack.enter_context(self.broker.topic()) for _ in range(topics))
            yield stack.enter_context(GATEWAYS[name](self.broker.bootstrap, names, shape)), names


class Measurement(msgspec.Struct, frozen=True):
    """The figures of one run by name, what was wrong with it, and the share of the machine that strangers used."""

    gateway: str
    values: dict[str, float]
    flaws: dict[str, int]
    foreign_share: float | None
    latency_buckets: list[tuple[int, int]] = []


class Window:
    """From its making on: the CPU seconds of a gateway, and those of strangers."""

    def __init__(self, gateway: Child, sinks: tuple[Sink, ...], broker: Broker) -> None:
        self._gateway, self._sinks, self._broker = gateway, sinks, broker
        self._machine, self._ours, self._gateway_before = cpu.machine(), self._ours_seconds(), gateway.cpu_seconds()

    def gateway_seconds(self) -> float:
        """CPU seconds of the gateway since."""
        return self._gateway.cpu_seconds() - self._gateway_before

    def foreign_share(self) -> float | None:
        """See cpu.foreign_share; None when the broker's process is unknown."""
        if self._broker.pid is None:
            return None
        return cpu.foreign_share(self._machine, cpu.machine(), self._ours_seconds() - self._ours)

    def _ours_seconds(self) -> float:
        processes = (self._gateway, *self._sinks)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (
            sum(process.cpu_seconds() for process in processes)
            + self._broker.cpu_seconds()
            + time.process_time()
            + ended.ru_utime
            + ended.ru_stime
        )


def deliver(bench: Bench, name: str, shape: Shape, connections: int, traffic: Traffic) -> Measurement:
    """Traffic to many connections: deliveries per CPU second of the gateway, and the latency of all of them."""
    keys = connections if shape is Shape.KEYED else 1
    traffic = msgspec.structs.replace(traffic, records=bench.records(traffic.records, keys))
    with bench.gateway(name, shape) as (running, (topic,)), open_sink(running, topic, shape, connections) as sink:
        traffic = msgspec.structs.replace(traffic, channels_header=running.channels_header)
        warmed = warm(bench.broker, topic, sink, traffic, keys)
        window = Window(running.child, (sink,), bench.broker)
        sink.expect(traffic.records // keys)
        with Producer(bench.broker.bootstrap, topic, traffic, first=warmed) as producer:
            reached = sink.wait_reached(traffic.seconds() + PATIENCE_SECONDS)
            gateway_seconds = window.gateway_seconds()
            if reached:
                producer.wait_acknowledged(10)
        foreign = window.foreign_share()
        report = sink.report(reached)
    return Measurement(name, figures(report, gateway_seconds), flaws(report), foreign, report.latency_ns.buckets)


def replay(bench: Bench, name: str, connections: int, traffic: Traffic) -> Measurement:
    """A topic that was written before, from its beginning to all connections at once; reading it from Kafka counts."""
    traffic = msgspec.structs.replace(traffic, records=bench.records(traffic.records))
    with bench.broker.topic() as topic:
        with Producer(bench.broker.bootstrap, topic, traffic) as producer:
            producer.wait_acknowledged(PATIENCE_SECONDS)
        with GATEWAYS[name](bench.broker.bootstrap, (topic,), Shape.REPLAY) as running:
            window = Window(running.child, (), bench.broker)
            with open_sink(running, topic, Shape.REPLAY, connections) as sink:
                sink.say(f"expect {traffic.records}")  # no reset: some have come already
                reached = sink.wait_reached(PATIENCE_SECONDS)
                gateway_seconds = window.gateway_seconds()
                report = sink.report(reached)
            foreign = window.foreign_share()
    return Measurement(name, figures(report, gateway_seconds), flaws(report), foreign)


def resume(bench: Bench, name: str, connections: int, traffic: Traffic) -> Measurement:
    """Connections that come at once, number i at offset i: seconds until each has all to the end, handshakes
    included."""
    traffic = msgspec.structs.replace(traffic, records=max(connections, bench.records(traffic.records)))
    with bench.broker.topic() as topic:
        with Producer(bench.broker.bootstrap, topic, traffic) as producer:
            producer.wait_acknowledged(PATIENCE_SECONDS)
        with GATEWAYS[name](bench.broker.bootstrap, (topic,), Shape.RESUME) as running:
            window, begun = Window(running.child, (), bench.broker), time.monotonic()
            with Sink(running.address, running.access(topic, Shape.RESUME), connections, resume=True) as sink:
                sink.say(f"expect {traffic.records}")
                reached = sink.wait_reached(PATIENCE_SECONDS)
                seconds, gateway_seconds = time.monotonic() - begun, window.gateway_seconds()
                report = sink.report(reached)
            foreign = window.foreign_share()
    return Measurement(name, {"seconds": seconds, **figures(report, gateway_seconds)}, flaws(report), foreign)


def open_sink(running: Running, topic: str, shape: Shape, connections: int) -> Sink:
    """A sink on a gateway."""
    return Sink(running.address, running.access(topic, shape), connections)


def warm(broker: Broker, topic: str, sink: Sink, traffic: Traffic, keys: int) -> int:
    """A small burst of the same records; how many it were. Raises ChildFailed when they do not arrive."""
    records = max(1, WARM_RECORDS // keys) * keys
    burst = msgspec.structs.replace(traffic, records=records, rate=0)
    sink.expect(records // keys)
    with Producer(broker.bootstrap, topic, burst) as producer:
        producer.wait_acknowledged(PATIENCE_SECONDS)
        sink.wait_event("report", PATIENCE_SECONDS)
    return records


def figures(report: Report, gateway_seconds: float) -> dict[str, float]:
    """What is told of a delivery."""
    wall_seconds = max(1e-9, (report.last_ns - report.first_ns) / 1e9)
    return {
        "deliveries_per_cpu_second": report.records / gateway_seconds,
        "megabytes_per_cpu_second": report.bytes / gateway_seconds / 1e6,
        "deliveries_per_second": report.records / wall_seconds,
        "gateway_cpu_seconds": gateway_seconds,
        "sink_busy": report.cpu_seconds / report.elapsed_seconds,
        **percentiles(report),
    }


def percentiles(report: Report, prefix: str = "") -> dict[str, float]:
    """The report's latencies in milliseconds."""
    latency = report.latency_ns
    named = {"p50": latency.p50, "p99": latency.p99, "p999": latency.p999, "max": latency.max}
    return {f"{prefix}{name}_ms": value / MILLISECOND_NS for name, value in named.items()}


def flaws(*reports: Report) -> dict[str, int]:
    """The flaws of all reports together."""
    names = [name for report in reports for name in report.flaws()]
    return {name: sum(report.flaws().get(name, 0) for report in reports) for name in names}


def beside_burst(bench: Bench, name: str, connections: int, burst: Traffic, pings: int, quiet: Traffic) -> Measurement:
    """Commands and a quiet second topic while a burst goes to thousands: how late pongs and quiet records are."""
    burst = msgspec.structs.replace(burst, records=bench.records(burst.records))
    with bench.gateway(name, Shape.VALUE, topics=2) as (running, (busy_topic, quiet_topic)):
        idle = running.access(busy_topic, Shape.IDLE)
        with (
            open_sink(running, busy_topic, Shape.VALUE, connections) as crowd,
            Sink(running.address, idle, 1, pings, quiet.seconds() / pings) as prober,
            open_sink(running, quiet_topic, Shape.VALUE, 1) as listener,
        ):
            first = warm(bench.broker, busy_topic, crowd, burst, 1)
            quiet_first = warm(bench.broker, quiet_topic, listener, quiet, 1)
            window = Window(running.child, (crowd, prober, listener), bench.broker)
            crowd.expect(burst.records)
            listener.expect(quiet.records)
            prober.say("pings")
            with (
                Producer(bench.broker.bootstrap, quiet_topic, quiet, quiet_first),
                Producer(bench.broker.bootstrap, busy_topic, burst, first),
            ):
                pinged = prober.wait_reached(quiet.seconds() + PATIENCE_SECONDS)
                heard = listener.wait_reached(PATIENCE_SECONDS)
                arrived = crowd.wait_reached(PATIENCE_SECONDS)
            foreign = window.foreign_share()
            reports = crowd.report(arrived), prober.report(pinged), listener.report(heard)
    values = percentiles(reports[1], "ping_") | percentiles(reports[2], "quiet_")
    values["burst_seconds"] = (reports[0].last_ns - reports[0].first_ns) / 1e9
    return Measurement(name, values, flaws(*reports), foreign)


def idle_memory(bench: Bench, name: str, shape: Shape, connections: int) -> Measurement:
    """Resident memory for each connection that has nothing to do (kernel buffers are not in it)."""
    with bench.gateway(name, shape) as (running, (topic,)):
        with open_sink(running, topic, shape, 20):
            pass  # what is imported and allocated with the first connections is not theirs
        before = settled_bytes(running.child.pid)
        with open_sink(running, topic, shape, connections):
            grown = settled_bytes(running.child.pid) - before
    return Measurement(name, {"kib_per_connection": grown / connections / 1024}, {}, None)


def settled_bytes(pid: int) -> int:
    """Resident memory once it stood still for a second (64 KiB either way), or after ten."""
    found = [cpu.resident_bytes(pid)]
    while len(found) < 6 or (max(found[-6:]) - min(found[-6:]) > STILL_BYTES and len(found) < 50):
        time.sleep(0.2)
        found.append(cpu.resident_bytes(pid))
    return found[-1]


def idle_cpu(bench: Bench, name: str, shape: Shape, connections: int) -> Measurement:
    """The share of a core that idle connections cost, in per cent, and the CPU of opening them."""
    with bench.gateway(name, shape) as (running, (topic,)):
        with open_sink(running, topic, shape, 20):
            pass
        before = running.child.cpu_seconds()
        with open_sink(running, topic, shape, connections) as sink:
            handshakes = running.child.cpu_seconds() - before
            settled_bytes(running.child.pid)
            window = Window(running.child, (sink,), bench.broker)
            time.sleep(IDLE_SECONDS)
            busy = window.gateway_seconds()
            foreign = window.foreign_share()
            report = sink.report(reached=False)
    values = {"idle_percent": busy / IDLE_SECONDS * 100, "handshake_us": handshakes / connections * 1e6}
    return Measurement(name, values, flaws(report), foreign)
