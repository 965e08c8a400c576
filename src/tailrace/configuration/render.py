"""The effective configuration as a TOML file that could be read again, except that secrets are masked.

Masked are auth.secret, the librdkafka settings that carry a secret by their name, and the user part of a URL.
"""

import re
from collections.abc import Iterator
from datetime import date, time
from typing import Any, Final

from msgspec import inspect

from tailrace.config import Config, Rule, Section
from tailrace.configuration.keys import SECTIONS, section_fields
from tailrace.configuration.setting import quoted, written_path
from tailrace.units import write_duration, write_size

MASK: Final = "********"
# Of librdkafka's CONFIGURATION.md: every property that holds a secret itself, not the name of a file that does.
_SECRET: Final = re.compile(r"password|passphrase|secret|(^|\.)key\.pem$|^ssl_key$|oauthbearer\.config$|\.jaas\.")
_USER_IN_URL: Final = re.compile(r"(?<=://)[^/?#\s]*(?=@)")


def render(config: Config) -> str:
    """TOML, one section after the other in the order of docs and defaults."""
    return "\n".join("\n".join(block) + "\n" for block in _blocks(config))


def _blocks(config: Config) -> Iterator[list[str]]:
    for name in Config.__struct_fields__:
        if name in SECTIONS:
            yield [f"[{name}]", *_section(getattr(config, name))]
        elif name == "kafka":
            yield [
                "[kafka]",
                *(f"{quoted(key)} = {_value(_masked(key, value))}" for key, value in config.kafka.items()),
            ]
        elif name == "topics":
            yield from (
                [f"[{written_path(('topics', key))}]", *_section(topic)] for key, topic in config.topics.items()
            )
        else:
            yield from (["[[rules]]", *_section(rule)] for rule in config.rules)


def _section(section: Section) -> Iterator[str]:
    for key, field in section_fields(type(section)).items():
        value = getattr(section, key)
        if value is None and isinstance(section, Rule):
            continue  # a rule without keys; `keys = false` says nothing
        yield f"{key} = {_field(value, inspect.type_info(field.type))}"


def _field(value: object, type_: inspect.Type) -> str:
    extra = _extra(type_)
    if value is None or isinstance(value, bool):
        return _value(bool(value))
    if extra.get("secret"):
        return _value(MASK)
    if extra.get("unit") == "seconds" and isinstance(value, float):
        return quoted(write_duration(value))
    if extra.get("unit") == "bytes" and isinstance(value, int):
        return quoted(write_size(value))
    return _value(_without_user(value))


def _extra(type_: inspect.Type) -> dict[str, Any]:
    members = type_.types if isinstance(type_, inspect.UnionType) else (type_,)
    return {
        key: value
        for member in members
        if isinstance(member, inspect.Metadata)
        for key, value in (member.extra or {}).items()
    }


def _masked(key: str, value: object) -> object:
    return MASK if _SECRET.search(key) else _without_user(value)


def _without_user(value: object) -> object:
    return _USER_IN_URL.sub(MASK, value) if isinstance(value, str) else value


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{written_path((str(key),))} = {_value(item)}" for key, item in value.items()) + " }"
    return value.isoformat() if isinstance(value, date | time) else repr(value)
