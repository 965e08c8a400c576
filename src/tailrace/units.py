"""Durations and sizes as people write them: "25s", "1.5h", "64KiB", and `false` for off; and bare counts from outside.

A number without a unit is refused: 30 may be seconds to one and milliseconds to another. So is zero where a limit is
meant: what is off is `false`. KiB, MiB, GiB, TiB count in 1,024 (IEC 80000-13), kB, MB, GB, TB in 1,000. Units are
case-sensitive.
"""

import re
from decimal import Decimal
from typing import Final

SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
# Nineteen digits hold every C int64, and int() of many more would be slow, or raise (CVE-2020-10735).
_WHOLE: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_QUANTITY: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)", re.ASCII)
_MOST_BYTES: Final = 2**63 - 1
_MOST_SECONDS: Final = 100 * 366 * 86400  # a century: no clock or date arithmetic behind it overflows


class UnitError(ValueError):
    """What is wrong with a written quantity, as a phrase that can follow a key's name."""


def duration(written: object) -> float:
    """Seconds. Takes a string such as "250ms", "25s", "1.5h"; raises UnitError."""
    number, unit = _split(written, SECONDS, "a duration", "25s")
    seconds = float(number * SECONDS[unit])
    if seconds > _MOST_SECONDS:
        raise UnitError(f'"{written}" is more than a century')
    return seconds


def size(written: object) -> int:
    """Bytes. Takes a string such as "512B", "64KiB", "1.5GiB"; raises UnitError, also for a part of a byte."""
    number, unit = _split(written, BYTES, "a size", "1MiB")
    total = number * BYTES[unit]
    if total != int(total):
        raise UnitError(f'"{written}" is not a whole number of bytes')
    if total > _MOST_BYTES:
        raise UnitError(f'"{written}" is too large')
    return int(total)


def whole_number(written: str) -> int | None:
    """A bare count, digits and nothing else; None when it is none, or has more than nineteen digits."""
    return int(written) if _WHOLE.fullmatch(written) else None


def write_duration(seconds: float) -> str:
    """In the largest unit that gives a whole number: 90.0 is "90s", 0.25 "250ms", 0.0 "0s"."""
    if seconds == 0:
        return "0s"
    exact = Decimal(repr(seconds))
    whole = [unit for unit, factor in SECONDS.items() if exact % factor == 0 and exact >= factor]
    unit = whole[-1] if whole else "ms"
    return _plain(exact / SECONDS[unit]) + unit


def write_size(count_bytes: int) -> str:
    """The shortest exact form in binary units: 65536 is "64KiB", 1000 "1000B"."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    whole = [unit for unit in units if count_bytes % BYTES[unit] == 0 and count_bytes >= BYTES[unit]]
    unit = whole[-1] if whole else "B"
    return f"{count_bytes // BYTES[unit]}{unit}"


def _split(written: object, units: dict[str, Decimal] | dict[str, int], what: str, example: str) -> tuple[Decimal, str]:
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise UnitError(f'{written} has no unit: {what} is written like "{example}"')
    if not isinstance(written, str):
        raise UnitError(f'expected {what} like "{example}"')
    match = _QUANTITY.fullmatch(written.strip())
    if match is None:
        raise UnitError(f'"{written}" is not {what}: it is written like "{example}"')
    number, unit = match.groups()
    if unit not in units:
        raise UnitError(f'"{written}" has no known unit: use one of {", ".join(units)}')
    return Decimal(number), unit


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")
