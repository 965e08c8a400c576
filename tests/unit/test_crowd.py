"""How many connections an address has."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.crowd import Crowd


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_each_has_at_most_so_many_and_nothing_is_kept(most: int, steps: list[tuple[str, bool]]) -> None:
    crowd, inside = Crowd(most), Counter[str]()
    for address, comes in steps:
        if comes:
            assert crowd.enter(address) is (inside[address] < most)
            inside[address] = min(most, inside[address] + 1)
        elif inside[address]:
            crowd.leave(address)
            inside[address] -= 1
    for address, count in inside.items():
        for _ in range(count):
            crowd.leave(address)
    assert len(crowd) == 0


def test_any_number_is_not_even_counted() -> None:
    crowd = Crowd(None)
    assert all(crowd.enter("a") for _ in range(1000))
    assert len(crowd) == 0
    crowd.leave("a")
