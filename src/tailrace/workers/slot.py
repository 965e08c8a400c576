"""One worker's place: its process, the next one when that has died, and what it is asked.

A worker is asked once a second whether it is ready. One that has answered nothing for half a minute is killed: its
event loop hangs, and so do its clients. The questions wait for an answer, or for the end of the worker.
"""

import math
import signal
import socket
from collections.abc import Callable, Sequence

import msgspec
import structlog
import trio

from tailrace.config import Config
from tailrace.http.answers import Answer
from tailrace.workers import process
from tailrace.workers.channel import Channel
from tailrace.workers.messages import Again, Ask, FromWorker, Listening, Start, Told
from tailrace.workers.process import Process
from tailrace.workers.restarts import GROWN_UP_SECONDS, Restarts
from tailrace.workers.standing import Standing

LOOK_SECONDS = 1.0
SETTLING_SECONDS = 15.0  # to reach Kafka
SILENT_SECONDS = 30.0

Sockets = Callable[[], list[socket.socket]]
Starter = Callable[[Sequence[socket.socket]], Process]

_log = structlog.get_logger(__name__)


class Slot:
    """Place `number`. config: what its workers are started with, the next one too; sockets: makes those for one."""

    def __init__(self, number: int, config: Config, sockets: Sockets, start: Starter = process.start) -> None:
        self.number = number
        self.config = config
        self._sockets = sockets
        self._start = start
        self._restarts = Restarts()
        self._process: Process | None = None
        self._channel: Channel[FromWorker] | None = None
        self._questions: dict[int, Question] = {}
        self._asked = 0
        self._died = ""
        self._told: dict[str, object] | None = None
        self._settled = False
        self._leaving = trio.Event()
        self.listening = trio.Event()  # set by the first
        self.gone = trio.Event()

    @property
    def standing(self) -> Standing:
        """As it is now; up to a second old."""
        pid = None if self._process is None else self._process.pid
        return Standing(self.number, pid, self._told, self._settled, self._died, self._restarts.looping)

    async def run(self) -> None:
        """Keep a worker running until `leave`; returns when the last one has ended."""
        while not self._leaving.is_set():
            born = trio.current_time()
            died = await self._live()
            if self._leaving.is_set():
                break
            pause = self._restarts.died(trio.current_time() - born)
            self._tell_death(died, pause)
            with trio.move_on_after(pause):
                await self._leaving.wait()
        self.gone.set()

    def leave(self) -> None:
        """Tell the worker to drain, and replace it no more."""
        self._leaving.set()
        self.signal(signal.SIGTERM)

    async def renew(self, config: Config) -> None:
        """This is the configuration from now on: of the worker that listens, of one that is about to, and of those that
        follow."""
        self.config = config
        if self._channel is not None and self._told is not None:
            await self._channel.send(Again(config))

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on."""
        if self._process is not None:
            self._process.signal(number)

    async def ask(self, target: str, timeout: float = math.inf) -> Answer | None:
        """What its admin route answers; None when there is no worker, or it does not answer in time."""
        channel = self._channel
        if channel is None or self._told is None:
            return None
        return await self._ask(channel, target, timeout)

    async def _ask(self, channel: Channel[FromWorker], target: str, timeout: float) -> Answer | None:
        self._asked += 1
        number, question = self._asked, Question()
        self._questions[number] = question
        try:
            with trio.move_on_after(timeout):
                await channel.send(Ask(number, target))
                await question.over.wait()
        finally:
            self._questions.pop(number, None)
        return question.answer

    async def _live(self) -> str:
        """One worker's life; how it ended."""
        sockets: list[socket.socket] = []
        try:
            sockets = self._sockets()
            self._process = self._start(sockets)
            start = Start(self.number, self.config, tuple(each.fileno() for each in sockets))
        except OSError as error:
            return f"cannot be started: {error}"
        finally:
            for each in sockets:
                each.close()
        self._channel = Channel(self._process.stream, FromWorker)
        try:
            async with trio.open_nursery() as life:
                life.start_soon(self._listen, self._channel, self._process.pid, start.config)
                life.start_soon(self._look, self._channel, self._process, start)
                life.start_soon(self._grow_up)
                ended = await self._process.wait()
                life.cancel_scope.cancel()
        finally:
            await self._process.aclose()
            self._forget()
        return ended

    async def _listen(self, channel: Channel[FromWorker], pid: int, told: Config) -> None:
        while (message := await channel.receive()) is not None:
            match message:
                case Listening():
                    self._told = {"ready": False, "reason": "not asked yet"}
                    self.listening.set()
                    _log.info("worker listens", worker=self.number, pid=pid)
                    if self.config is not told:  # read again while it was being born
                        await channel.send(Again(self.config))
                case Told(id=number):
                    if (question := self._questions.pop(number, None)) is not None:
                        question.answered(Answer(message.status, message.body, message.content_type))

    async def _look(self, channel: Channel[FromWorker], worker: Process, start: Start) -> None:
        """Tell it what to be, then ask whether it is ready, again and again; kill it when it does not say."""
        await channel.send(start)
        deadline = trio.current_time() + SETTLING_SECONDS
        while True:
            answer = await self._ask(channel, "/readyz", SILENT_SECONDS)
            if answer is None:
                _log.error("worker does not answer", worker=self.number, pid=worker.pid, seconds=SILENT_SECONDS)
                worker.signal(signal.SIGKILL)
                return
            if self._told is not None:
                self._told = msgspec.json.decode(answer.body, type=dict[str, object])
                self._settled = self._settled or answer.status == 200 or trio.current_time() > deadline
            await trio.sleep(LOOK_SECONDS)

    async def _grow_up(self) -> None:
        await trio.sleep(GROWN_UP_SECONDS)
        self._restarts.grew_up()

    def _forget(self) -> None:
        self._process = self._channel = self._told = None
        self._settled = False
        for question in self._questions.values():
            question.over.set()

    def _tell_death(self, died: str, pause: float) -> None:
        self._died = died
        _log.error("worker died", worker=self.number, reason=died, replaced_in_seconds=pause)
        if self._restarts.looping:
            _log.error("worker dies again and again", worker=self.number, times=self._restarts.young)


class Question:
    """`answer`, once `over` is set; it stays None when the worker ended."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.answer: Answer | None = None

    def answered(self, answer: Answer) -> None:
        self.answer = answer
        self.over.set()
