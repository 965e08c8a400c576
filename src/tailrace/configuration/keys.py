"""Which keys there are, and of what type: read off the structs of tailrace.config, so that a key is written down once.

A path is either a known key, found here with the type of its value, or a fault that says what was probably meant.
"""

import difflib
from typing import Any, Final

import msgspec
from msgspec.structs import FieldInfo, fields

from tailrace.config import Config, KafkaValue, Rule, Section, Topic
from tailrace.configuration.setting import Path, written_path


class UnknownKey(ValueError):
    """What is wrong with a path, as a phrase that can follow it."""


class Key(msgspec.Struct, frozen=True):
    """`path` in canonical form, and the `type` msgspec is to make of the value; None: only an empty table will do."""

    path: Path
    type: Any


def section_fields(section: type[Section]) -> dict[str, FieldInfo]:
    """The keys of a section by name."""
    return {field.name: field for field in fields(section)}


SECTIONS: Final[dict[str, type[Section]]] = {
    field.name: field.type
    for field in fields(Config)
    if isinstance(field.type, type) and issubclass(field.type, Section)
}
_KNOWN: Final = [f"{name}.{key}" for name, section in SECTIONS.items() for key in section_fields(section)]
_TABLES: Final = [*SECTIONS, "kafka", "topics", "rules"]


def find_key(path: Path) -> Key:
    """The key that `path` names; raises UnknownKey."""
    section, *rest = path
    if section == "kafka" and rest:
        return Key(("kafka", ".".join(rest)), KafkaValue)  # [kafka] bootstrap.servers without quotes means the same
    if section == "topics" and rest:
        return _topic_key(path)
    if section == "rules" and not rest:
        return Key(path, tuple[Rule, ...])
    if section in _TABLES and not rest:
        return Key(path, None)
    if section in SECTIONS and len(rest) == 1 and rest[0] in section_fields(SECTIONS[section]):
        return Key(path, section_fields(SECTIONS[section])[rest[0]].type)
    raise UnknownKey(_suggest(path))


def _topic_key(path: Path) -> Key:
    if len(path) == 2:
        return Key(path, None)
    if len(path) > 3:
        name = written_path(("topics", ".".join(path[1:-1]), path[-1]))
        raise UnknownKey(f"unknown key; a topic's name that has dots is quoted: {name}")
    known = section_fields(Topic)
    if path[2] not in known:
        raise UnknownKey("unknown key" + closest(path[2], list(known), prefix=written_path(path[:2]) + "."))
    return Key(path, known[path[2]].type)


def _suggest(path: Path) -> str:
    if len(path) > 2 and path[:2] in {tuple(key.split(".")) for key in _KNOWN}:
        return f"unknown key: {written_path(path[:2])} takes a value, not a table"
    if path[0] in SECTIONS:
        return "unknown key" + closest(
            ".".join(path[1:]), list(section_fields(SECTIONS[path[0]])), prefix=f"{path[0]}."
        )
    return "unknown key" + closest(".".join(path), _KNOWN if len(path) > 1 else _TABLES)


def closest(name: str, known: list[str], prefix: str = "") -> str:
    """`, did you mean X?`, or nothing when no known name is near (difflib's ratio 0.6)."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f", did you mean {prefix}{near[0]}?" if near else ""
