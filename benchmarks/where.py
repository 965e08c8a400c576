"""`python benchmarks/where.py [SCENARIO ...]`: where a gateway's CPU goes, by library and in the kernel, by perf.

Runs a scenario of ratios.py with the C limit and with Tailrace, and samples the gateway while it is measured. What a
ratio to the limit is made of is read off the microseconds a delivery. Needs perf, and the right to see the kernel.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness import measuring
from benchmarks.harness.broker import broker
from benchmarks.harness.child import Child
from benchmarks.harness.measuring import Bench
from benchmarks.harness.scenarios import SCENARIOS
from benchmarks.harness.table import columns, number

SAMPLES_PER_SECOND = 1999
LEAST_PERCENT = 1.0
_LINE = re.compile(r"^\s*([\d.]+)%\s+(\S+)")


class Sampled(measuring.Window):
    """A window under perf; `newest` is the last one that ended."""

    newest: Path

    def __init__(self, gateway: Child, *rest: object) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="tailrace-perf-")) / "data"
        command = ["perf", "record", "--event", "cpu-clock", "--freq", str(SAMPLES_PER_SECOND), "--output", self._data]
        self._perf = subprocess.Popen([*command, "--pid", str(gateway.pid)], stderr=subprocess.DEVNULL)
        super().__init__(gateway, *rest)  # type: ignore[arg-type]

    def gateway_seconds(self) -> float:
        """Ends the sampling too."""
        seconds = super().gateway_seconds()
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait()
        Sampled.newest = self._data
        return seconds


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=["burst-value", "steady"], metavar="SCENARIO")
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    if shutil.which("perf") is None:
        parser.error("perf is needed: apt-get install linux-perf")
    measuring.Window = Sampled  # type: ignore[misc]
    rows = [("scenario", "gateway", "where", "share", "us a delivery")]
    with broker() as kafka:
        for name in arguments.scenarios:
            for gateway in ("limit", "tailrace"):
                measured = SCENARIOS[name].measure(Bench(kafka, arguments.scale), gateway)
                cost = 1e6 / measured.values["deliveries_per_cpu_second"]
                shares = places(Sampled.newest)
                rows += [
                    (name, gateway, where, f"{share:.1f} %", number(share * cost / 100)) for where, share in shares
                ]
                rows.append((name, gateway, "all", "", number(cost)))
                shutil.rmtree(Sampled.newest.parent)
    print(columns(rows))
    return 0


def places(data: Path) -> Iterator[tuple[str, float]]:
    """Libraries and the kernel, with their per cent; what is below one per cent together."""
    command = ["perf", "report", "--input", str(data), "--stdio", "--sort", "dso", "--fields", "overhead,dso"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [(match[2], float(match[1])) for line in said.splitlines() if (match := _LINE.match(line))]
    yield from ((where, share) for where, share in found if share >= LEAST_PERCENT)
    yield "others", sum(share for _, share in found if share < LEAST_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
