"""On which line of a TOML file a key stands, for faults; tomllib does not tell.

Reads headers and the beginnings of `key = ...` lines, with tomllib for their syntax. Lines inside multi-line values
may be taken for keys; that is harmless, since only paths that the parsed document has are looked up, and a path not
found is named without a line.
"""

import tomllib

from tailrace.configuration.setting import Path, split_assignment


def line_numbers(text: str) -> dict[Path, int]:
    """The first line of each table and key, counted from 1."""
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _header(line)
        if header is not None:
            table = header
            lines.setdefault(table, number)
            continue
        try:
            key, _ = split_assignment(line)
        except ValueError:
            continue
        lines.setdefault(table + key, number)
    return lines


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
