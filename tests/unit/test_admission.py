"""Newcomers at the door: whose turn it is, who is sent away and when to come back, who is let go. Counted only."""

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.gateway import Raw, handshake, until
from tests.plain_door import House, house, tcp_pair
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from tailrace.config import Config, Limits, Listen
from tailrace.gateway import door
from tailrace.gateway.admission import (
    AWAY,
    PATIENCE_SECONDS,
    RETRY_SECONDS,
    ROUNDS,
    Admission,
    Heard,
    Newcomer,
)
from tailrace.sockets.tcp import TcpStream
from tailrace.websocket.turns import Turns


class Rounds:
    """Counts the rounds of the event loop, while `running`."""

    def __init__(self) -> None:
        self.now = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count)
            yield
            nursery.cancel_scope.cancel()

    async def _count(self) -> None:
        while True:
            self.now += 1
            await trio.lowlevel.checkpoint()


async def test_a_turn_every_few_rounds_first_come_first_served() -> None:
    turns, rounds, taken = Turns(1, ROUNDS), Rounds(), []

    async def take(number: int) -> None:
        await turns.take()
        taken.append((number, rounds.now))

    async with rounds.running(), trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(take, number)
            await trio.lowlevel.checkpoint()
    assert [number for number, _ in taken] == list(range(50))
    pauses = [after - before for (_, before), (_, after) in itertools.pairwise(taken)]
    # Who is first in a round is chance, the one who counts or the one who is counted.
    assert min(pauses[1:]) >= ROUNDS - 2
    assert ROUNDS - 0.5 <= sum(pauses) / len(pauses) <= ROUNDS + 1.5
    assert len(turns) == 0


async def test_who_is_alone_does_not_wait() -> None:
    turns = Turns(1, ROUNDS)
    for _ in range(3):
        with assert_no_checkpoints():
            await turns.take()
        await wait_all_tasks_blocked()


