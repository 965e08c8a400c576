"""One worker's place, with processes that only pretend: replaced, asked, killed when silent, told to leave."""

import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog.testing
import trio
import trio.testing
from trio.testing import MockClock

from tailrace.config import Config, Log
from tailrace.http.answers import Answer, json_answer
from tailrace.workers.channel import Channel
from tailrace.workers.messages import Again, Ask, FromParent, Listening, Start, Told
from tailrace.workers.slot import SILENT_SECONDS, Slot

READY = json_answer(200, {"ready": True, "reason": ""})
Life = Callable[["FakeProcess"], Any]


class FakeProcess:
    """A process with a life in this loop. `signals`: what it was sent; SIGTERM and SIGKILL end it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stream, theirs = trio.testing.memory_stream_pair()
        self.channel: Channel[Any] = Channel(theirs, FromParent)
        self.signals: list[signal.Signals] = []
        self._ended = trio.Event()
        self._how = ""

    def end(self, how: str) -> None:
        self._how = self._how or how
        self._ended.set()

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        self.end(f"killed by {number.name}")

    async def wait(self) -> str:
        await self._ended.wait()
        return self._how

    async def aclose(self) -> None:
        self.end("closed")
        await trio.aclose_forcefully(self.stream)

    async def serve(self, answer: Answer = READY, seconds: float = 1e9) -> None:
        """Listen, and answer everything for so long."""
        start = await self.channel.receive()
        assert isinstance(start, Start)
        await self.channel.send(Listening())
        with trio.move_on_after(seconds):
            while isinstance(asked := await self.channel.receive(), Ask):
                await self.channel.send(Told(asked.id, answer.status, answer.body, answer.content_type))
        self.end("exit code 3")


class Place:
    """A slot whose workers have the lives given, one after the other; the last one for all that follow."""

    def __init__(self, nursery: trio.Nursery, *lives: Life) -> None:
        self.nursery = nursery
        self.born: list[FakeProcess] = []
        self._lives = lives
        self.slot = Slot(1, Config(), list, self._start)  # type: ignore[arg-type]

    def _start(self, sockets: Sequence[object]) -> FakeProcess:
        life = self._lives[min(len(self.born), len(self._lives) - 1)]
        worker = FakeProcess(len(self.born) + 1)
        self.born.append(worker)
        self.nursery.start_soon(life, worker)
        return worker


def serves(answer: Answer = READY, seconds: float = 1e9) -> Life:
    return lambda worker: worker.serve(answer, seconds)


async def test_a_worker_is_listened_for_and_asked(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        place = Place(nursery, serves())
        nursery.start_soon(place.slot.run)
        await place.slot.listening.wait()
        await trio.sleep(2.0)
        assert place.slot.standing.told == {"ready": True, "reason": ""}
        assert place.slot.standing.counts
        found = await place.slot.ask("/anything")
        assert found is not None
        assert found.body == READY.body
        nursery.cancel_scope.cancel()


async def test_who_dies_is_replaced_later_and_later(autojump_clock: MockClock) -> None:
    with structlog.testing.capture_logs() as log:
        async with trio.open_nursery() as nursery:
            place = Place(nursery, serves(seconds=1.0))
            nursery.start_soon(place.slot.run)
            await trio.sleep(1.1)
            assert place.slot.standing.pid is None
            assert place.slot.standing.reason == "is being replaced: exit code 3"
            await trio.sleep(3600)
            nursery.cancel_scope.cancel()
    assert 110 < len(place.born) < 130, "no fork bomb, and no giving up"
    deaths = [entry for entry in log if entry["event"] == "worker died"]
    assert [entry["replaced_in_seconds"] for entry in deaths[:4]] == [0.25, 0.5, 1.0, 2.0]
    assert {entry["reason"] for entry in deaths} == {"exit code 3"}
    assert place.slot.standing.looping


async def test_a_loop_ends_when_one_lives(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        place = Place(nursery, *[serves(seconds=1.0)] * 5, serves())
        nursery.start_soon(place.slot.run)
        await trio.sleep(20)
        assert len(place.born) == 6
        assert place.slot.standing.looping
        await trio.sleep(61)
        assert not place.slot.standing.looping
        assert place.slot.standing.reason == ""
        nursery.cancel_scope.cancel()


async def test_one_that_cannot_be_started_is_tried_again(autojump_clock: MockClock) -> None:
    def fail(sockets: Sequence[object]) -> FakeProcess:
        raise OSError(11, "Resource temporarily unavailable")

    async with trio.open_nursery() as nursery:
        slot = Slot(1, Config(), list, fail)  # type: ignore[arg-type]
        nursery.start_soon(slot.run)
        await trio.sleep(60)
        assert slot.standing.looping
        assert "Resource temporarily unavailable" in slot.standing.reason
        slot.leave()
        await slot.gone.wait()


async def test_the_silent_are_killed(autojump_clock: MockClock) -> None:
    """A loop that hangs answers nothing; the process is there, and would be for ever."""

    async def silent(worker: FakeProcess) -> None:
        await worker.channel.receive()
        await worker.channel.send(Listening())

    async with trio.open_nursery() as nursery:
        place = Place(nursery, silent, serves())
        nursery.start_soon(place.slot.run)
        await trio.sleep(SILENT_SECONDS + 2)
        assert place.born[0].signals == [signal.SIGKILL]
        assert len(place.born) == 2
        nursery.cancel_scope.cancel()


async def test_a_question_ends_with_the_worker(autojump_clock: MockClock) -> None:
    async def dies_when_asked(worker: FakeProcess) -> None:
        await worker.channel.receive()
        await worker.channel.send(Listening())
        while (await worker.channel.receive()).target != "/metrics":
            pass
        worker.end("killed by SIGSEGV")

    async with trio.open_nursery() as nursery:
        place = Place(nursery, dies_when_asked, serves())
        nursery.start_soon(place.slot.run)
        await place.slot.listening.wait()
        assert await place.slot.ask("/metrics") is None
        assert await place.slot.ask("/metrics") is None, "nobody is there"
        nursery.cancel_scope.cancel()


async def test_a_question_has_its_time(autojump_clock: MockClock) -> None:
    async def silent(worker: FakeProcess) -> None:
        await worker.channel.receive()
        await worker.channel.send(Listening())

    async with trio.open_nursery() as nursery:
        place = Place(nursery, silent)
        nursery.start_soon(place.slot.run)
        await place.slot.listening.wait()
        begin = trio.current_time()
        assert await place.slot.ask("/metrics", 2.0) is None
        assert trio.current_time() - begin == pytest.approx(2.0)
        nursery.cancel_scope.cancel()


async def test_who_leaves_is_not_replaced(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        place = Place(nursery, serves())
        nursery.start_soon(place.slot.run)
        await place.slot.listening.wait()
        place.slot.leave()
        await place.slot.gone.wait()
        await trio.sleep(600)
    assert [worker.signals for worker in place.born] == [[signal.SIGTERM]]


async def test_leaving_between_two_workers(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        place = Place(nursery, serves(seconds=0.0))
        nursery.start_soon(place.slot.run)
        await trio.sleep(100)
        assert place.slot.standing.pid is None
        begin, born = trio.current_time(), len(place.born)
        place.slot.leave()
        await place.slot.gone.wait()
        assert trio.current_time() == begin
    assert len(place.born) == born


async def test_a_new_configuration_is_for_this_worker_and_the_next(autojump_clock: MockClock) -> None:
    given: list[object] = []

    async def take(worker: FakeProcess) -> None:
        await worker.channel.send(Listening())
        while (message := await worker.channel.receive()) is not None:
            if isinstance(message, Start | Again):
                given.append((type(message), message.config.log.level))
            if isinstance(message, Again):
                worker.end("exit code 1")

    async with trio.open_nursery() as nursery:
        place = Place(nursery, take)
        nursery.start_soon(place.slot.run)
        await place.slot.listening.wait()
        await place.slot.renew(Config(log=Log(level="debug")))
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert given == [(Start, "info"), (Again, "debug"), (Start, "debug")]


async def test_what_is_read_again_while_a_worker_is_born_reaches_it(autojump_clock: MockClock) -> None:
    """It was started with what there was, and could not be told before it listened."""
    born, go = trio.Event(), trio.Event()
    levels: list[str] = []

    async def be_born(worker: FakeProcess) -> None:
        levels.append((await worker.channel.receive()).config.log.level)
        born.set()
        await go.wait()
        await worker.channel.send(Listening())
        while (message := await worker.channel.receive()) is not None:
            if isinstance(message, Again):
                levels.append(message.config.log.level)
                nursery.cancel_scope.cancel()

    with trio.move_on_after(10.0):
        async with trio.open_nursery() as nursery:
            place = Place(nursery, be_born)
            nursery.start_soon(place.slot.run)
            await born.wait()
            await place.slot.renew(Config(log=Log(level="debug")))
            go.set()
    assert levels == ["info", "debug"]
