"""`python benchmarks/bench_peers.py`, which is `make bench-peers`: Tailrace, the C limit and the peers, side by side.

Every round runs each of them once on the same scenario, beginning with another one; medians count. Deliveries per CPU
second of the server, latency from the intended send time, memory and CPU of idle connections, records lost. A gateway
that fails or loses a record says so in its cell, and its figures count for nothing.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import measuring, peers
from benchmarks.harness.broker import broker
from benchmarks.harness.child import ChildFailed
from benchmarks.harness.gateways import Shape
from benchmarks.harness.load import Traffic
from benchmarks.harness.measuring import Bench, Measurement
from benchmarks.harness.rounds import undisturbed
from benchmarks.harness.table import columns, number

EVERYBODY = ("tailrace", "limit", *peers.PEERS)
KEYED = Traffic(10_000, 5000, keys=1000, per_key=True)
SCENARIOS = {
    "burst": partial(measuring.deliver, shape=Shape.VALUE, connections=1000, traffic=Traffic(1000)),
    "steady": partial(measuring.deliver, shape=Shape.VALUE, connections=1000, traffic=Traffic(300, rate=100)),
    "latency": partial(measuring.deliver, shape=Shape.VALUE, connections=1000, traffic=Traffic(50, rate=10)),
    "keyed": partial(measuring.deliver, shape=Shape.KEYED, connections=1000, traffic=KEYED),
    "memory": partial(measuring.idle_memory, shape=Shape.VALUE, connections=2000),
    "idle": partial(measuring.idle_cpu, shape=Shape.VALUE, connections=1000),
}
# What is told of each scenario.
FIGURES = {
    "burst": ("deliveries_per_cpu_second",),
    "steady": ("deliveries_per_cpu_second", "p50_ms", "p99_ms"),
    "latency": ("p50_ms", "p99_ms"),
    "keyed": ("deliveries_per_cpu_second",),
    "memory": ("kib_per_connection",),
    "idle": ("handshake_us", "idle_percent"),
}
Runs = dict[str, list[Measurement | str]]  # by gateway; a text says why there is no measurement


def main() -> int:
    """The command line; 1 when Tailrace lost a record or failed."""
    arguments = parse()
    absent = peers.install()
    played: dict[str, Runs] = {}
    with broker() as kafka:
        bench = Bench(kafka, arguments.scale)
        for name in arguments.scenarios or SCENARIOS:
            played[name] = play(bench, name, arguments.rounds, absent, arguments.strangers)
    print(table(played))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.encode(played))
    return 0 if all(whole(runs["tailrace"]) for runs in played.values()) else 1


def play(
    bench: Bench, name: str, rounds: int, absent: Mapping[str, str] = MappingProxyType({}), strangers: float = 0.15
) -> Runs:
    """Every gateway once a round, each round beginning one further on; for an absent one the reason."""
    runs: Runs = {gateway: [] for gateway in EVERYBODY}
    for at in range(rounds):
        for gateway in (*EVERYBODY[at:], *EVERYBODY[:at]):
            runs[gateway].append(absent[gateway] if gateway in absent else run(bench, name, gateway, strangers))
    return runs


def run(bench: Bench, name: str, gateway: str, strangers: float) -> Measurement | str:
    """One measurement, or why there is none."""
    try:
        found = undisturbed(partial(SCENARIOS[name], bench), gateway, strangers)
    except (ChildFailed, OSError) as reason:
        print(name, gateway, "failed:", reason, file=sys.stderr, flush=True)
        return "failed"
    told = " ".join(f"{figure}={found.values[figure]:.4g}" for figure in FIGURES[name])
    print(name, gateway, told, found.flaws or "", file=sys.stderr, flush=True)
    return found


def whole(runs: list[Measurement | str]) -> bool:
    """Every round came about, and nothing was lost."""
    return all(isinstance(found, Measurement) and not found.flaws for found in runs)


def table(played: dict[str, Runs]) -> str:
    """A line for each gateway and figure: the median, its share of the C limit's, and the spread."""
    rows = [("scenario", "figure", "gateway", "median", "by the limit", "rounds", "lost", "")]
    for name, runs in played.items():
        for figure in FIGURES[name]:
            rows += [row(name, figure, gateway, runs) for gateway in EVERYBODY]
    return columns(rows)


def row(name: str, figure: str, gateway: str, runs: Runs) -> tuple[str, ...]:
    """The cells of one line; the share is the median of the rounds' own."""
    found = [value for value in values(runs[gateway], figure) if value is not None]
    told = (lost(runs[gateway]), verdict(runs[gateway]))
    if not found:
        return (name, figure, gateway, "-", "", "", *told)
    pairs = zip(values(runs[gateway], figure), values(runs["limit"], figure), strict=False)
    shares = [one / other for one, other in pairs if one is not None and other]
    share = f"{statistics.median(shares):.3g}" if shares else ""
    spread = f"{number(min(found))} to {number(max(found))}"
    return (name, figure, gateway, number(statistics.median(found)), share, spread, *told)


def values(runs: list[Measurement | str], figure: str) -> list[float | None]:
    """Round by round; None where a round failed or is void."""
    return [found.values[figure] if isinstance(found, Measurement) and not found.flaws else None for found in runs]


def lost(runs: list[Measurement | str]) -> str:
    """Records that did not come, of all rounds together."""
    measured = [found.flaws for found in runs if isinstance(found, Measurement)]
    return f"{sum(flaws.get('missing', 0) for flaws in measured):,}" if measured else ""


def verdict(runs: list[Measurement | str]) -> str:
    """What went wrong, if anything did."""
    lost = [str(found.flaws) for found in runs if isinstance(found, Measurement) and found.flaws]
    return " ".join([*dict.fromkeys(lost), *dict.fromkeys(found for found in runs if isinstance(found, str))])


def parse() -> argparse.Namespace:
    """The arguments; exits with 2 on a wrong one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="shortens (0.1) or lengthens the traffic")
    parser.add_argument(
        "--strangers", type=float, default=0.15, help="share of the machine (0 to 1) that others may use"
    )
    parser.add_argument("--json", type=Path, help="where every measurement goes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
