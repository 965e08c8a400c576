"""`python benchmarks/ratios.py [SCENARIO ...]`: Tailrace beside the C limit on a real broker, in interleaved rounds.

Prints a table, and with --json FILE writes every measurement. Exit 1 when a record was lost or a bound missed.
TAILRACE_BENCH_KAFKA=HOST:PORT takes a broker that runs already.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness.broker import broker
from benchmarks.harness.gateways import GATEWAYS
from benchmarks.harness.measuring import Bench, Measurement
from benchmarks.harness.rounds import Outcome, Round, judge, play, undisturbed
from benchmarks.harness.scenarios import SCENARIOS
from benchmarks.harness.table import table


def main() -> int:
    """The command line."""
    arguments = parse()
    outcomes: list[Outcome] = []
    played: dict[str, list[Round]] = {}
    with broker() as kafka:
        bench = Bench(kafka, arguments.scale)
        for name in arguments.scenarios or SCENARIOS:
            played[name] = play_scenario(bench, name, arguments)
            outcomes += judge(name, SCENARIOS[name], played[name])
    print(table(outcomes))
    if arguments.json:
        document = {"subject": arguments.subject, "reference": arguments.reference, "scale": arguments.scale}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.encode({**document, "outcomes": outcomes, "rounds": played}))
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def play_scenario(bench: Bench, name: str, arguments: argparse.Namespace) -> list[Round]:
    """All rounds of one scenario, told on stderr as they come."""
    scenario = SCENARIOS[name]

    def run(gateway: str) -> Measurement:
        measurement = scenario.measure(bench, gateway)
        print(name, gateway, tell(measurement), file=sys.stderr, flush=True)
        return measurement

    undisturbed_run = partial(undisturbed, run, limit=arguments.strangers)
    return play(scenario, undisturbed_run, arguments.subject, arguments.reference, arguments.rounds)


def tell(measurement: Measurement) -> str:
    """A measurement on one line."""
    told = " ".join(f"{name}={value:.4g}" for name, value in measurement.values.items())
    strangers = "?" if measurement.foreign_share is None else f"{measurement.foreign_share:.0%}"
    return f"{told} strangers={strangers} {measurement.flaws or ''}"


def parse() -> argparse.Namespace:
    """The arguments; exits with 2 on a wrong one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = "\n".join(f"  {name:20}{scenario.about}" for name, scenario in SCENARIOS.items())
    parser.epilog = f"scenarios:\n{listed}"
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all when none is given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="shortens (0.1) or lengthens the traffic")
    parser.add_argument("--subject", choices=GATEWAYS, default="tailrace")
    parser.add_argument("--reference", choices=GATEWAYS, default="limit")
    parser.add_argument(
        "--strangers", type=float, default=0.1, help="share of the machine (0 to 1) that others may use"
    )
    parser.add_argument("--json", type=Path, help="where every measurement goes")
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
