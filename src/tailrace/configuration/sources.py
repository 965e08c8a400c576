"""Where settings are written: a TOML file, the environment, `--set`. Judges their syntax, nothing else.

Each function returns what it could read and adds a fault for each thing it could not. In the environment SECTION and
KEY may be in any case, a topic's name is taken as it stands, and in TAILRACE_KAFKA__ an underscore is a dot
(bootstrap_servers). Passed over are names that Kubernetes injects for a service called "tailrace", the switch
TAILRACE_ECHO, TAILRACE_TOKEN, which is a client's, and TAILRACE_BENCH_..., which are the benchmarks'.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Final

from tailrace.address import split_address
from tailrace.configuration.lines import line_numbers
from tailrace.configuration.setting import Path, Setting, leaves, split_assignment

PREFIX: Final = "TAILRACE_"
_NO_SETTING: Final = re.compile(
    r"ECHO|TOKEN|BENCH_\w+|SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP)(_[A-Z]+)?)?", re.ASCII
)
_TOML_PLACE: Final = re.compile(r" \(at line (\d+), column \d+\)")


def from_file(name: str, faults: list[str]) -> list[Setting]:
    """The settings of a TOML file, each with its line."""
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read()
        document = tomllib.loads(text)
    except OSError as error:
        faults.append(f"--config {name}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        faults.append(f"{name}: not UTF-8 at byte {error.start}")
    except tomllib.TOMLDecodeError as error:
        faults.append(_syntax_fault(name, str(error)))
    else:
        lines = line_numbers(text)
        return [
            Setting(
                path, value, _place(name, path, lines), _inside(name, path, lines) if isinstance(value, list) else {}
            )
            for path, value in leaves(document)
        ]
    return []


def from_environment(environment: Mapping[str, str], faults: list[str]) -> list[Setting]:
    """The settings in TAILRACE_SECTION__KEY variables, by name, so that the outcome does not hang on their order."""
    settings = []
    for name, text in sorted(environment.items()):
        rest = name.removeprefix(PREFIX)
        if rest == name or _NO_SETTING.fullmatch(rest):
            continue
        settings += _written(_environment_path(rest), text, f"environment {name}", faults)
    return settings


def from_assignments(assignments: Iterable[str], faults: list[str]) -> list[Setting]:
    """The settings in `--set KEY=VALUE` options, in order."""
    settings = []
    for assignment in assignments:
        try:
            path, text = split_assignment(assignment)
        except ValueError as error:
            faults.append(f"--set {assignment.partition('=')[0]}: {error}")
            continue
        settings += _written(path, text, "--set", faults)
    return settings


def value_of(text: str) -> object:
    """TOML's value of `text`; a bare word is a string. Raises ValueError for a faulty quoted string, list or table."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not UTF-8") from None
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[:1] in ('"', "'", "[", "{") and not _is_address(text):
            raise ValueError(f"not a TOML value: {_TOML_PLACE.sub('', str(error))}") from None
        return text
    if document.keys() == {"value"} and isinstance(document["value"], str | int | float | bool | list | dict):
        return document["value"]
    return text  # a date, or text that only looks like TOML because of a line break in it


def _written(path: Path, text: str, origin: str, faults: list[str]) -> list[Setting]:
    try:
        value = value_of(text)
    except ValueError as error:
        faults.append(Setting(path, None, origin).fault(str(error)))
        return []
    if isinstance(value, dict) and value:
        return [Setting(path + below, leaf, origin) for below, leaf in leaves(value)]
    return [Setting(path, value, origin)]


def _environment_path(rest: str) -> Path:
    section, *parts = rest.split("__")
    section = section.lower()
    if section == "kafka" and parts:
        return section, ".".join(parts).lower().replace("_", ".")
    if section == "topics" and len(parts) > 1:
        return section, "__".join(parts[:-1]), parts[-1].lower()
    return section, *(part.lower() for part in parts)


def _place(name: str, path: Path, lines: dict[Path, int]) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return f"{name}:{lines[path[:length]]}"
    return name


def _inside(name: str, path: Path, lines: dict[Path, int]) -> dict[Path, str]:
    depth = len(path)
    return {key[depth:]: f"{name}:{line}" for key, line in lines.items() if key[:depth] == path and len(key) > depth}


def _syntax_fault(name: str, message: str) -> str:
    place = _TOML_PLACE.search(message)
    if place is None:
        return f"{name}: not TOML: {message}"
    return f"{name}:{place[1]}: not TOML: {_TOML_PLACE.sub('', message)}"


def _is_address(text: str) -> bool:
    """`[::1]:8080` begins like a list, and is none."""
    try:
        split_address(text)
    except ValueError:
        return False
    return True