async def test_who_gives_up_in_the_line_takes_nobodys_turn() -> None:
    turns = Turns(1, ROUNDS)
    await turns.take()
    with trio.CancelScope() as scope:
        scope.cancel()
        await turns.take()
    assert scope.cancelled_caught
    with trio.fail_after(30):
        await turns.take()


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The round in which each handshake was looked at, and how many came before: filled while `Rounds` are running."""
    seen: list[int] = []
    upgrade = door.upgrade

    def counted(head: Any) -> Any:
        seen.append(ROUND.now)
        return upgrade(head)

    monkeypatch.setattr(door, "upgrade", counted)
    return seen


ROUND = Rounds()


async def arrive(place: House, stay: trio.Event, done: list[int]) -> None:
    async with place.knock(handshake()) as raw:
        await raw.head()
        done.append(1)
        await stay.wait()


async def test_a_crowd_is_let_in_one_by_one_and_a_fan_out_goes_on_beside(worked_on: list[int]) -> None:
    """Three hundred come at once: no round has two handshakes begun, and a record that arrives meanwhile waits for
    few of them."""
    async with house(limit=1000, orders=[0]) as place, place.visit("/topics/orders") as reader:
        for _ in range(2):
            await reader.message()
        stay, done = trio.Event(), []
        async with trio.open_nursery() as nursery:
            async with ROUND.running():
                for _ in range(300):
                    nursery.start_soon(arrive, place, stay, done)
                for number in range(10):
                    await until(lambda: len(worked_on) > 20 * number)  # noqa: B023
                    before = len(worked_on)
                    await place._send.send(place.batch("orders", b"1"))
                    assert (await reader.message())["type"] == "record"
                    assert len(worked_on) - before <= 8
                assert len(done) < 300
                await until(lambda: len(done) == 300)
            stay.set()
        rounds = worked_on[-300:]
        assert min(after - before for before, after in itertools.pairwise(rounds[1:])) >= ROUNDS - 2
        assert place.door.admission.statistics().inside == 0


async def answer(raw: Raw) -> tuple[int, dict[str, str], dict[str, Any]]:
    head, _, body = (await raw.end_of_file()).partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(body)


async def test_one_too_many_is_told_when_to_come_back(mock_clock: MockClock) -> None:
    """However long that takes: after a second the silent ones would give way."""
    async with house(limits=Limits(handshakes=2), orders=[0]) as place:
        async with place.knock(b"GET "), place.knock(b"GET "):
            times = set()
            for _ in range(40):
                async with place.knock(handshake()) as raw:
                    status, head, body = await answer(raw)
                assert (status, body["code"]) == (503, "full")
                times.add(int(head["retry-after"]))
            assert min(times) >= RETRY_SECONDS[0]
            assert max(times) <= RETRY_SECONDS[1]
            assert len(times) > 3
            statistics = place.door.admission.statistics()
            assert (statistics.inside, statistics.sent_away) == (2, {"full": 40})
        async with place.visit(), place.visit(), place.visit():  # who was let in is no newcomer
            assert place.door.admission.statistics().inside == 0


async def test_one_too_many_under_tls_is_closed_and_counted(mock_clock: MockClock) -> None:
    """An answer would cost a handshake, and a plain one says nothing to him."""
    listen = Listen(tls_certificate="a file", tls_key="another")  # its certificates are the door's affair: it has none
    async with house(limits=Limits(handshakes=1), listen=listen, orders=[0]) as place, place.knock(b"GET "):
        for _ in range(5):
            async with place.knock(b"\x16\x03\x01") as raw:
                assert await raw.end_of_file() == b""
        assert place.door.admission.statistics().sent_away == {"full": 5}
        assert place.topics.counts.refused["full"] == 5


async def test_everyone_of_a_crowd_is_let_in_or_told_when_to_come_back() -> None:
    async with house(limit=1000, limits=Limits(handshakes=20), orders=[0]) as place:
        answers: list[int] = []

        async def come() -> None:
            async with place.knock(handshake()) as raw:
                data = b""
                while b"\r\n\r\n" not in data:
                    more = await raw.stream.receive_some(4096)
                    assert more, data
                    data += more
                answers.append(int(data.split()[1]))
                assert data.startswith(b"HTTP/1.1 101 ") or b"Retry-After: " in data

        async with trio.open_nursery() as nursery:
            for _ in range(250):  # three descriptors each for a moment, of the 1,024 that a process may have
                nursery.start_soon(come)
        assert len(answers) == 250
        assert set(answers) == {101, 503}
        statistics = place.door.admission.statistics()
        assert statistics.sent_away["full"] == answers.count(503)
        assert (statistics.inside, statistics.leaving, statistics.waiting) == (0, 0, 0)


async def test_not_everybody_is_waited_for_until_he_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told to come back and stays is waited for, but not for any number of such."""
    assert AWAY == 1024
    monkeypatch.setattr("tailrace.gateway.admission.AWAY", 3)
    async with house(limits=Limits(handshakes=1), orders=[0]) as place, contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(place.knock(b"GET "))
        stubborn = [await stack.enter_async_context(place.knock(handshake())) for _ in range(3)]
        await wait_all_tasks_blocked()
        assert place.door.admission.statistics().leaving == 3
        async with place.knock(handshake()) as raw:
            assert (await answer(raw))[0] == 503
        assert place.door.admission.statistics().leaving == len(stubborn) == 3


async def test_who_keeps_us_waiting_gives_way(autojump_clock: MockClock) -> None:
    """The first of them, and not before he has had time for his request."""
    async with house(limits=Limits(handshakes=2), orders=[0]) as place:
        async with place.knock(b"GET ") as first, place.knock(b"G") as second:
            async with place.knock(handshake()) as raw:
                assert (await answer(raw))[0] == 503
            await trio.sleep(PATIENCE_SECONDS + 0.1)
            async with place.visit():
                assert await first.end_of_file() == b""
                assert place.door.admission.statistics().let_go == {"crowded": 1}
                await second.send(handshake()[1:])
                await second.head()
        assert place.door.admission.statistics().inside == 0


