"""Types of the compiled rule of JSON values, src/_json.pyx, where the docstrings are."""

from typing import Final

MAX_DEPTH: Final[int]
MAX_NUMBER_DIGITS: Final[int]

def is_json(value: bytes) -> bool: ...
