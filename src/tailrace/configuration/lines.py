"""On which line of a TOML file a key stands, for faults; tomllib does not tell.

Reads headers and the beginnings of `key = ...` lines, with tomllib for their syntax. Lines inside multi-line values
may be taken for keys; that is harmless, since only paths that the parsed document has are looked up, and a path not
found is named without a line. A table of a list (`[[rules]]`) has its number for a name: `("rules", "0", "allow")`.
"""

import tomllib
from collections import Counter

from tailrace.configuration.setting import Path, split_assignment


def line_numbers(text: str) -> dict[Path, int]:
    """The first line of each table and key, counted from 1."""
    lines: dict[Path, int] = {}
    table: Path = ()
    lists: Counter[Path] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _header(line)
        if header is not None:
            lines.setdefault(header, number)
            if line.lstrip().startswith("[["):
                lists[header] += 1
            table = _numbered(header, lists)
            lines.setdefault(table, number)
            continue
        try:
            key, _ = split_assignment(line)
        except ValueError:
            continue
        lines.setdefault(table + key, number)
    return lines


def _numbered(header: Path, lists: Counter[Path]) -> Path:
    """What a header means behind so many of a list: its newest table, or one inside that."""
    top = header[:1]
    return (*top, str(lists[top] - 1), *header[1:]) if lists[top] else header


def _header(line: str) -> Path | None:
    if not line.lstrip().startswith("["):
        return None
    try:
        level: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    path: Path = ()
    while isinstance(level, dict) and level:
        key, level = next(iter(level.items()))
        path = (*path, key)
    return path
