"""From settings to a Config: unknown keys, units, `false` for off, types; every fault is found, not only the first.

Later settings win over earlier ones, key by key; `rules` is one value and replaced as a whole. A value that is faulty
is a fault even when a later one wins over it: a file that is only right together with a certain flag is not right.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from tailrace.address import split_address
from tailrace.config import Config, Rule, Section, Topic
from tailrace.configuration.keys import SECTIONS, Key, UnknownKey, closest, find_key, section_fields
from tailrace.configuration.setting import Path, Setting, fault
from tailrace.units import UnitError, duration, size


def decode(settings: Iterable[Setting], faults: list[str]) -> tuple[Config, set[str]]:
    """The configuration, and the sections of what is faulty, which is left at its default, and told in `faults`."""
    values: dict[Path, object] = {}
    unsound: set[str] = set()
    for setting in settings:
        found = len(faults)
        try:
            key = find_key(setting.path)
            value = _rules(setting, faults) if key.path == ("rules",) else convert(setting.value, key)
        except (UnknownKey, UnitError) as error:
            faults.append(setting.fault(str(error)))
        else:
            values[key.path] = value
        if len(faults) > found:
            unsound.add(setting.path[0])
    return _assemble(values), unsound


def convert(written: object, key: Key) -> object:
    """The value of what was written for `key`; raises UnitError with a phrase that can follow the key's name."""
    if key.type is None:
        if written == {}:
            return None
        raise UnitError("expected a table")
    types = list(_alternatives(inspect.type_info(key.type)))
    if _turns_off(written, types):
        return None
    extra = {name: value for type_ in types if isinstance(type_, inspect.Metadata) for name, value in _extra(type_)}
    value = _with_unit(written, extra.get("unit"), types)
    try:
        value = msgspec.convert(value, key.type, strict=True)
        if extra.get("form") == "address":
            split_address(str(value))
    except msgspec.ValidationError as error:
        raise UnitError(_phrase(written, str(error), types)) from None
    except ValueError as error:
        raise UnitError(str(error)) from None
    return value


def _rules(setting: Setting, faults: list[str]) -> tuple[Rule, ...]:
    if not isinstance(setting.value, list):
        raise UnitError("expected a list of tables, written [[rules]]")
    rules = [_rule(number, rule, setting, faults) for number, rule in enumerate(setting.value)]
    return tuple(rule for rule in rules if rule is not None)


def _rule(number: int, written: object, setting: Setting, faults: list[str]) -> Rule | None:
    name, place = f"rules[{number}]", (str(number),)
    origin = setting.origin_of(place)
    if not isinstance(written, dict):
        faults.append(fault(name, origin, "expected a table"))
        return None
    known, found = section_fields(Rule), len(faults)
    values: dict[str, Any] = {}
    for key, value in written.items():
        try:
            if key not in known:
                raise UnitError("unknown key" + closest(key, list(known), prefix=f"{name}."))
            values[key] = convert(value, Key((name, key), known[key].type))
        except UnitError as error:
            faults.append(fault(f"{name}.{key}", setting.origin_of((*place, key)), str(error)))
    missing = [key for key, field in known.items() if field.required and key not in written]
    faults += [fault(f"{name}.{key}", origin, "missing") for key in missing]
    return Rule(**values) if len(faults) == found else None


def _assemble(values: dict[Path, object]) -> Config:
    tables: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    kafka: dict[str, Any] = {}
    topics: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        if path[0] == "topics" and len(path) > 1:
            topics.setdefault(path[1], {}).update({path[2]: value} if len(path) > 2 else {})
        elif path[0] == "kafka" and len(path) > 1:
            kafka[path[1]] = value
        elif len(path) == 2:
            tables[path[0]][path[1]] = value
    sections: dict[str, Section] = {name: SECTIONS[name](**table) for name, table in tables.items()}
    rules: Any = values.get(("rules",), ())
    return Config(
        **sections,  # type: ignore[arg-type]  # each name has the type that SECTIONS read off Config
        kafka=kafka,
        topics={name: Topic(**table) for name, table in topics.items()},
        rules=rules,
    )


def _alternatives(type_: inspect.Type) -> Iterator[inspect.Type]:
    """The members of a union, metadata kept."""
    if isinstance(type_, inspect.UnionType):
        for member in type_.types:
            yield from _alternatives(member)
    else:
        yield type_


def _extra(type_: inspect.Metadata) -> Iterable[tuple[str, Any]]:
    return (type_.extra or {}).items()


def _turns_off(written: object, types: list[inspect.Type]) -> bool:
    """`false` is off where off exists; so is "" for a file or a name."""
    if not any(isinstance(type_, inspect.NoneType) for type_ in types):
        return False
    return written is False or (written == "" and any(isinstance(_bare(type_), inspect.StrType) for type_ in types))


def _with_unit(written: object, unit: str | None, types: list[inspect.Type]) -> object:
    if unit is None:
        return written
    if isinstance(written, bool):
        if any(isinstance(type_, inspect.BoolType) for type_ in types):
            return written
        off = any(isinstance(type_, inspect.NoneType) for type_ in types)
        raise UnitError("true is no limit: write one, or false for off" if off else "cannot be off: write how much")
    return duration(written) if unit == "seconds" else size(written)


def _bare(type_: inspect.Type) -> inspect.Type:
    return type_.type if isinstance(type_, inspect.Metadata) else type_


def _phrase(written: object, message: str, types: list[inspect.Type]) -> str:
    literals = _literals(types)
    if literals and isinstance(written, str):
        return f'"{written}" is not one of {", ".join(literals)}'
    items = _literals([type_.item_type for type_ in types if isinstance(type_, inspect.VarTupleType)])
    odd = [each for each in written if each not in items] if items and isinstance(written, list) else []
    if odd and isinstance(odd[0], str):
        return f'"{odd[0]}" is not one of {", ".join(items)}'
    if isinstance(written, str) and message.startswith("Expected `") and ">" in message:
        return f'"{written}" must be more than zero'
    message = message.replace("`", "").replace(" | null", " or false")
    return message[:1].lower() + message[1:]


def _literals(types: list[inspect.Type]) -> list[str]:
    return [str(value) for type_ in types if isinstance(type_, inspect.LiteralType) for value in type_.values]
