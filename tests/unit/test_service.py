"""sd_notify: what is said, to which socket, and that nobody there is no trouble."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing
import trio
from trio.testing import MockClock

from tailrace.gateway.service import READY, STOPPING, ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and its name as it stands in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0"))
        sock.setblocking(False)
        yield sock, name


def test_what_is_told(listening: tuple[socket.socket, str]) -> None:
    sock, name = listening
    manager = ServiceManager({"NOTIFY_SOCKET": name})
    manager.tell(READY, "listening on 127.0.0.1:8080")
    manager.tell(STOPPING)
    assert sock.recv(4096) == b"READY=1\nSTATUS=listening on 127.0.0.1:8080"
    assert sock.recv(4096) == b"STOPPING=1"


async def test_the_watchdog_hears_twice_in_its_time(
    listening: tuple[socket.socket, str], autojump_clock: MockClock
) -> None:
    sock, name = listening
    manager = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
    with trio.move_on_after(60.1):
        await manager.watch()
    assert [sock.recv(4096) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    with pytest.raises(BlockingIOError):
        sock.recv(4096)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
async def test_no_watchdog(environment: dict[str, str], autojump_clock: MockClock) -> None:
    manager = ServiceManager(environment)
    assert manager.watchdog_seconds is None
    await manager.watch()


def test_nobody_to_tell() -> None:
    with structlog.testing.capture_logs() as log:
        ServiceManager({}).tell(READY)
    assert log == []


def test_a_manager_that_is_gone(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as log:
        ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY)
    assert [entry["reason"] for entry in log] == ["No such file or directory"]
