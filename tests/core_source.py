"""The compiled core's source as one text, its parts in place: for tests that build it with something changed in it."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src"
INCLUDE = re.compile(r'^include "(\w+\.pxi)"$', re.MULTILINE)


def core_source(name: str = "_fanout.pyx") -> str:
    """As the compiler reads it."""
    return INCLUDE.sub(lambda part: core_source(part[1]), (FOLDER / name).read_text(encoding="utf-8"))
