"""One answer for many, however they come, go, fail or are cancelled."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace.gateway.shared import KEPT_SECONDS, Fresh, Once


class Question:
    """Answers with the number of the asking when it is told to; `asked`, `cancelled` and `ended` count."""

    def __init__(self) -> None:
        self.asked = self.cancelled = self.ended = 0
        self._answer: trio.Event = trio.Event()
        self._outcome: Callable[[int], Any] = lambda number: number

    async def __call__(self) -> Any:
        self.asked += 1
        number = self.asked
        try:
            await self._answer.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return self._outcome(number)

    async def answer(self, outcome: Callable[[int], Any] = lambda number: number) -> None:
        """What is asked now, and nothing that is asked later."""
        self._outcome = outcome
        answered, self._answer = self._answer, trio.Event()
        answered.set()
        await wait_all_tasks_blocked()

    def end(self) -> None:
        """It was told that it is over."""
        self.ended += 1


def refuse(number: int) -> None:
    raise LookupError(number)


class Askers:
    """Tasks that want the answer of `shared`, and what each got, by name."""

    def __init__(self, nursery: trio.Nursery, shared: Once[Any] | Fresh[Any]) -> None:
        self._nursery, self.shared = nursery, shared
        self.got: dict[str, Any] = {}
        self.scopes: dict[str, trio.CancelScope] = {}

    async def ask(self, *names: str) -> None:
        for name in names:
            self._nursery.start_soon(self._ask, name)
            await wait_all_tasks_blocked()

    async def leave(self, name: str) -> None:
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()

    async def _ask(self, name: str) -> None:
        with trio.CancelScope() as self.scopes[name]:
            try:
                self.got[name] = await self.shared.get()
            except LookupError as error:
                self.got[name] = error


@asynccontextmanager
async def once() -> AsyncIterator[tuple[Question, Askers]]:
    """Until all have their answers, as `fresh`."""
    question = Question()
    async with trio.open_nursery() as nursery:
        yield question, Askers(nursery, Once(question, question.end))


@asynccontextmanager
async def fresh() -> AsyncIterator[tuple[Question, Askers]]:
    question = Question()
    async with trio.open_nursery() as nursery:
        yield question, Askers(nursery, Fresh(question))


async def test_once_is_asked_once() -> None:
    async with once() as (question, askers):
        assert question.asked == 0
        await askers.ask("a", "b", "c")
        assert question.asked == 1
        await question.answer()
        await askers.ask("d")
    assert askers.got == dict.fromkeys("abcd", 1)
    assert question.asked == 1


async def test_once_fails_for_all() -> None:
    async with once() as (question, askers):
        await askers.ask("a", "b")
        await question.answer(refuse)
        await askers.ask("c")
    assert [repr(error) for error in askers.got.values()] == ["LookupError(1)"] * 3


async def test_once_goes_on_whoever_leaves(mock_clock: MockClock) -> None:
    """Nobody asks again: neither who waits, nor who comes when all had left."""
    async with once() as (question, askers):
        await askers.ask("a", "b")
        await askers.leave("a")
        await askers.leave("b")
        await askers.ask("c")
        mock_clock.jump(2 * KEPT_SECONDS)
        await wait_all_tasks_blocked()
        assert (question.asked, question.cancelled) == (1, 0)
        await question.answer()
    assert askers.got == {"c": 1}


async def test_once_is_found_though_nobody_waits(mock_clock: MockClock) -> None:
    async with once() as (question, askers):
        await askers.ask("a")
        await askers.leave("a")
        assert question.ended == 0
        await question.answer()
        await askers.ask("b")
    assert askers.got == {"b": 1}
    assert (question.asked, question.cancelled, question.ended) == (1, 0, 1)


async def test_once_is_given_up_when_nobody_comes_back(mock_clock: MockClock) -> None:
    async with once() as (question, askers):
        await askers.ask("a")
        await askers.leave("a")
        mock_clock.jump(KEPT_SECONDS)
        await wait_all_tasks_blocked()
    assert (question.asked, question.cancelled, question.ended) == (1, 1, 1)


async def test_once_is_asked_again_for_who_comes_as_it_is_given_up(mock_clock: MockClock) -> None:
    async with once() as (question, askers), trio.open_nursery() as nursery:
        await askers.ask("a")
        await askers.leave("a")
        assert isinstance(askers.shared, Once)
        assert askers.shared._scope is not None
        askers.shared._scope.cancel()

        @nursery.start_soon
        async def answer() -> None:
            await wait_all_tasks_blocked()
            await question.answer()

        assert await askers.shared.get() == 2
    assert (question.asked, question.cancelled, question.ended) == (2, 1, 1)


async def test_an_error_does_not_grow_with_those_it_is_raised_for() -> None:
    """One traceback for a thousand clients would hold the frames of all of them."""

    async def ask() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError

    shared = Once(ask)
    depths = []
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            await shared.get()
        depths.append(len(caught.traceback))
    assert len(set(depths[1:])) == 1
    assert depths[2] <= depths[0]


async def test_fresh_answers_are_asked_for_after_the_asking() -> None:
    """Who comes while one is under way shares the next, for that one may be from before his time."""
    async with fresh() as (question, askers):
        await askers.ask("a")
        await askers.ask("b", "c")
        assert question.asked == 1
        await question.answer()
        assert askers.got == {"a": 1}
        await askers.ask("d")
        assert question.asked == 2
        await question.answer()
        assert askers.got == {"a": 1, "b": 2, "c": 2}
        await question.answer()
        assert askers.got == {"a": 1, "b": 2, "c": 2, "d": 3}


async def test_fresh_fails_for_those_who_shared_it() -> None:
    async with fresh() as (question, askers):
        await askers.ask("a", "b", "c")
        await question.answer()
        await question.answer(refuse)
        await askers.ask("d")
        await question.answer()
    assert {name: repr(got) for name, got in askers.got.items()} == {
        "a": "1",
        "b": "LookupError(2)",
        "c": "LookupError(2)",
        "d": "3",
    }


@given(st.lists(st.tuples(st.sampled_from(["ask", "leave", "answer", "fail"]), st.integers(0, 9)), max_size=40))
def test_fresh_is_never_stale(steps: list[tuple[str, int]]) -> None:
    """Whoever gets an answer gets that of a question put after he came, and nobody who stays is forgotten."""

    async def main() -> None:
        asked_before: dict[str, int] = {}
        async with fresh() as (question, askers):
            for step, number in steps:
                if step == "ask":
                    name = f"{len(asked_before)}"
                    asked_before[name] = question.asked
                    await askers.ask(name)
                elif step == "leave" and asked_before:
                    await askers.leave(f"{number % len(asked_before)}")
                elif step in ("answer", "fail"):
                    await question.answer(refuse if step == "fail" else lambda number: number)
            for _ in asked_before:
                await question.answer()
        for name, before in asked_before.items():
            got = askers.got.get(name)
            if got is None:
                assert askers.scopes[name].cancelled_caught
            else:
                assert (got.args[0] if isinstance(got, LookupError) else got) > before
        assert question.asked <= len(asked_before) + question.cancelled + 1

    trio.run(main)


class Rounds(trio.abc.Instrument):
    """Of the event loop, counted."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_those_who_share_a_fresh_answer_have_it_one_a_round() -> None:
    question, rounds, had = Question(), Rounds(), []
    shared = Fresh(question)

    async def ask() -> None:
        await shared.get()
        had.append(rounds.count)

    trio.lowlevel.add_instrument(rounds)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await question.answer()
    trio.lowlevel.remove_instrument(rounds)
    assert question.asked == 1
    assert len(set(had)) == 10
