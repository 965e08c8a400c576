"""The load on a gateway: the C sink that receives and checks, the C producer that writes to Kafka."""

from typing import Any, Self

import msgspec

from benchmarks.harness.child import Child, ChildFailed, TooLate
from benchmarks.harness.gateways import Access
from benchmarks.harness.programs import program

CONNECT_SECONDS = 60.0
FOREVER_SECONDS = 3600  # deadlines are kept here, not in the sink


def as_options(named: dict[str, object]) -> list[str]:
    """A command line's options; those that are None are left out."""
    return [part for name, value in named.items() if value is not None for part in (name, str(value))]


class Latency(msgspec.Struct, frozen=True):
    """Nanoseconds from the intended send time to the sink's read; buckets are (lowest value, count), 1.6 % wide."""

    count: int
    mean: int
    max: int
    p50: int
    p90: int
    p99: int
    p999: int
    buckets: list[tuple[int, int]] = []


class Report(msgspec.Struct, frozen=True):
    """What the sink saw since its last reset. Everything from `missing` to `closed` is 0 when all is well."""

    timed_out: bool
    connections: int
    ready: int
    frames: int
    records: int
    others: int
    bytes: int
    missing: int
    skipped: int
    repeated: int
    early: int
    faults: int
    refused: int
    closed: int
    pings: int
    first_ns: int
    last_ns: int
    elapsed_seconds: float
    cpu_seconds: float
    close_codes: dict[str, int]
    latency_ns: Latency

    def flaws(self) -> dict[str, int]:
        """The counts that should be 0 and are not."""
        names = ("missing", "skipped", "repeated", "faults", "refused", "closed")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class Sink(Child):
    """`with Sink(...) as sink` opens its connections and waits until all are ready; then `expect`, `report`."""

    def __init__(
        self,
        address: str,
        access: Access,
        connections: int,
        pings: int = 0,
        ping_seconds: float = 0,
        resume: bool = False,
    ) -> None:
        named: dict[str, object] = {
            "--connect": address,
            "--connections": connections,
            "--path": access.path,
            "--subprotocol": access.subprotocol,
            "--command": access.command,
            "--ready": access.ready,
            "--timeout": FOREVER_SECONDS,
            "--pings": pings or None,
            "--ping-every": ping_seconds or None,
        }
        flags = {"--resume": resume, "--lines": access.lines}
        super().__init__([program("sink"), *as_options(named), *(flag for flag, given in flags.items() if given)])

    def __enter__(self) -> Self:
        try:
            self.wait_event("ready", CONNECT_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def expect(self, records: int) -> None:
        """Counts from now on, and waits for that many records on each connection."""
        self.say("reset")
        self.say(f"expect {records}")

    def wait_reached(self, seconds: float) -> bool:
        """Whether every connection had what was expected in time."""
        try:
            self.wait_event("reached", seconds)
        except TooLate:
            return False
        return True

    def report(self, reached: bool = True) -> Report:
        """The report that follows `reached` by itself; otherwise one of what came so far."""
        if not reached:
            self.say("report")
        event: dict[str, Any] = self.wait_event("report", 10)
        return msgspec.convert(event, Report)


class Traffic(msgspec.Struct, frozen=True):
    """Records of `bytes` each at `rate` a second (0 = as fast as it goes), keys round robin, 0 = none.

    `channels_header` names a header that holds the key, or the topic where there are no keys.
    """

    records: int
    rate: float = 0
    bytes: int = 200
    keys: int = 0
    per_key: bool = False
    channels_header: str | None = None

    def seconds(self) -> float:
        """How long it takes to write, a burst not counted."""
        return self.records / self.rate if self.rate else 0.0


class Producer(Child):
    """Writes traffic to a topic, sequence numbers from `first` on."""

    def __init__(self, bootstrap: str, topic: str, traffic: Traffic, first: int = 0) -> None:
        named: dict[str, object] = {
            "--kafka": bootstrap,
            "--topic": topic,
            "--records": traffic.records,
            "--rate": traffic.rate,
            "--bytes": traffic.bytes,
            "--keys": traffic.keys,
            "--first": first,
            "--channels-header": traffic.channels_header,
        }
        per_key = ["--per-key"] if traffic.per_key else []
        super().__init__([program("producer"), *as_options(named), *per_key])

    def wait_acknowledged(self, seconds: float) -> None:
        """Waits until the broker has every record. Raises ChildFailed when one was refused."""
        event = self.wait_event("produced", seconds)
        if event["refused"]:
            raise ChildFailed(f"the broker refused {event['refused']} records")
