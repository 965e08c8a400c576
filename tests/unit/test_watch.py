"""The one task that takes every pulse: what it does for each verdict, and that it passes over nobody."""

from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tailrace.disconnect import NO_PONG, SHUTDOWN, WRITE_TIMEOUT, Disconnect
from tailrace.websocket.keepalive import Pulse, Times
from tailrace.websocket.watch import LOOKS, PING, SLICES, take_pulse, watch

TIMES = Times(ping_interval=20.0, pong_timeout=8.0, write_timeout=100.0)


class FakeGuard:
    def __init__(self) -> None:
        self.received_bytes = 0


class FakeLine:
    def __init__(self) -> None:
        self.sent_bytes = 0
        self.waiting_bytes = 0


class FakeOutlet:
    """What waits in the line, and then what waits in the kernel."""

    def __init__(self) -> None:
        self.line = FakeLine()
        self.guard = FakeGuard()
        self.kernel_bytes = 0
        self.posted: list[bytes] = []
        self.blamed: list[Exception] = []

    def blame(self, fault: Exception) -> None:
        self.blamed.append(fault)

    @property
    def unacknowledged_bytes(self) -> int:
        return self.line.waiting_bytes + self.kernel_bytes

    def post(self, frames: bytes) -> None:
        self.posted.append(frames)
        self.line.sent_bytes += len(frames)


class FakeConnection:
    def __init__(self, now: float = 0.0) -> None:
        self.outlet = FakeOutlet()
        self.pulse = Pulse(now)
        self.ending: Disconnect | None = None
        self.paused = False

    def end(self, disconnect: Disconnect) -> None:
        assert self.ending is None, "it was ended before"
        self.ending = disconnect


def look(connection: Any, now: float) -> None:
    take_pulse(connection, now, TIMES)


def test_a_quiet_one_is_pinged() -> None:
    connection = FakeConnection()
    look(connection, 19.0)
    assert connection.outlet.posted == []
    look(connection, 20.0)
    assert connection.outlet.posted == [PING]
    assert connection.ending is None


def test_one_that_does_not_answer_is_ended() -> None:
    connection = FakeConnection()
    look(connection, 20.0)
    look(connection, 28.0)
    assert connection.ending is NO_PONG


def test_a_pong_is_heard() -> None:
    connection = FakeConnection()
    look(connection, 20.0)
    connection.outlet.guard.received_bytes += 6
    look(connection, 28.0)
    assert connection.ending is None


def test_one_that_is_not_read_cannot_be_heard() -> None:
    """Its pong may wait unread; once it is read again it has its time anew."""
    connection = FakeConnection()
    look(connection, 20.0)
    connection.paused = True
    look(connection, 28.0)
    connection.paused = False
    look(connection, 48.0)
    assert (connection.ending, connection.outlet.posted) == (None, [PING, PING])
    look(connection, 56.0)
    assert connection.ending is NO_PONG


async def test_a_fault_of_ours_in_one_is_that_connections(autojump_clock: MockClock) -> None:
    """The one who looks goes on, and with the others."""

    class Faulty(FakeOutlet):
        def post(self, frames: bytes) -> None:
            raise KeyError("why")

    faulty, other = FakeConnection(), FakeConnection()
    faulty.outlet = Faulty()
    with trio.move_on_after(TIMES.ping_interval + 2 * TIMES.look):  # type: ignore[operator]
        await watch([faulty, other], TIMES)  # type: ignore[list-item]
    assert [str(fault) for fault in faulty.outlet.blamed[:1]] == ["'why'"]
    assert other.outlet.posted == [PING]


@pytest.mark.parametrize("where", ["line", "kernel"])
def test_one_that_takes_nothing_is_ended(where: str) -> None:
    """Whether the bytes wait here or in the kernel."""
    connection = FakeConnection()
    connection.outlet.line.sent_bytes = 1000
    if where == "line":
        connection.outlet.line.waiting_bytes = 500
    else:
        connection.outlet.kernel_bytes = 500
    for now in range(1, 101):
        look(connection, float(now))
    assert connection.ending is None
    look(connection, 101.0)
    assert connection.ending is WRITE_TIMEOUT


def test_what_moves_from_the_line_to_the_kernel_is_not_acknowledged() -> None:
    connection = FakeConnection()
    connection.outlet.line.waiting_bytes = 500
    look(connection, 1.0)
    connection.outlet.line.waiting_bytes, connection.outlet.line.sent_bytes = 0, 500
    connection.outlet.kernel_bytes = 500
    look(connection, 101.0)
    assert connection.ending is WRITE_TIMEOUT


async def test_everyone_is_looked_at_in_every_round(autojump_clock: MockClock) -> None:
    """However many there are, and whoever comes and goes meanwhile."""
    everyone = {FakeConnection(trio.current_time()) for _ in range(5 * SLICES + 3)}
    ended = next(iter(everyone))
    ended.ending = SHUTDOWN
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, everyone, TIMES)  # type: ignore[arg-type]
        await trio.sleep(10.0)
        late = FakeConnection(trio.current_time())
        everyone.add(late)
        await trio.sleep(20.0 + 2 * TIMES.look)
        assert [each.outlet.posted for each in everyone - {ended}] == [[PING]] * (len(everyone) - 1)
        assert ended.outlet.posted == []
        await trio.sleep(8.0 + 2 * TIMES.look)
        assert {each.ending for each in everyone} == {NO_PONG, SHUTDOWN}
        nursery.cancel_scope.cancel()


async def test_nobody_to_look_at(autojump_clock: MockClock) -> None:
    with trio.move_on_after(100.0):
        await watch(set(), TIMES)
    with trio.move_on_after(100.0):
        await watch(set(), Times(None, None, None))


async def test_nobody_is_woken_for_those_that_rest(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of them is one step, however many they are; a step costs what the looks at a thousand do."""
    steps = []
    sleep_until = trio.sleep_until

    async def noted(deadline: float) -> None:
        steps.append(deadline)
        await sleep_until(deadline)

    everyone = {FakeConnection(trio.current_time()) for _ in range(3 * LOOKS)}
    with trio.move_on_after(2.5 * TIMES.look):
        await watch(everyone, TIMES)  # type: ignore[arg-type]
    monkeypatch.setattr(trio, "sleep_until", noted)
    with trio.move_on_after(3.5 * TIMES.look):
        await watch(everyone, TIMES)  # type: ignore[arg-type]
    assert len(steps) == 4


async def test_many_pings_are_spread(autojump_clock: MockClock) -> None:
    """Or all the answers would come at once, and nobody else have a turn until they are read."""

    class Noted(FakeConnection):
        at = 0.0

        def __init__(self) -> None:
            super().__init__(trio.current_time())
            self.outlet.post = self.pinged  # type: ignore[method-assign]

        def pinged(self, frames: bytes) -> None:
            self.at = trio.current_time()

    begun = trio.current_time()
    everyone = [Noted() for _ in range(2 * LOOKS * SLICES)]
    with trio.move_on_after(20.0 + 2 * TIMES.look):
        await watch(everyone, TIMES)  # type: ignore[arg-type]
    together = Counter(each.at for each in everyone)
    assert max(together.values()) == 2 * LOOKS
    assert 20.0 <= min(together) - begun <= max(together) - begun <= 20.0 + TIMES.look
