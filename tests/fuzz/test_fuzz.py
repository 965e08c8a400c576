"""Fuzzing: the corpus in every run, and in `make soak` a minute of mutations of it for each target.

A finding goes into the corpus with its fix: hypothesis prints the input, smallest first. `FUZZ_SECONDS` in
the environment fuzzes longer. The compiled rule of JSON and the tail are fuzzed under AddressSanitizer as well
(tests/sanitizer).
"""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS

CORPUS = {name: sorted((Path(__file__).parent / "corpus" / name).iterdir()) for name in TARGETS}
SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
LARGEST_BYTES = 20_000
AT_A_TIME = 2000  # examples, between two looks at the clock
INTERESTING = [
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\r\n",
    b"\r\n\r\n",
    b'"',
    b"[" * 600,
    b"\xed\xa0\x80",
    b"%00",
    b"1e999",
]


@pytest.mark.parametrize(("name", "file"), [(name, file) for name in TARGETS for file in CORPUS[name]], ids=str)
def test_the_corpus(name: str, file: Path) -> None:
    TARGETS[name](file.read_bytes())


@st.composite
def mutated(draw: st.DrawFn, corpus: list[bytes]) -> bytes:
    """One of the corpus with a few edits; half of what is put in comes from another of them."""
    data = bytearray(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(0, 6))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 16))
        other = draw(st.sampled_from(corpus))
        start = draw(st.integers(0, len(other)))
        put = draw(
            st.one_of(
                st.just(b""),
                st.sampled_from(INTERESTING),
                st.binary(max_size=8),
                st.just(other[start : start + 40]),
                st.just(bytes(data[at : at + length]) * 8),
            )
        )
        data[at : at + length] = put
    return bytes(data[:LARGEST_BYTES])


def fuzz(target: Callable[[bytes], None], inputs: st.SearchStrategy[bytes], seconds: float, start: int) -> int:
    """How many inputs it was; one round at least. Raises what the target raises, for the smallest found. start: the
    seed."""
    tried = 0

    def counted(data: bytes) -> None:
        nonlocal tried
        tried += 1
        target(data)

    until = time.monotonic() + seconds
    limits = settings(
        max_examples=AT_A_TIME, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    for round_ in itertools.count(1):
        seed(start + round_)(limits(given(inputs)(counted)))()
        if time.monotonic() > until:
            return tried
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of(name: str) -> None:
    corpus = [file.read_bytes() for file in CORPUS[name]]
    tried = fuzz(TARGETS[name], mutated(corpus), SECONDS, start=int.from_bytes(os.urandom(4), "big"))
    print(f"{name}: {tried} inputs")
    assert tried


def test_a_fault_would_be_found() -> None:
    """In a target that does not like one byte of the corpus to be doubled."""

    def picky(data: bytes) -> None:
        assert b"ss" not in data

    with pytest.raises(AssertionError):
        fuzz(picky, mutated([b"asdf", b"s"]), 0, start=1)
