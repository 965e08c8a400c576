"""Who waits for which offset: served by ranges, found from any place on."""

from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.wants import Wants

OFFSETS = st.integers(0, 30)


def test_a_range_takes_those_in_it_lowest_first() -> None:
    wants: Wants[str] = Wants()
    for offset, ticket in [(7, "g"), (3, "c"), (5, "e"), (10, "j"), (3, "C")]:
        wants.add(offset, ticket)
    taken = wants.take(3, 10)
    assert (set(taken[:2]), taken[2:]) == ({"c", "C"}, ["e", "g"])
    assert wants.take(0, 100) == ["j"]
    assert not wants


def test_what_was_taken_or_never_came_is_discarded_in_silence() -> None:
    wants: Wants[str] = Wants()
    wants.discard(1, "nobody")
    wants.add(1, "a")
    wants.discard(1, "b")
    assert wants.first(0) == 1
    wants.discard(1, "a")
    assert wants.first(0) is None


@given(st.lists(st.tuples(OFFSETS, st.integers(0, 3), st.booleans())), OFFSETS, OFFSETS)
def test_like_a_set_of_pairs(moves: list[tuple[int, int, bool]], start: int, next: int) -> None:
    wants: Wants[tuple[int, int]] = Wants()
    pairs: set[tuple[int, int]] = set()
    for offset, number, comes in moves:
        (wants.add if comes else wants.discard)(offset, (offset, number))
        (pairs.add if comes else pairs.discard)((offset, number))
    assert wants.first(start) == min((offset for offset, _ in pairs if offset >= start), default=None)
    taken = wants.take(start, next)
    assert sorted(taken) == sorted(pair for pair in pairs if start <= pair[0] < next)
    assert [offset for offset, _ in taken] == sorted(offset for offset, _ in taken)
    assert sorted(wants.take(0, 100)) == sorted(pairs - set(taken))
