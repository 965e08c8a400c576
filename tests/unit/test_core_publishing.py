"""What a record to be published may be, and the bytes that may be on their way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.config import Publish as Limits
from tailrace.core.commands import Publish
from tailrace.core.publishing import RECORD_BYTES, Room, check, size_of
from tailrace.errors import CommandError

LIMITS = Limits(max_key_bytes=4, max_headers=2, max_header_bytes=10)


@pytest.mark.parametrize(
    "record",
    [
        Publish(1, "t", b"v"),
        Publish(1, "t", None),
        Publish(1, "t", b"", b""),
        Publish(1, "t", b"v", b"four", None, (("ab", b"abc"), ("é", b"abc"))),
        Publish(1, "t", b"v", None, None, (("", None), ("", b""))),
    ],
)
def test_what_may_be_published(record: Publish) -> None:
    check(record, LIMITS)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Publish(1, "t", b"v", b"fiver"), "a key of 5 bytes, 4 are allowed"),
        (Publish(1, "t", b"v", headers=(("a", b""),) * 3), "3 headers, 2 are allowed"),
        (Publish(1, "t", b"v", headers=(("é", b"123456789"),)), "headers of 11 bytes, 10 are allowed"),
    ],
)
def test_what_is_too_large_names_the_limit(record: Publish, message: str) -> None:
    with pytest.raises(CommandError) as refused:
        check(record, LIMITS)
    assert (refused.value.code, refused.value.message) == ("too_large", message)
    check(record, Limits(max_key_bytes=None, max_headers=None, max_header_bytes=None))


def test_a_name_that_librdkafka_would_cut() -> None:
    with pytest.raises(CommandError, match=r"U\+0000") as refused:
        check(Publish(1, "t", b"v", headers=(("a\0b", b""),)), LIMITS)
    assert refused.value.code == "bad_request"


def test_the_size_counts_every_byte() -> None:
    record = Publish(1, "t", b"12345", b"123", headers=(("ab", b"1"), ("c", None)))
    assert size_of(record) == RECORD_BYTES + 5 + 3 + 2 + 1 + 1
    assert size_of(Publish(1, "t", None)) == RECORD_BYTES


@given(st.integers(1, 100), st.lists(st.tuples(st.integers(1, 60), st.booleans())))
def test_room_is_never_exceeded_but_by_a_single_record(most: int, steps: list[tuple[int, bool]]) -> None:
    room, taken = Room(most), []
    for size, give in steps:
        if give and taken:
            room.give_back(taken.pop())
        fits = not taken or sum(taken) + size <= most
        assert room.take(size) is fits
        taken += [size] if fits else []
        assert room.bytes == sum(taken)
        assert room.bytes <= most or len(taken) == 1
