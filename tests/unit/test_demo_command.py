"""tailrace.cli.demo: what it overrides, what it prints, how it ends."""

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from tailrace.cli import demo as command
from tailrace.config import Config, Limits, Shutdown, Topic
from tailrace.demo import Event, Feed
from tailrace.gateway.server import Addresses
from tailrace.kafka.embedded import EmbeddedKafka

SECONDS = 60.0


class Recorder(EmbeddedKafka):
    """Takes what is produced, and when; no cluster runs."""

    def __init__(self) -> None:
        super().__init__()
        self.bootstrap = "127.0.0.1:1"
        self.produced: list[tuple[float, str, bytes | None, bytes | None]] = []

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        partition: int = -1,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        self.produced.append((trio.current_time(), topic, key, value))


def start(*arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tailrace", "demo", "--no-admin", *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kafka_and_topics_are_the_demos_own() -> None:
    given = Config(
        kafka={"bootstrap.servers": "elsewhere:9092"}, topics={"secrets": Topic()}, limits=Limits(slow_bytes=5)
    )
    config = command.demonstrating(given, Recorder())
    assert config.kafka["bootstrap.servers"] == "127.0.0.1:1"
    assert list(config.topics) == ["orders", "prices", "chat"]
    assert config.limits.slow_bytes == 5
    assert config.shutdown == Shutdown(timeout=command.DRAIN_SECONDS)


@pytest.mark.parametrize(
    ("public", "opened"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("0.0.0.0:80", "http://127.0.0.1:80/"),
        ("[::]:8080", "http://[::1]:8080/"),
        ("[::1]:8080", "http://[::1]:8080/"),
    ],
)
def test_the_greeting_has_an_address_that_can_be_opened(public: str, opened: str) -> None:
    lines = command.greeting(Addresses(public, None), console=True).splitlines()
    assert f"  open     {opened}" in lines


def test_the_greeting_without_the_console_names_the_socket() -> None:
    greeting = command.greeting(Addresses("127.0.0.1:8080", None), console=False)
    assert "ws://127.0.0.1:8080/ws" in greeting
    assert "http://" not in greeting


async def test_events_are_produced_at_their_times(autojump_clock: trio.testing.MockClock) -> None:
    delays = (0.0, 1.5, 0.25)
    events = [Event("t", b"%d" % each, b"v", (), delay) for each, delay in enumerate(delays)]
    kafka = Recorder()
    began = trio.current_time()
    await command.produce(kafka, Feed("t", 1, lambda seed, start: iter(events)))
    assert [(when - began, key) for when, _, key, _ in kafka.produced] == [(0.0, b"0"), (1.5, b"1"), (1.75, b"2")]


def test_a_failure_comes_out_of_its_groups() -> None:
    cause = OSError("in use")
    assert command.innermost(ExceptionGroup("outer", [ExceptionGroup("inner", [cause])])) is cause
    several = ExceptionGroup("both", [cause, ValueError()])
    assert command.innermost(several) is several


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_stopped_is_success(number: signal.Signals) -> None:
    process = start("--listen", "127.0.0.1:0")
    try:
        assert process.stdout is not None
        assert any("Ctrl-C ends it." in line for line in process.stdout)
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()


def test_an_address_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start("--listen", address, "--log-level", "error")
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"tailrace: cannot listen on {address}")
