"""`python benchmarks/check.py`, which is `make check-bench`: nothing lands that makes the core slower.

Counts the instructions of the core's inner paths against benchmarks/gate/baseline.json, and takes a few ratios to a
bare C send loop. Exit 1 when something got worse, 2 when it cannot be measured here. `--accept` writes the baseline.
"""

import argparse
import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gate import ratios
from benchmarks.gate.counting import CannotCount, Counts, count
from benchmarks.gate.verdict import HOW_TO_ACCEPT, compare
from benchmarks.harness.programs import CannotCompile

BASELINE = Path(__file__).parent / "gate" / "baseline.json"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true", help="what is counted now is the baseline from now on")
    parser.add_argument("--no-ratios", action="store_true", help="count only")
    parser.add_argument("--core", type=Path, help="another build of the compiled core to count")
    arguments = parser.parse_args()
    try:
        found = count(arguments.core)
        if arguments.accept:
            return accept(found)
        counted = check_counts(found)
        return 0 if (arguments.no_ratios or check_ratios()) and counted else 1
    except (CannotCount, CannotCompile) as reason:
        print(f"check-bench: {reason}", file=sys.stderr)
        return 2


def accept(found: Counts) -> int:
    """Writes the baseline."""
    BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    print(f"{BASELINE} holds {len(found.paths)} paths of {found.toolchain}")
    return 0


def check_counts(found: Counts) -> bool:
    """Tells every path's count beside the baseline's; whether all hold."""
    verdict = compare(msgspec.json.decode(BASELINE.read_bytes(), type=Counts), found)
    for finding in verdict.findings:
        print(finding.text)
    if not verdict.holds:
        print(HOW_TO_ACCEPT)
    return verdict.holds


def check_ratios() -> bool:
    """Tells the ratios; whether all hold."""
    outcomes = [ratios.measure(name) for name in ratios.RATIOS]
    for outcome in outcomes:
        print(outcome.line())
    return all(outcome.holds for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
