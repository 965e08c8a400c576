"""`tailrace bench` without Kafka, on gateways that do as a test says: what it finds is right, and is its exit code."""

import io
import resource
from collections.abc import Awaitable, Callable

import pytest
import trio
from tests.scripted_gateway import Peer, Script, for_ever, scripted

from tailrace.cli import bench
from tailrace.cli.bench import Bench, allow_descriptors, read_plan
from tailrace.cli.main import main, parser
from tailrace.cli.progress import Progress
from tailrace.client.bench_report import Report
from tailrace.errors import ConfigError

SECONDS = "1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PATIENCE_SECONDS", 1.0)


def gateway(*offsets: int, then: Callable[[Peer], Awaitable[None]] = for_ever) -> Script:
    """It serves these offsets from 0 on, and goes on as told."""

    async def script(peer: Peer) -> None:
        command = await peer.welcome()
        assert command["topic"] == "orders"
        await peer.subscribed({0: 0})
        await peer.say("live", id=1)
        await peer.records(offsets, timestamp=1_763_862_162_044)
        await then(peer)

    return script


async def bench_on(*scripts: Script, connections: int = 2) -> Report:
    async with scripted(*scripts) as address:
        options = ["--topic", "orders", "--connections", str(connections), "--seconds", SECONDS]
        plan = read_plan(parser().parse_args(["bench", f"ws://{address}/ws", *options]))
        with trio.fail_after(60):
            return await Bench(plan, Progress(io.StringIO())).run()


async def test_all_there() -> None:
    report = await bench_on(gateway(0, 1, 2))
    assert report.holds
    assert (report.ready, report.missing, report.latency_from) == (2, 0, "Kafka's timestamp")


async def test_a_record_that_one_lacks_is_missing() -> None:
    report = await bench_on(gateway(0, 1, 2), gateway(0, 2))
    assert (report.missing, report.holds) == (1, False)


async def test_who_falls_silent_lacks_the_rest() -> None:
    report = await bench_on(gateway(0, 1, 2), gateway(0))
    assert (report.missing, report.holds) == (2, False)


async def test_a_repeat_is_found() -> None:
    report = await bench_on(gateway(0, 1, 1))
    assert (report.missing, report.disordered, report.holds) == (0, 2, False)


async def test_a_gap_is_told() -> None:
    async def gap(peer: Peer) -> None:
        await peer.say("gap", id=1, topic="orders", partition=0, from_=3, to=5, next=5, reason="retention")
        await for_ever(peer)

    report = await bench_on(gateway(0, then=gap), connections=1)
    assert (report.gaps, report.holds) == (["partition 0, from 3: retention"], False)


async def test_a_connection_that_ends_is_told() -> None:
    async def leave(peer: Peer) -> None:
        await peer.leave(4001, "slow")

    report = await bench_on(gateway(0, then=leave), gateway(0))
    assert (report.refusals, report.holds) == ({"closed with 4001 slow": 1}, False)


async def test_an_error_is_told() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.welcome()
        await peer.say("error", id=1, command="subscribe", code="unknown_topic", message="there is none")
        await for_ever(peer)

    report = await bench_on(refuse)
    assert (report.ready, report.refusals) == (0, {"unknown_topic: there is none": 2})


async def test_nobody_there_is_told() -> None:
    plan = read_plan(parser().parse_args(["bench", "ws://127.0.0.1:1/topics/orders", "--connections", "3"]))
    report = await Bench(plan, Progress(io.StringIO())).run()
    assert (sum(report.refusals.values()), report.holds) == (3, False)


def test_connections_share_the_keys() -> None:
    plan = read_plan(parser().parse_args(["bench", "ws://h/ws", "--topic", "t", "--keys", "3", "--connections", "9"]))
    assert [plan.key(number) for number in range(4)] == ["bench-0", "bench-1", "bench-2", "bench-0"]
    assert plan.target(1).request.keys == frozenset([b"bench-1"])


@pytest.mark.parametrize(
    "options",
    [
        ["ws://h/ws"],
        ["ws://h/topics/t?format=value"],
        ["ftp://h/topics/t"],
        ["ws://h/topics/t", "--connections", "0"],
        ["ws://h/topics/t", "--rate", "-1"],
        ["ws://h/topics/t", "--seconds", "nan"],
        ["ws://h/topics/t", "--keys", "101"],
    ],
)
def test_what_cannot_be_run_is_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *options]) == 2
    assert capsys.readouterr().err.startswith("tailrace: ")


def test_more_connections_than_files_are_refused() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with pytest.raises(ConfigError, match="open files"):
        allow_descriptors(hard)


def test_no_kafka_is_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.kafka.load._REACH_SECONDS", 0.2)
    monkeypatch.setattr("tailrace.cli.logs.configure", lambda log: None)  # it is the process's, and this one has others
    assert main(["bench", "ws://127.0.0.1:1/topics/orders", "--kafka", "127.0.0.1:1"]) == 1
    assert "cannot reach Kafka" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals() -> None:
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        progress = Progress(stream)
        progress.show("connecting", 5, 10, "5 of 10")
        progress.clear()
    assert log.getvalue() == ""
    assert terminal.getvalue().startswith("\rconnecting [###############...............] 5 of 10")
    assert terminal.getvalue().endswith("\r")
