"""A trio loop that goes on only when it is told to, one round at a time: for tests that decide what happens between.

Trio's guest mode gives its rounds to a host, here a list; one task that never waits keeps every round ready at once,
so that no thread is needed. Time stands still until `pass_seconds`. Nothing here depends on chance: trio leaves the
order of tasks to hypothesis when hypothesis is there.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import trio
from trio.testing import MockClock


class Stepped:
    """`start` tasks, `step` the loop; what a task raises comes out of `step`."""

    def __init__(self) -> None:
        self._rounds: deque[Callable[[], object]] = deque()
        self._outcome: outcome.Outcome[None] | None = None
        self._clock = MockClock()
        self._nursery: trio.Nursery | None = None
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._rounds.append,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=True,
            clock=self._clock,
        )
        while self._nursery is None:
            self.step()

    def start(self, task: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(task, *arguments)

    def step(self, rounds: int = 1) -> None:
        """Every task that can goes on to its next checkpoint."""
        for _ in range(rounds):
            if self._outcome is None:
                self._rounds.popleft()()
            if self._outcome is not None:
                self._outcome.unwrap()

    def pass_seconds(self, seconds: float) -> None:
        """Time passes; who waits for it notices in the next step."""
        self._clock.jump(seconds)

    def stop(self) -> None:
        """Cancel what is left, and raise what it raises."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        while self._outcome is None:
            self._rounds.popleft()()
        self._outcome.unwrap()

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                await trio.lowlevel.checkpoint()

    def _done(self, result: "outcome.Outcome[None]") -> None:
        self._outcome = result
