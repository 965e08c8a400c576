"""The drain on a made-up clock, and the addresses. The whole tree runs in tests/integration."""

import resource
import subprocess
import sys
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tailrace.config import Config, Limits
from tailrace.disconnect import SHUTDOWN, Disconnect
from tailrace.gateway import server
from tailrace.gateway.server import (
    SPARE_DESCRIPTORS,
    address_of,
    drain,
    listen,
    raise_descriptor_limit,
    times,
)
from tailrace.websocket.keepalive import Times


class FakeDoor:
    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.draining = False


class FakeConnection:
    """Leaves so many seconds after it was told to; None: never."""

    def __init__(self, door: FakeDoor, nursery: trio.Nursery, leaves_after: float | None) -> None:
        self._door, self._nursery, self._leaves_after = door, nursery, leaves_after
        self.told_at: float | None = None
        self.retry_after_ms: int | None = None
        self.cut_at: float | None = None
        door.connections.add(self)

    def end(self, disconnect: Disconnect, retry_after_ms: int | None = None) -> None:
        assert disconnect is SHUTDOWN
        if self.told_at is None:
            self.told_at, self.retry_after_ms = trio.current_time(), retry_after_ms
            if self._leaves_after is not None:
                self._nursery.start_soon(self._leave, self._leaves_after)

    def cut(self) -> None:
        self.cut_at = trio.current_time()

    async def _leave(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._door.connections.discard(self)


async def test_a_drain_is_spread(autojump_clock: MockClock) -> None:
    """Ten thousand clients are told one by one, within the drain's time, and asked back at times of their own."""
    door = FakeDoor()
    async with trio.open_nursery() as nursery:
        everyone = [FakeConnection(door, nursery, 0.1) for _ in range(10_000)]
        begin = trio.current_time()
        await drain(door, 30.0)  # type: ignore[arg-type]
        assert door.connections == set()
    told = sorted(each.told_at - begin for each in everyone if each.told_at is not None)
    assert len(told) == 10_000
    assert 20.0 < told[-1] < 30.0
    assert 0.4 < told[5000] / told[-1] < 0.6
    pauses = sorted(each.retry_after_ms or 0 for each in everyone)
    assert pauses[0] >= 0
    assert pauses[-1] <= 30_000
    assert 13_000 < pauses[5000] < 17_000


async def test_a_drain_of_few_is_short(autojump_clock: MockClock) -> None:
    door = FakeDoor()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            FakeConnection(door, nursery, 0.0)
        begin = trio.current_time()
        await drain(door, 30.0)  # type: ignore[arg-type]
        assert trio.current_time() - begin < 1.0


async def test_a_drain_waits_for_those_who_still_say_goodbye(autojump_clock: MockClock) -> None:
    door = FakeDoor()
    async with trio.open_nursery() as nursery:
        FakeConnection(door, nursery, 4.0)
        begin = trio.current_time()
        await drain(door, 30.0)  # type: ignore[arg-type]
        assert trio.current_time() - begin == pytest.approx(4.0, abs=0.1)


async def test_a_drain_ends_in_time_whoever_stays(autojump_clock: MockClock) -> None:
    """However short it is, and whatever time a goodbye has otherwise."""
    door = FakeDoor()
    async with trio.open_nursery() as nursery:
        stays, leaves = FakeConnection(door, nursery, None), FakeConnection(door, nursery, 0.5)
        begin = trio.current_time()
        await drain(door, 2.0)  # type: ignore[arg-type]
        assert trio.current_time() - begin == pytest.approx(2.0, abs=0.1)
    assert stays.cut_at is not None
    assert leaves.cut_at is None


async def test_a_drain_tells_those_who_came_in_meanwhile(autojump_clock: MockClock) -> None:
    """They were at the door when it closed."""
    door = FakeDoor()
    async with trio.open_nursery() as nursery:
        FakeConnection(door, nursery, 2.0)
        nursery.start_soon(drain, door, 30.0)
        await trio.sleep(1.0)
        late = FakeConnection(door, nursery, 0.0)
    assert late.told_at is not None
    assert late.retry_after_ms is not None


async def test_a_drain_of_nobody() -> None:
    await drain(FakeDoor(), 30.0)  # type: ignore[arg-type]


def test_the_clocks_of_keep_alive() -> None:
    limits = Limits(ping_interval=1.0, pong_timeout=None, write_timeout=3.0)
    assert times(Config(limits=limits)) == Times(1.0, None, 3.0)


async def test_listening() -> None:
    listeners = await listen("127.0.0.1:0")
    try:
        host, _, port = address_of(listeners).partition(":")
        assert (host, int(port) > 0) == ("127.0.0.1", True)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await listen(f"127.0.0.1:{port}")
    finally:
        for listener in listeners:
            await listener.aclose()


async def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:80"):
        await listen("192.0.2.1:80")


def test_an_address_of_version_six() -> None:
    class Socket:
        def getsockname(self) -> tuple[str, int, int, int]:
            return "::1", 8080, 0, 0

    class Listener:
        socket = Socket()

    assert address_of([Listener()]) == "[::1]:8080"  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("hard", "found"), [(4096, 4096), (1 << 30, 1_048_576), (resource.RLIM_INFINITY, 1_048_576), (100, 100)]
)
def test_descriptors(monkeypatch: pytest.MonkeyPatch, hard: int, found: int) -> None:
    """As many as the system allows; at least one connection, whatever is reserved."""
    asked = []
    monkeypatch.setattr(server.resource, "getrlimit", lambda what: (64, hard))
    monkeypatch.setattr(server.resource, "setrlimit", lambda what, limits: asked.append(limits))
    assert raise_descriptor_limit() == max(1, found - SPARE_DESCRIPTORS)
    assert asked == [(found, hard)]


def test_who_waits_for_the_gil_insists_within_a_round_of_the_loop() -> None:
    """A busy loop gives it up once a round, for a moment, and each time the wait would begin anew."""
    prepare = (
        "import sys; from tailrace.gateway import server; server.prepare_process(None); print(sys.getswitchinterval())"
    )
    told = subprocess.run([sys.executable, "-c", prepare], capture_output=True, text=True, check=True).stdout
    assert float(told) < 0.00005
