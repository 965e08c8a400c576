"""The report of measurements: every file that is there becomes plots, which are XML and hold the figures."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from benchmarks import report
from benchmarks.harness.svg import Bar, Line, bars, lines


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_bars_tell_their_figures() -> None:
    found = texts(bars("a <title>", [Bar("burst", 0.853, 0.7, 1.2, must=0.8), Bar("steady", 1234, 1234, 1234)]))
    assert {"a <title>", "burst", "0.853", "steady", "1.23k"} <= set(found)


def test_lines_have_their_names() -> None:
    found = texts(
        lines("late", [Line("a", [(0, 0.5), (1, 80)]), Line("b & c", [(0, 2), (1, 3)])], [(0, "p50"), (1, "p99")])
    )
    assert {"late", "a", "b & c", "p50", "p99", "0.5", "100"} <= set(found)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([3.2, 47], {"2", "5", "10", "20", "50"}),
        ([9.9, 10], {"5", "10"}),
        ([1e5, 3e6], {"100k", "200k", "500k", "1M", "2M", "5M"}),
    ],
)
def test_a_logarithmic_axis_ends_at_its_steps(values: list[float], told: set[str]) -> None:
    found = texts(lines("late", [Line("a", list(enumerate(values)))], [(0, "p50"), (1, "p99")]))
    assert set(found) - {"late", "a", "p50", "p99", ""} == told


def test_lines_of_one_height_are_drawn() -> None:
    assert texts(lines("flat", [Line("a", [(0, 10), (1, 10)])], [(0, "x"), (1, "y")]))


def test_percentiles_of_all_runs_together() -> None:
    runs = [{"latency_buckets": [[1_000_000, 50], [9_000_000, 1]]}, {"latency_buckets": [[2_000_000, 949]]}]
    points = [round(value) for _, value in report.latency_line("x", runs).points]
    assert points == [1, 2, 2, 2, 2, 9]


RATIOS = {
    "outcomes": [
        {
            "scenario": name,
            "metric": {"name": figure, "bound": 0.8, "higher_is_better": more},
            "ratios": [0.7, 0.9, 1.1],
        }
        for name, figure, more in (("burst", "deliveries_per_cpu_second", True), ("latency", "p50_ms", False))
    ],
    "rounds": {"latency": [{side: {"latency_buckets": [[1_000_000, 9]]} for side in ("subject", "reference")}]},
}
PEERS = {"burst": {"tailrace": [{"values": {"deliveries_per_cpu_second": 7e6}, "flaws": {}}], "other": ["failed"]}}
BENCH = {
    "benchmarks": [
        {
            "name": f"test_publish[{connections}-{records}]",
            "params": {"connections": connections, "records": records},
            "extra_info": {"deliveries_per_cpu_second": 1e6, "send_loop": 2e6, "ratio": 0.5},
        }
        for connections in (1, 100, 1000, 5000)
        for records in (1, 100)
    ]
}


@pytest.mark.parametrize(
    ("name", "read", "plots"),
    [
        ("ratios", RATIOS, {"ratios", "latency-ratios", "latency"}),
        ("peers", PEERS, {"peers-burst"}),
        ("bench", BENCH, {"publish", "bench-ratios"}),
    ],
)
def test_a_file_becomes_plots(
    name: str, read: Any, plots: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(read))
    images = tmp_path / "images"
    images.mkdir()
    assert report.main(["--images", str(images)]) == 0
    assert {file.stem for file in images.iterdir()} == plots & set(report.SHOWN)
    assert {file.stem for file in tmp_path.glob("*.svg")} == plots
    assert all(texts(file.read_text()) for file in tmp_path.glob("*.svg"))
    assert "<svg" in (tmp_path / "index.html").read_text()


def test_nothing_measured_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    assert report.main([]) == 1
    assert "make ratios" in capsys.readouterr().err