async def test_the_time_in_our_line_is_not_the_newcomers(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He may be late by `limits.handshake_timeout` in all he says, however long he had to wait to be heard."""
    take = Turns.take

    async def late(turns: Turns) -> None:
        await trio.sleep(20)
        await take(turns)

    async with house(orders=[0]) as place:
        with monkeypatch.context() as patch:
            patch.setattr(Turns, "take", late)
            async with place.knock(handshake()) as raw:
                await raw.head()
        async with place.knock(b"") as raw:
            for byte in handshake()[:6]:
                await raw.send(bytes([byte]))
                await trio.sleep(2)
            assert await raw.end_of_file() == b""
        assert place.door.admission.statistics().let_go == {"timeout": 1}


async def test_who_has_spoken_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scope and no clock for a request that is there; its handler is worked on in turn all the same."""
    taken = []
    take = Turns.take

    async def noted(turns: Turns) -> None:
        taken.append(turns)
        await take(turns)

    monkeypatch.setattr(Turns, "take", noted)
    monkeypatch.delattr(Newcomer, "waited_for")
    near, far = await tcp_pair()
    admission = Admission(Config())
    newcomer = admission.arrive("127.0.0.1")
    assert isinstance(newcomer, Newcomer)
    with near, far:
        await far.send(b"GET")
        await trio.lowlevel.wait_readable(near)
        assert await Heard(TcpStream(near), newcomer, 10.0).receive_some() == b"GET"
        assert taken == [admission.turns]


# ------------------------------------------------------------------------------------------------------- addresses


async def test_so_many_of_one_address() -> None:
    async with house(limits=Limits(connections_per_address=2), orders=[0]) as place:
        async with place.visit(), place.knock(b"GET "):
            async with place.knock(handshake()) as raw:
                status, head, body = await answer(raw)
            assert (status, body["code"]) == (429, "rate_limited")
            assert "retry-after" in head
            assert place.door.admission.statistics().addresses == 1
        async with place.visit():
            pass
        await until(lambda: place.door.admission.statistics().addresses == 0)


async def test_so_many_of_one_address_behind_a_proxy() -> None:
    limits, listen = Limits(connections_per_address=1), Listen(trusted_proxies=("127.0.0.0/8",))
    async with house(limits=limits, listen=listen, orders=[0]) as place:
        one, other = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 198.51.100.7, 192.0.2.2"
        async with place.knock(handshake("/ws", one)) as raw:
            await raw.head()
            await until(lambda: place.door.connections)
            assert [connection.remote for connection in place.door.connections] == ["192.0.2.1"]
            async with place.knock(handshake("/ws", one)) as second:
                assert (await answer(second))[0] == 429
            async with place.knock(handshake("/ws", other)) as third:
                await third.head()
        await until(lambda: place.door.admission.statistics().addresses == 0)


async def test_a_forwarded_host_counts_from_a_trusted_proxy_only() -> None:
    lines = ("Origin: https://chat.example", "X-Forwarded-Host: chat.example")
    for trusted, status in ((("127.0.0.1",), b"101"), ((), b"403"), (("192.0.2.1",), b"403")):
        listen = Listen(trusted_proxies=trusted)
        async with house(listen=listen, orders=[0]) as place, place.knock(handshake("/ws", *lines)) as raw:
            data = await raw.stream.receive_some(4096)
            assert data.split()[1] == status


class HeardLate(trio.abc.ReceiveStream):
    """Has a byte at once, and the loop is so busy that it arrives when the time for it is over."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        self._clock.jump(1.0)
        return b"G"

    async def aclose(self) -> None: ...


async def test_who_is_heard_late_is_late_at_his_next_byte(mock_clock: MockClock) -> None:
    admission = Admission(Config())
    newcomer = admission.arrive("127.0.0.1")
    assert isinstance(newcomer, Newcomer)
    heard = Heard(HeardLate(mock_clock), newcomer, 0.5)
    assert await heard.receive_some() == b"G"
    with pytest.raises(trio.BrokenResourceError, match="kept us waiting"):
        await heard.receive_some()
    assert admission.let_go == {"timeout": 1}
