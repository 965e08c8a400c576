"""The table of peers side by side, without running any."""

import pytest
from benchmarks import bench_peers
from benchmarks.bench_peers import EVERYBODY, Runs, play, row, whole
from benchmarks.harness import peers
from benchmarks.harness.gateways import GATEWAYS
from benchmarks.harness.measuring import Measurement

FIGURE = "deliveries_per_cpu_second"


def measured(value: float, **flaws: int) -> Measurement:
    return Measurement("x", {FIGURE: value}, flaws, 0.0)


def test_a_share_is_the_median_of_the_rounds_own() -> None:
    runs: Runs = {
        "a": [measured(50), measured(300), measured(90)],
        "limit": [measured(100), measured(200), measured(100)],
    }
    assert row("burst", FIGURE, "a", runs)[3:6] == ("90", "0.9", "50 to 300")


def test_what_was_lost_is_said() -> None:
    runs: Runs = {"a": [measured(50, missing=3), "failed"], "limit": [measured(100)] * 2}
    assert row("burst", FIGURE, "a", runs)[-1] == "{'missing': 3} failed"
    assert not whole(runs["a"])
    assert whole(runs["limit"])


def test_a_gateway_that_never_ran_has_no_figure() -> None:
    assert row("burst", FIGURE, "a", {"a": ["failed"], "limit": [measured(1)]})[3] == "-"


def test_every_round_begins_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(
        bench_peers, "run", lambda bench, name, gateway, strangers: order.append(gateway) or measured(1)
    )
    play(None, "burst", 2)  # type: ignore[arg-type]
    assert order == [*EVERYBODY, *EVERYBODY[1:], EVERYBODY[0]]


def test_every_peer_has_its_program() -> None:
    assert set(EVERYBODY) <= GATEWAYS.keys()
    assert (peers.SOURCES / "node" / "server.js").exists()
    assert all((peers.SOURCES / "python" / name).exists() for name in peers.PYTHON.values())


def test_a_void_round_has_no_part_in_the_figures() -> None:
    runs: Runs = {
        "a": ["failed", measured(10, missing=7), measured(30)],
        "limit": [measured(1), measured(1), measured(60)],
    }
    assert row("burst", FIGURE, "a", runs)[3:7] == ("30", "0.5", "30 to 30", "7")


def test_an_absent_peer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers, "run", lambda bench, name, gateway, strangers: measured(1))
    runs = play(None, "burst", 2, {"Centrifugo": "not here: no go"})  # type: ignore[arg-type]
    assert row("burst", FIGURE, "Centrifugo", runs)[-1] == "not here: no go"
    assert whole(runs["tailrace"])
