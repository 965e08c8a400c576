"""When all objects are looked through for garbage: not because many have come, but because many have gone."""

import gc

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tailrace.gateway.garbage import LEAST_ENDED, LOOK_SECONDS, OBJECTS, SPARE_OBJECTS, collect_old, due

FLEET = 10_000


@pytest.mark.parametrize(
    ("ended", "open", "stayed", "expected"),
    [
        (0, 0, 0, False),
        (0, FLEET, 200 * FLEET, False),  # it has come
        (FLEET - 1, FLEET, 0, False),
        (FLEET, FLEET, 0, True),
        (FLEET, 0, 0, True),  # it has gone
        (LEAST_ENDED - 1, 0, 0, False),
        (LEAST_ENDED, 0, 0, True),
        (0, 0, SPARE_OBJECTS, False),
        (0, 0, SPARE_OBJECTS + 1, True),  # of nobody who is there
        (0, FLEET, OBJECTS * FLEET + SPARE_OBJECTS + 1, True),
    ],
)
def test_due(ended: int, open: int, stayed: int, expected: bool) -> None:
    assert due(ended, open, stayed) is expected


class Fleet:
    """Connections, and how often all objects were looked through."""

    def __init__(self) -> None:
        self.ended = self.open = self.collected = 0

    def collect(self) -> None:
        self.collected += 1

    async def run(self) -> None:
        await collect_old(lambda: self.ended, lambda: self.open, self.collect)


async def test_once_for_all_who_have_ended(autojump_clock: trio.testing.MockClock) -> None:
    fleet = Fleet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.run)
        await wait_all_tasks_blocked()
        fleet.open = FLEET
        await trio.sleep(10 * LOOK_SECONDS)
        assert fleet.collected == 0
        fleet.open, fleet.ended = 0, FLEET
        await trio.sleep(10 * LOOK_SECONDS)
        assert fleet.collected == 1
        fleet.ended += LEAST_ENDED
        await trio.sleep(10 * LOOK_SECONDS)
        assert fleet.collected == 2
        nursery.cancel_scope.cancel()


async def test_python_looks_only_among_young_ones_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    before = gc.get_threshold()
    fleet = Fleet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.run)
        await wait_all_tasks_blocked()
        older = [each["collections"] for each in gc.get_stats()[1:]]
        stay = [[] for _ in range(50 * gc.get_threshold()[0])]
        assert [each["collections"] for each in gc.get_stats()[1:]] == older
        assert gc.get_count()[1] >= 40
        del stay
        nursery.cancel_scope.cancel()
    assert gc.get_threshold() == before
