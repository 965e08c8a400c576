"""From what was written (file, environment, flags) to a tailrace.config.Config, or every fault at once.

setting.py, lines.py   a key, its value, and where it was written
sources.py             file, environment, --set
keys.py, decode.py     which keys there are; units, types, off
checks.py              what no single key can tell
render.py              the effective configuration as TOML again, secrets masked
reference.py           docs/configuration.md, from the same structs
"""

from collections.abc import Mapping, Sequence

from tailrace.config import Config
from tailrace.configuration.checks import ALWAYS, Check, brokers
from tailrace.configuration.decode import decode
from tailrace.configuration.keys import UnknownKey, find_key
from tailrace.configuration.render import render
from tailrace.configuration.setting import Path, Setting, fault, written_path
from tailrace.configuration.sources import from_assignments, from_environment, from_file
from tailrace.errors import ConfigError

__all__ = ["Check", "ConfigError", "Setting", "brokers", "load", "render"]


def load(
    *,
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    flags: Sequence[Setting] = (),
    checks: Sequence[Check] = (),
) -> Config:
    """The configuration in force: flags over `--set` over environment over file over defaults.

    `checks` are run besides those that always hold, but none when the file cannot be read: they are about all keys
    together. What they find in a section that has a faulty key counts only once that is mended: it may come of the
    default in its place. Raises ConfigError with every fault found.
    """
    faults: list[str] = []
    settings = from_file(file, faults) if file is not None else []
    unread = bool(faults)  # then what is missing may stand in it
    settings += from_environment(environment or {}, faults)
    settings += from_assignments(assignments, faults)
    settings += flags
    config, unsound = decode(settings, faults)
    origins = _origins(settings)
    for check in () if unread else (*ALWAYS, *checks):
        found = [(path, what) for path, what in check(config, origins) if path[0] not in unsound]
        faults += [fault(written_path(path), _origin(path, origins), what) for path, what in found]
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return config


def _origins(settings: Sequence[Setting]) -> dict[Path, str]:
    """Where each key was last written, by its canonical path."""
    origins: dict[Path, str] = {}
    for setting in settings:
        try:
            origins[find_key(setting.path).path] = setting.origin
        except UnknownKey:
            continue
    return origins


def _origin(path: Path, origins: Mapping[Path, str]) -> str:
    return origins.get(path, "default")
