"""One answer for many who ask, however they come and go."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import outcome
import trio

T = TypeVar("T")


class Once(Generic[T]):
    """An answer that is found once: the first who asks does the work, the others wait. When he is cancelled, the next
    does it."""

    __slots__ = ("_ask", "_lock", "_outcome", "_waiting")

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._lock = trio.Lock()
        self._outcome: outcome.Outcome[T] | None = None
        self._waiting = 0

    async def get(self) -> T:
        """The answer, or what was raised instead of it."""
        self._waiting += 1
        try:
            async with self._lock:
                if self._outcome is None:
                    self._outcome = await _captured(self._ask)
        finally:
            self._waiting -= 1
        return _again(self._outcome)

    @property
    def done(self) -> bool:
        """It was answered."""
        return self._outcome is not None

    @property
    def wanted(self) -> bool:
        """Somebody waits for it."""
        return self._waiting > 0


class Fresh(Generic[T]):
    """An answer to a question that was put after `get` was called; all who came while one was under way share the
    next."""

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
