"""printable.py: nothing a terminal or a line-wise reader acts upon comes through; everything else does."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.printable import printable


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain, größer, 日本 🙂", "plain, größer, 日本 🙂"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u2028b", "a\\u2028b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_examples(text: str, printed: str) -> None:
    assert printable(text) == printed


@given(st.text())
def test_one_line_without_controls_that_encodes(text: str) -> None:
    printed = printable(text)
    assert len(printed.splitlines()) <= 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in printed)
    printed.encode()


@given(st.text())
def test_what_is_safe_stays_and_twice_is_once(text: str) -> None:
    assert printable(printable(text)) == printable(text)
