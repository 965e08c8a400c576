"""The gateway under a service manager that only listens: ready, alive, stopping, told by the main process alone."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, process


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "two workers"])
async def test_a_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        await manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        heard: list[str] = []

        async def hear(enough: Callable[[], bool]) -> None:
            with trio.fail_after(DEADLINE_SECONDS):
                while not enough():
                    heard.append((await manager.recv(4096)).decode())

        async with process(tmp_path, "127.0.0.1:1", *options) as gateway:
            await hear(lambda: any(text.startswith("READY=1") for text in heard))
            assert gateway.public in next(text for text in heard if text.startswith("READY=1"))
            before = heard.count("WATCHDOG=1")
            await hear(lambda: heard.count("WATCHDOG=1") > before + 3)
            gateway.terminate()
            await hear(lambda: any(text.startswith("STOPPING=1\nSTATUS=draining") for text in heard))
            assert await gateway.wait() == 0
        assert [text[:5] for text in heard if not text.startswith("WATCHDOG")] == ["READY", "STOPP"]
