"""`python benchmarks/report.py`, which is `make report`: one page with plots of what has been measured last.

Reads build/report/ratios.json, peers.json and bench.json, as `make ratios`, `make bench-peers` and `make bench` leave
them; what is not there is left out. Writes build/report/index.html and the plots beside it, as SVG of their own; with
`--images docs/images` those that the documents show go there, too.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.harness.programs import ROOT
from benchmarks.harness.svg import Bar, Line, bars, lines

FOLDER = ROOT / "build" / "report"
PERCENTILES = {0.0: "least", 0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9", 0.9999: "p99.99"}
SHOWN = ("ratios", "latency", "publish", "peers-burst", "peers-latency")  # in the documents
HEAD = """<!doctype html><html lang=en><meta charset=utf-8><title>Tailrace, measured</title>
<style>:root { color-scheme: light dark } body { font: 15px system-ui, sans-serif; max-width: 820px; margin: 2em auto }
p { margin: 2em 0 }</style>
<h1>Tailrace, measured</h1>
<p>Medians of interleaved rounds; the thin line is from the least to the most of them. <q>C limit</q> is a minimal
gateway in C, measured in the same rounds. docs/performance.md has the method and the caveats.</p>"""
Read = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page; 1 when nothing has been measured yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="where the plots go that the documents show")
    images: Path | None = parser.parse_args(arguments).images
    plots = dict(all_plots())
    if not plots:
        print(f"nothing in {FOLDER}: run make ratios, make bench or make bench-peers first", file=sys.stderr)
        return 1
    for name, plot in plots.items():
        for folder in (FOLDER, images if name in SHOWN else None):
            if folder is not None:
                (folder / f"{name}.svg").write_text(plot)
    page = "\n".join(f"<p>{plot}</p>" for plot in plots.values())
    (FOLDER / "index.html").write_text(f"{HEAD}\n{page}\n")
    print(FOLDER / "index.html")
    return 0


def all_plots() -> Iterator[tuple[str, str]]:
    """Of every file that is there."""
    for name, draw in {"ratios": ratio_plots, "peers": peer_plots, "bench": bench_plots}.items():
        file = FOLDER / f"{name}.json"
        if file.exists():
            yield from draw(msgspec.json.decode(file.read_bytes()))


def ratio_plots(read: Read) -> Iterator[tuple[str, str]]:
    """Ratios to the C limit with their spread, and latencies of both sides."""
    told = [outcome for outcome in read["outcomes"] if outcome["ratios"]]
    more = [ratio_bar(outcome) for outcome in told if outcome["metric"]["higher_is_better"]]
    less = [ratio_bar(outcome) for outcome in told if not outcome["metric"]["higher_is_better"]]
    if more:
        yield (
            "ratios",
            bars("Deliveries per CPU second, by the C limit's", more, "more is better; the mark: what it must reach"),
        )
    if less:
        yield "latency-ratios", bars("Latency, by the C limit's", less, "less is better; the mark: the most it may be")
    if rounds := read["rounds"].get("latency"):
        sides = {side: [one[side] for one in rounds if one[side]] for side in ("subject", "reference")}
        drawn = [
            latency_line(name, runs) for name, runs in zip(("Tailrace", "C limit"), sides.values(), strict=True) if runs
        ]
        yield "latency", latency_plot("10 records a second to 1,000 connections", drawn)


def ratio_bar(outcome: Read) -> Bar:
    """A scenario's."""
    metric, ratios = outcome["metric"], outcome["ratios"]
    name = outcome["scenario"] if metric["higher_is_better"] else metric["name"].removesuffix("_ms")
    return Bar(name, statistics.median(ratios), min(ratios), max(ratios), metric["bound"])


def latency_line(name: str, runs: list[Read]) -> Line:
    """Percentiles of all runs together, in milliseconds, over their nines."""
    buckets = sorted(tuple(bucket) for run in runs for bucket in run["latency_buckets"])
    total, points, seen = sum(count for _, count in buckets), list[tuple[float, float]](), 0
    shares = list(PERCENTILES)
    for value, count in buckets:
        seen += count
        while len(points) < len(shares) and seen >= shares[len(points)] * total:
            points.append((float(len(points)), max(value, 1) / 1e6))
    return Line(name, points)


