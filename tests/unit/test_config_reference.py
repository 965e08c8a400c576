"""docs/configuration.md is what the code says."""

from pathlib import Path

import pytest

from tailrace.config import Count, KafkaValue, Seconds, Size
from tailrace.configuration.reference import MEANINGS, form, keys, reference

DOCUMENT = Path(__file__).parents[2] / "docs/configuration.md"


def test_every_key_is_explained_and_no_other() -> None:
    assert list(MEANINGS) == list(keys()), "configuration/reference.py says what each key does, in their order"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), "make docs"


@pytest.mark.parametrize(
    ("type_", "found"),
    [
        (Seconds, "duration"),
        (Size | None, "size or `false`"),
        (bool | Seconds, "`true`, `false` or duration"),
        (Count | None, "number or `false`"),
        (tuple[str, ...], "list of text"),
        (tuple[str, ...] | None, "list of text or `false`"),
        (bool, "`true`, `false`"),
        (KafkaValue, "text or number or `true`, `false`"),
    ],
)
def test_forms(type_: object, found: str) -> None:
    assert sorted(form(type_).split(" or ")) == sorted(found.split(" or "))
