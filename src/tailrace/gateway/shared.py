"""One answer for many who ask, however they come and go."""

import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import outcome
import trio

T = TypeVar("T")

KEPT_SECONDS = 1.0  # so long what nobody waits for any more goes on: for one who takes back and asks again


class Once(Generic[T]):
    """An answer that is found once, for all who ask. It is asked for in nobody's task: whoever leaves leaves it to the
    next, and for KEPT_SECONDS even if he was the last. ended: called when it was found, or given up."""

    __slots__ = ("_ask", "_ended", "_found", "_outcome", "_scope", "_waiting")

    def __init__(self, ask: Callable[[], Awaitable[T]], ended: Callable[[], object] = lambda: None) -> None:
        self._ask = ask
        self._ended = ended
        self._found = trio.Event()
        self._outcome: outcome.Outcome[T] | None = None
        self._scope: trio.CancelScope | None = None  # of the asking
        self._waiting = 0

    async def get(self) -> T:
        """The answer, or what was raised instead of it."""
        if self._scope is None:
            self._scope = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._find)
        self._waiting += 1
        self._scope.deadline = math.inf
        try:
            await self._found.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._scope.deadline = trio.current_time() + KEPT_SECONDS
        assert self._outcome is not None
        return _again(self._outcome)

    async def _find(self) -> None:
        while self._outcome is None:
            assert self._scope is not None
            with self._scope:
                self._outcome = await _captured(self._ask)
            if self._outcome is None:
                if not self._waiting:
                    break
                self._scope = trio.CancelScope()  # somebody has come at the last moment
        self._found.set()
        self._ended()


class Fresh(Generic[T]):
    """An answer to a question that was put after `get` was called; all who came while one was under way share the
    next, and have it one by one, a round of the event loop after each other: what a thousand do with it is work."""

    __slots__ = ("_answered", "_ask", "_asked", "_lock", "_outcome")

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._lock = trio.Lock()
        self._asked = 0  # the number of the last question
        self._answered = 0  # and of the one that `_outcome` answers
        self._outcome: outcome.Outcome[T] | None = None

    async def get(self) -> T:
        """The answer, or what was raised instead of it."""
        wanted = self._asked + 1
        async with self._lock:
            if self._answered < wanted or self._outcome is None:
                self._asked += 1
                asked = self._asked
                self._outcome = await _captured(self._ask)
                self._answered = asked
            found = self._outcome
        return _again(found)


async def _captured(ask: Callable[[], Awaitable[T]]) -> outcome.Outcome[T]:
    """What it answered or raised; being cancelled is not an answer."""
    try:
        return outcome.Value(await ask())
    except Exception as error:  # noqa: BLE001  raised again for everyone who asked
        return outcome.Error(error)


def _again(found: outcome.Outcome[T]) -> T:
    """An outcome unwraps only once; this one is for many."""
    if isinstance(found, outcome.Value):
        value: T = found.value
        return value
    assert isinstance(found, outcome.Error)
    raise found.error.with_traceback(None)  # or it would grow by everyone's frames
