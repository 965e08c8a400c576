"""Subscriptions that come and go beside others that stay; the reference is what any bookkeeping in Python needs."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.beside import beside
from benchmarks.harness.crowd import drained
from tailrace import _fanout

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("compiled")]

STAYING, COMING = 5000, 1000


@pytest.mark.parametrize("keyed", [False, True], ids=["whole", "keyed"])
def test_subscribe_and_leave(benchmark: BenchmarkFixture, rounds: int, keyed: bool) -> None:
    """A thousand subscriptions, while five thousand are there."""
    with drained(1) as [connection]:
        line, tail = _fanout.Line(connection.fileno()), _fanout.Tail(_fanout.VALUE, [0])
        names = [frozenset([b"k%05d" % number]) if keyed else None for number in range(STAYING + COMING)]
        staying = [_fanout.Subscription(line, tail, 1, keys) for keys in names[:STAYING]]
        groups: dict[object, set[int]] = {}

        def ours() -> None:
            for subscription in [_fanout.Subscription(line, tail, 1, keys) for keys in names[STAYING:]]:
                subscription.close()

        def reference() -> None:
            for number, keys in enumerate(names[STAYING:]):
                groups.setdefault(keys, set()).add(number)
            for number, keys in enumerate(names[STAYING:]):
                groups[keys].discard(number)

        beside(benchmark, ours, reference, rounds, of="a set of numbers in a dict, in Python")
        assert tail.subscribers == len(staying)
