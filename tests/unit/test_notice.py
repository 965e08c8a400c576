"""The first signal is notice to leave, and those after it are taken too."""

import signal
from collections.abc import Iterator

import pytest
import trio.testing

from tailrace.gateway.notice import notices

LEAVE = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def raised_again() -> Iterator[list[int]]:
    """The signals that reach whoever was there before, in place of the end of the test run."""
    found: list[int] = []
    before = {number: signal.signal(number, lambda number, _: found.append(number)) for number in LEAVE}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", LEAVE)
async def test_the_first_is_told_and_the_others_are_taken(first: signal.Signals, raised_again: list[int]) -> None:
    async with notices() as notice:
        signal.raise_signal(first)
        assert await notice.wait() == first.name
        for number in LEAVE * 2:
            signal.raise_signal(number)
            await trio.testing.wait_all_tasks_blocked()
        assert await notice.wait() == first.name
    assert raised_again == []


async def test_nobody_is_told_anything(raised_again: list[int]) -> None:
    async with notices():
        await trio.testing.wait_all_tasks_blocked()
    signal.raise_signal(signal.SIGTERM)
    assert raised_again == [signal.SIGTERM], "who was there before is there again"
