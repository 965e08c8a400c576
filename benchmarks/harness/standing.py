"""Measurements beside the delivery to many: without Kafka, without clients, and a gateway held against itself."""

import time

import msgspec

from benchmarks.gate.ratios import FRAME_BYTES, VALUE
from benchmarks.harness.crowd import Crowd, drained, send_loop
from benchmarks.harness.gateways import Shape
from benchmarks.harness.load import Producer, Traffic
from benchmarks.harness.measuring import PATIENCE_SECONDS, Bench, Measurement, Window, deliver, open_sink
from tailrace import _fanout

LOOP_SECONDS = 1.0
QUIET_SECONDS = 0.5
QUIET_SHARE = 0.04  # of a core: less than this for QUIET_SECONDS, and everything has been consumed


def one_at_a_time(bench: Bench, name: str, connections: int) -> Measurement:
    """The core alone, a record at a time, or, for the limit, the bare send loop: deliveries per CPU second."""
    if name == "limit":
        found = send_loop(connections, FRAME_BYTES, 1, LOOP_SECONDS)
    else:
        with drained(connections) as sockets:
            crowd = Crowd(_fanout.VALUE, sockets, None)
            crowd.publish([(VALUE, None)])
            found = crowd.deliveries_per_cpu_second([(VALUE, None)], LOOP_SECONDS)
    return Measurement(name, {"deliveries_per_cpu_second": found}, {}, None)


def scaling(bench: Bench, name: str, few: int, many: int, traffic: Traffic) -> Measurement:
    """CPU of a delivery to many connections, by that to few; the few get as many deliveries, in more records."""
    more = msgspec.structs.replace(traffic, records=traffic.records * 10)
    small = deliver(bench, name, Shape.VALUE, few, more)
    large = deliver(bench, name, Shape.VALUE, many, traffic)
    costs = [1 / one.values["deliveries_per_cpu_second"] for one in (small, large)]
    return merged({"cost_ratio": costs[1] / costs[0]}, small, large)


def envelope(bench: Bench, name: str, connections: int, traffic: Traffic) -> Measurement:
    """Bytes sent per CPU second as records of /ws, by those as bare values."""
    bare = deliver(bench, name, Shape.VALUE, connections, traffic)
    wrapped = deliver(bench, name, Shape.ENVELOPE, connections, traffic)
    ratio = wrapped.values["megabytes_per_cpu_second"] / bare.values["megabytes_per_cpu_second"]
    return merged({"bytes_ratio": ratio}, bare, wrapped)


def merged(values: dict[str, float], *runs: Measurement) -> Measurement:
    """Several runs as one."""
    flaws = {name: count for run in runs for name, count in run.flaws.items()}
    shares = [run.foreign_share for run in runs if run.foreign_share is not None]
    return Measurement(runs[0].gateway, values, flaws, max(shares, default=None))


def consume(bench: Bench, name: str, traffic: Traffic) -> Measurement:
    """Records consumed per CPU second of a topic that is open, with nobody connected any more."""
    traffic = msgspec.structs.replace(traffic, records=bench.records(traffic.records))
    with bench.gateway(name, Shape.VALUE) as (running, (topic,)):
        with open_sink(running, topic, Shape.VALUE, 1) as sink:
            sink.expect(1000)
            with Producer(bench.broker.bootstrap, topic, Traffic(1000)) as producer:
                producer.wait_acknowledged(PATIENCE_SECONDS)
                sink.wait_event("report", PATIENCE_SECONDS)
        window = Window(running.child, (), bench.broker)
        with Producer(bench.broker.bootstrap, topic, traffic, first=1000) as producer:
            producer.wait_acknowledged(PATIENCE_SECONDS)
        spent = settled_seconds(window)
        foreign = window.foreign_share()
    return Measurement(name, {"records_per_cpu_second": traffic.records / spent}, {}, foreign)


def settled_seconds(window: Window) -> float:
    """CPU seconds of the gateway once it has nothing more to do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    spent = window.gateway_seconds()
    while time.monotonic() < deadline:
        time.sleep(QUIET_SECONDS)
        before, spent = spent, window.gateway_seconds()
        if spent - before < QUIET_SHARE * QUIET_SECONDS:
            return before
    raise TimeoutError("the gateway did not come to rest")
