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
