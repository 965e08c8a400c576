"""One setting: a key, what was written for it, and where; and keys in TOML's own notation, as faults name them."""

import re
import tomllib
from collections.abc import Iterator
from typing import Final

import msgspec

Path = tuple[str, ...]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Setting(msgspec.Struct, frozen=True):
    """`value` is what TOML makes of the text; `origin` is "gateway.toml:3", an environment variable or a flag;
    `inside`: the origins of what is below it, where it is a list of tables in a file."""

    path: Path
    value: object
    origin: str
    inside: dict[Path, str] = {}

    def origin_of(self, below: Path) -> str:
        """Where that was set, or as near to it as is known."""
        known = (self.inside.get(below[:length]) for length in range(len(below), 0, -1))
        return next((origin for origin in known if origin is not None), self.origin)

    def fault(self, what: str) -> str:
        """One line: the key, where it was set, and what is wrong."""
        return fault(written_path(self.path), self.origin, what)


def fault(key: str, origin: str, what: str) -> str:
    """The form of every fault."""
    return f"{key} ({origin}): {what}"


def written_path(path: Path) -> str:
    """`("topics", "a.b", "value")` is `topics."a.b".value`."""
    return ".".join(part if _BARE.fullmatch(part) else quoted(part) for part in path)


def quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, section String)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'


def split_assignment(text: str) -> tuple[Path, str]:
    """`KEY=VALUE` cut at the first equals sign outside quotes; raises ValueError when there is no key."""
    for match in re.finditer("=", text):
        try:
            document = tomllib.loads(text[: match.start()] + "=0")
        except tomllib.TOMLDecodeError:
            continue
        if "\n" not in text[: match.start()]:
            return next(leaves(document))[0], text[match.end() :].strip()
    raise ValueError("expected SECTION.KEY=VALUE")


def leaves(document: dict[str, object], above: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every value in a nested table with its path; an empty table is a leaf: `[topics.orders]` alone says something."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value