def latency_plot(title: str, drawn: list[Line]) -> str:
    """Over the nines."""
    ticks = [(float(number), name) for number, name in enumerate(PERCENTILES.values())]
    return lines(
        f"Latency in ms, {title}", drawn, ticks, "from the intended send time to the client's read; less is better"
    )


def peer_plots(read: Read) -> Iterator[tuple[str, str]]:
    """Every scenario's figures, a bar for each gateway; latencies as lines."""
    titles = {
        ("burst", "deliveries_per_cpu_second"): "Burst to 1,000 connections: deliveries per CPU second",
        ("steady", "deliveries_per_cpu_second"): "100 records a second to 1,000 connections: deliveries per CPU second",
        ("keyed", "deliveries_per_cpu_second"): "1,000 keys, 5,000 records a second: deliveries per CPU second",
        ("memory", "kib_per_connection"): "Resident memory of an idle connection, KiB (less is better)",
        ("idle", "handshake_us"): "CPU of a handshake, microseconds (less is better)",
        ("idle", "idle_percent"): "CPU of 1,000 idle connections, % of a core (less is better)",
    }
    for (scenario, figure), title in titles.items():
        rows = [bar for name, runs in read.get(scenario, {}).items() if (bar := peer_bar(name, runs, figure))]
        if rows:
            plot = "peers-handshake" if figure == "handshake_us" else f"peers-{scenario}"
            yield plot, bars(title, rows)
    told = {name: [run for run in runs if isinstance(run, dict)] for name, runs in read.get("latency", {}).items()}
    drawn = [latency_line(label(name), runs) for name, runs in told.items() if runs]
    if drawn:
        yield "peers-latency", latency_plot("10 records a second to 1,000 connections", drawn)


def label(name: str) -> str:
    """A gateway's name in a plot."""
    return {"tailrace": "Tailrace", "limit": "C limit"}.get(name, name)


def peer_bar(name: str, runs: list[Any], figure: str) -> Bar | None:
    """None when it never ran."""
    values = [run["values"][figure] for run in runs if isinstance(run, dict) and not run["flaws"]]
    return Bar(label(name), statistics.median(values), min(values), max(values)) if values else None


def bench_plots(read: Read) -> Iterator[tuple[str, str]]:
    """The core's deliveries by connections beside the send loop's, and every in-process ratio."""
    published = [one for one in read["benchmarks"] if one["name"].startswith("test_publish[")]
    drawn = []
    for records in (1, 100):
        for side, key in (("Tailrace", "deliveries_per_cpu_second"), ("send loop", "send_loop")):
            some = [one for one in published if one["params"]["records"] == records]
            points = sorted((float(one["params"]["connections"]), one["extra_info"][key]) for one in some)
            drawn.append(
                Line(
                    f"{side}, {records} {'record' if records == 1 else 'records'} a batch",
                    [(place(at), value) for at, value in points],
                )
            )
    if published:
        ticks = [(place(at), f"{at:,}") for at in (1, 100, 1000, 5000)]
        yield (
            "publish",
            lines("Deliveries per CPU second by connections", drawn, ticks, "the core without Kafka; more is better"),
        )
    told = [one for one in read["benchmarks"] if isinstance(one["extra_info"].get("ratio"), float)]
    for name, title in {"is_json": "Checking JSON", "": "The core, encoding, handshakes"}.items():
        some = [one for one in told if ("is_json" in one["name"]) == bool(name)]
        rows = [Bar(one["name"].removeprefix("test_"), *[one["extra_info"]["ratio"]] * 3) for one in some]
        if rows:
            yield f"bench-{name or 'ratios'}", bars(f"{title}: speed by the reference's", rows, "more is better")


def place(connections: float) -> float:
    """Where so many connections stand on the axis."""
    return {1.0: 0.0, 100.0: 1.0, 1000.0: 2.0, 5000.0: 3.0}[float(connections)]


if __name__ == "__main__":
    sys.exit(main())
