"""tailrace.cli.tail: what it prints, what it tells, how it comes back and how it ends; against a scripted gateway."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
import trio
from tests.scripted_gateway import Peer, Script, for_ever, scripted

from tailrace.cli.tail import Output, tail
from tailrace.client import following
from tailrace.client.target import read_target

SECONDS = 60.0  # for anything to happen; only a failing test waits so long


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_SECONDS", 0.001)


class Printed:
    """What comes out of a tail in this process. code: its exit code, once it has ended."""

    def __init__(self, descriptor: int) -> None:
        self.stream = trio.lowlevel.FdStream(descriptor)
        self._received = b""
        self.code: int | None = None

    async def line(self) -> Any:
        with trio.fail_after(SECONDS):
            while b"\n" not in self._received:
                data = await self.stream.receive_some(65536)
                assert data, "it ended"
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    async def offsets(self, count: int) -> list[int]:
        return [(await self.line())["offset"] for _ in range(count)]


@contextlib.asynccontextmanager
async def tailing(url: str, topic: str | None = None, **options: Any) -> AsyncIterator[Printed]:
    reading, writing = os.pipe()
    printed = Printed(reading)

    async def run() -> None:
        printed.code = await tail(read_target(url, topic, **options), Output(writing))
        os.close(writing)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield printed
        nursery.cancel_scope.cancel()
    await printed.stream.aclose()
    if printed.code is None:
        os.close(writing)


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


# --- over connections ---


async def test_a_stream_goes_on_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    async def first(peer: Peer) -> None:
        assert peer.path == "/topics/orders?key=A&from=earliest"
        await peer.subscribed({0: 5, 1: 7})
        await peer.records([5, 6])
        await peer.leave(4000, "shutdown")

    async def second(peer: Peer) -> None:
        assert peer.path == "/topics/orders?key=A&from=offsets:0=7,1=7"
        await peer.subscribed({0: 7, 1: 7})
        await peer.records([7])
        await for_ever(peer)

    async with scripted(first, second) as gateway:
        url = f"ws://{gateway}/topics/orders?key=A"
        async with tailing(url, from_="earliest") as printed:
            assert await printed.line() == {
                "topic": "orders",
                "partition": 0,
                "offset": 5,
                "timestamp": None,
                "key": None,
                "value": {"n": 5},
            }
            assert await printed.offsets(2) == [6, 7]
    assert told(capsys) == ["tailrace: closed with 4000 shutdown; trying again in 0.0 s"]


async def test_a_subscription_goes_on_where_it_was_with_the_topics_id() -> None:
    async def first(peer: Peer) -> None:
        command = await peer.welcome()
        assert command == {"type": "subscribe", "id": 1, "topic": "orders", "from": {"last": 2}, "keys": ["A"]}
        await peer.subscribed({0: 5, 1: 7})
        await peer.records([5])
        await peer.say("position", id=1, positions={"1": 9})
        await peer.leave(4006, "internal")

    async def second(peer: Peer) -> None:
        assert (await peer.welcome())["from"] == {"offsets": {"0": 6, "1": 9}, "topic_id": "t1"}
        await peer.subscribed({0: 6, 1: 9})
        await peer.records([6])
        await for_ever(peer)

    async with (
        scripted(first, second) as gateway,
        tailing(f"ws://{gateway}/ws", "orders", keys=["A"], from_="last:2") as printed,
    ):
        assert await printed.offsets(2) == [5, 6]


async def vanish(peer: Peer) -> None:
    """Be gone without a close frame."""
    await peer.subscribed({0: 0})
    await peer.socket.stream.aclose()


async def close(peer: Peer, code: int) -> None:
    await peer.subscribed({0: 0})
    await peer.leave(code)


async def refuse(peer: Peer, code: str) -> None:
    await peer.say("error", id=1, command="subscribe", code=code, message="not now")
    await for_ever(peer)


async def serve_ten(peer: Peer) -> None:
    await peer.subscribed({0: 0})
    await peer.records(range(10))
    await for_ever(peer)


@pytest.mark.parametrize(
    "trouble",
    [
        vanish,
        *(partial(close, code=code) for code in (1001, 1011, 1012, 1013, 4001, 4002, 4005, 4007, 4499)),
        *(partial(refuse, code=code) for code in ("kafka_unavailable", "rate_limited", "internal")),
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
    ],
    ids=lambda trouble: str(getattr(trouble, "keywords", getattr(trouble, "__name__", trouble))),
)
async def test_trouble_that_passes(trouble: Script) -> None:
    async with scripted(trouble, trouble, serve_ten) as gateway, tailing(f"ws://{gateway}/topics/orders") as printed:
        assert await printed.offsets(10) == list(range(10))


async def end(peer: Peer) -> None:
    await peer.subscribed({0: 0})
    await peer.say("unsubscribed", id=1, code="topic_deleted", message="it is gone")
    await for_ever(peer)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (partial(close, code=4501), "closed with 4501"),
        (partial(close, code=1002), "closed with 1002"),
        (partial(refuse, code="bad_position"), "bad_position: not now"),
        (end, "topic_deleted: it is gone"),
        (HTTPStatus.NOT_FOUND, "refused with 404: scripted: not now"),
        (HTTPStatus.UNAUTHORIZED, "refused with 401: scripted: not now"),
    ],
    ids=str,
)
async def test_trouble_that_stays_is_1(trouble: Script, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted(trouble) as gateway, tailing(f"ws://{gateway}/topics/orders") as printed:
        with trio.fail_after(SECONDS):
            assert await printed.stream.receive_some() == b""
        assert printed.code == 1
    assert told(capsys) == [f"tailrace: {says}"]


async def test_nobody_there_is_told_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted(serve_ten) as gateway:
        pass
    async with tailing(f"ws://{gateway}/topics/orders"):
        with trio.fail_after(SECONDS):
            lines: list[str] = []
            while len(lines) < 3:
                await trio.sleep(0.01)
                lines += told(capsys)
    assert all(": Connection refused; trying again in " in line for line in lines)


async def test_a_topic_recreated_meanwhile_is_read_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed({0: 5})
        await peer.records([5])
        await peer.leave(4000)

    async def second(peer: Peer) -> None:
        assert peer.path.endswith("?from=offsets:0=6")
        await peer.subscribed({0: 6}, topic_id="t2")
        await peer.records([6])
        await for_ever(peer)

    async def third(peer: Peer) -> None:
        assert peer.path.endswith("?from=earliest")
        await peer.subscribed({0: 0}, topic_id="t2")
        await peer.records(range(3))
        await for_ever(peer)

    async with scripted(first, second, third) as gateway, tailing(f"ws://{gateway}/topics/orders") as printed:
        assert await printed.offsets(4) == [5, 0, 1, 2]
    assert "deleted and created again" in told(capsys)[1]


async def test_gaps_are_told_and_records_are_not_mixed_up_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed({0: 5})
        await peer.records([5])
        await peer.say("gap", id=1, topic="orders", partition=0, from_=6, to=9, next=9, reason="retention\x1b[2J")
        await peer.records([9])
        await for_ever(peer)

    async with scripted(script) as gateway, tailing(f"ws://{gateway}/topics/orders") as printed:
        assert await printed.offsets(2) == [5, 9]
    assert told(capsys) == ["tailrace: gap (retention\\x1b[2J): partition 0, 6 to 8; goes on at 9"]


async def test_a_reader_that_is_slow_gets_everything_though_the_gateway_gave_it_up() -> None:
    """While nobody reads the output nothing is taken off the socket either: the gateway hears no pong."""
    given_up = trio.Event()

    async def first(peer: Peer) -> None:
        await peer.subscribed({0: 0})
        await peer.records([0], value="x" * 300_000)
        await peer.records([1])
        given_up.set()
        await peer.leave(4002, "no_pong")

    async def second(peer: Peer) -> None:
        assert peer.path.endswith("?from=offsets:0=2")
        await peer.subscribed({0: 2})
        await peer.records([2])
        await for_ever(peer)

    async with scripted(first, second) as gateway, tailing(f"ws://{gateway}/topics/orders") as printed:
        with trio.fail_after(SECONDS):
            await given_up.wait()
        assert (await printed.line())["value"] == "x" * 300_000
        assert await printed.offsets(2) == [1, 2]


# --- as a process ---


@contextlib.asynccontextmanager
async def process(url: str, *options: str) -> AsyncIterator[trio.Process]:
    command = [sys.executable, "-m", "tailrace", "tail", url, *options]
    running = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with trio.fail_after(SECONDS):
            yield running
    finally:
        if running.poll() is None:
            running.kill()
        with trio.CancelScope(shield=True):
            await running.wait()


async def rest(stream: Any) -> str:
    data = b""
    while chunk := await stream.receive_some(65536):
        data += chunk
    return data.decode()


async def forty_thousand(peer: Peer) -> None:
    await peer.subscribed({0: 0})
    await peer.records(range(40_000))
    await for_ever(peer)


async def one(peer: Peer) -> None:
    await peer.subscribed({0: 0})
    await peer.records([0])
    await for_ever(peer)


@pytest.mark.parametrize("script", [one, forty_thousand], ids=["waiting", "nobody reads its output"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_0(script: Script, number: signal.Signals) -> None:
    async with scripted(script) as gateway, process(f"ws://{gateway}/topics/orders") as running:
        assert running.stdout is not None
        await running.stdout.receive_some(1)
        running.send_signal(number)
        assert await running.wait() == 0
        found = await rest(running.stderr)
        assert found.startswith("tailrace: stopped; to continue: --from offsets:0=")
        assert len(found.splitlines()) == 1


@pytest.mark.parametrize("script", [one, forty_thousand], ids=["a quiet topic", "a busy topic"])
async def test_a_reader_that_leaves_ends_it_quietly_with_0(script: Script) -> None:
    async with scripted(script) as gateway, process(f"ws://{gateway}/topics/orders") as running:
        assert running.stdout is not None
        await running.stdout.receive_some(1)
        await running.stdout.aclose()
        assert await running.wait() == 0
        assert await rest(running.stderr) == ""


async def test_a_reader_at_a_socket_that_leaves_ends_it_too() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        async with scripted(one) as gateway:
            with trio.fail_after(SECONDS):
                assert await tail(read_target(f"ws://{gateway}/topics/orders"), Output(ours.fileno())) == 0


async def test_a_file_is_written_as_well_as_a_pipe(tmp_path: Any) -> None:
    file = tmp_path / "records"
    async with scripted(partial(close_after, count=500)) as gateway:
        command = [sys.executable, "-m", "tailrace", "tail", f"ws://{gateway}/topics/orders"]
        with file.open("wb") as out, trio.fail_after(SECONDS):
            done = await trio.run_process(command, stdout=out, capture_stderr=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"tailrace: closed with 4503\n")
    assert [json.loads(line)["offset"] for line in file.read_text().splitlines()] == list(range(500))


async def close_after(peer: Peer, count: int) -> None:
    await peer.subscribed({0: 0})
    await peer.records(range(count))
    await peer.leave(4503)


def usage() -> Iterator[list[str]]:
    yield []
    yield ["ws://127.0.0.1/ws"]
    yield ["nonsense"]
    yield ["ws://127.0.0.1/topics/orders", "--from", "yesterday"]


@pytest.mark.parametrize("arguments", list(usage()), ids=str)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "tailrace", "tail", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "tailrace" in done.stderr
    assert "Traceback" not in done.stderr
