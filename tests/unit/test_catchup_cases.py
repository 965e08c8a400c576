"""What the model of catching up has found, one case each, and meetings that deserve a name. Everything as in the model
(tests/model/), but told step by step."""

from collections.abc import Iterator

import pytest
from tests.model.book import Book
from tests.model.world import World


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_live_is_said_though_its_goal_is_in_a_partition_that_is_gone(world: World) -> None:
    """The topic is recreated with fewer partitions while it is caught up with."""
    world.log.grow()
    world.log.append(1, None, 0)
    book = world.subscribe(world.connect(), Book(world.log, "earliest", None, "wait"))
    world.loop.step(20)
    assert world.gateway.blocks.waiting
    world.log.recreate(1)
    world.come_to_rest()
    assert book.live


def test_a_new_partition_that_retention_has_cut_is_named(world: World) -> None:
    """It grew and lost its first records before anybody looked: who is live is told as well as who resumed there."""
    live = world.subscribe(world.connect(), Book(world.log, "latest", None, "wait"))
    for _ in range(9):
        world.go_on()
    world.log.grow()
    world.log.append(1, None, 0)
    world.log.append(1, None, 0)
    world.log.retain(1, 1)
    resumed = world.subscribe(world.connect(), Book(world.log, {"offsets": {"0": 0}}, None, "wait"))
    world.come_to_rest()
    for book in (live, resumed):
        assert sum("'from': 0, 'to': 1, 'next': 1, 'reason': 'retention'" in told for told in book.history) == 1
        assert book.received == 1
