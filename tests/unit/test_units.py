"""units.py: what is a duration or a size, what is not, and that writing one and reading it gives it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.units import BYTES, SECONDS, UnitError, duration, size, whole_number, write_duration, write_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("25s", 25.0), ("250ms", 0.25), ("1.5h", 5400.0), ("2m", 120.0), ("7d", 604800.0), ("0s", 0.0), (" 5 s ", 5.0)],
)
def test_durations(written: str, seconds: float) -> None:
    assert duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "count"),
    [("512B", 512), ("64KiB", 65536), ("1.5GiB", 1610612736), ("1kB", 1000), ("2MB", 2_000_000), ("1 MiB", 1048576)],
)
def test_sizes(written: str, count: int) -> None:
    assert size(written) == count


@pytest.mark.parametrize(("written", "number"), [("0", 0), ("007", 7), ("9" * 19, 10**19 - 1)])
def test_whole_numbers(written: str, number: int) -> None:
    assert whole_number(written) == number


@pytest.mark.parametrize(
    "written", ["", "-1", "+1", "1_0", " 1", "1\n", "1.0", "\u0663", "\u00b3", "1" * 20, "1" * 5000]
)
def test_what_is_no_whole_number(written: str) -> None:
    assert whole_number(written) is None


@pytest.mark.parametrize("read", [duration, size])
@pytest.mark.parametrize(
    "written",
    ["", "s", "B", "five s", "-1s", "-1B", "1e3s", "infs", "nan", "1.s", "1,5h", "1h30m", "1_0s", "٣s", "1" * 20 + "s"],
)
def test_nonsense_is_refused_with_an_example(read: object, written: str) -> None:
    assert callable(read)
    with pytest.raises(UnitError, match=r"is not a (duration|size): it is written like"):
        read(written)


@pytest.mark.parametrize(
    ("read", "written", "says"),
    [
        (duration, 30, 'has no unit: a duration is written like "25s"'),
        (size, 1.5, 'has no unit: a size is written like "1MiB"'),
        (duration, True, "expected a duration"),
        (size, None, "expected a size"),
        (duration, ["1s"], "expected a duration"),
        (duration, "1MiB", "no known unit: use one of ms, s, m, h, d"),
        (size, "1mib", "no known unit: use one of B, kB"),
        (size, "0.3B", "not a whole number of bytes"),
        (size, "99999999TiB", "too large"),
        (duration, "36601d", "more than a century"),
    ],
)
def test_a_refusal_says_why(read: object, written: object, says: str) -> None:
    assert callable(read)
    with pytest.raises(UnitError, match=says):
        read(written)


@given(st.integers(0, 36600), st.sampled_from(list(SECONDS)))
def test_a_duration_survives_writing_and_reading(number: int, unit: str) -> None:
    seconds = duration(f"{number}{unit}")
    assert duration(write_duration(seconds)) == seconds


@given(st.decimals(0, 10**6, places=9))
def test_a_fraction_of_a_second_survives_too(number: object) -> None:
    seconds = duration(f"{number:f}s")
    assert duration(write_duration(seconds)) == pytest.approx(seconds, abs=1e-12)


@given(st.integers(1, 2**63 - 1))
def test_a_size_survives_writing_and_reading(count: int) -> None:
    assert size(write_size(count)) == count


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_unit_error(text: str) -> None:
    for read in (duration, size):
        try:
            assert read(text) >= 0
        except UnitError:
            pass


def test_the_largest_unit_that_is_whole_is_written() -> None:
    assert write_duration(7200.0) == "2h"
    assert write_duration(90.0) == "90s"
    assert write_size(3 * BYTES["MiB"]) == "3MiB"
    assert write_size(1000) == "1000B"
