"""The rule of src/_json.pyx twice more, in plain Python: oracles, a hundred times slower.

One rests on msgspec's decoder, one on Python's own, and each asks separately about what its parser is lenient with.
They share no code with the compiled rule, and with each other only the count of the depth.
"""

import json
import re
from math import inf
from typing import Any

import msgspec

MAX_DEPTH = 512
MAX_NUMBER_DIGITS = 1000

_NUMBER = re.compile(rb"[0-9][-+.0-9eE]*")  # exact outside the strings of valid JSON


def depth(value: bytes) -> int:
    """How deep brackets nest outside strings, one byte at a time.

    Of broken JSON the count is exact up to the first fault, so a parser that stops there recurses no deeper.
    """
    deepest = level = 0
    inside = escaped = False
    for byte in value:
        if inside:
            inside = escaped or byte != ord('"')
            escaped = not escaped and byte == ord("\\")
        elif byte == ord('"'):
            inside = True
        else:
            level += (byte in b"[{") - (byte in b"]}")
            deepest = max(deepest, level)
    return deepest


def by_msgspec(value: bytes) -> bool:
    """By msgspec, which knows grammar, UTF-8, surrogates and infinity, but not how long a number is."""
    if depth(value) > MAX_DEPTH:  # first: its decoder recurses on the C stack
        return False
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    unescaped = value.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    return all(len(number) <= MAX_NUMBER_DIGITS and float(number) != inf for number in _NUMBER.findall(outside))


def by_json(value: bytes) -> bool:
    """By `json`, which knows the grammar."""
    if depth(value) > MAX_DEPTH:
        return False
    try:
        text = value.decode("utf-8", "strict")
        found = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_refuse, object_pairs_hook=list)
        _strings(found)
    except ValueError:  # UnicodeError is one
        return False
    return True


def _number(text: str) -> float:
    if len(text.removeprefix("-")) > MAX_NUMBER_DIGITS or abs(float(text)) == inf:
        raise ValueError(text)
    return 0.0


def _refuse(text: str) -> None:
    raise ValueError(text)


def _strings(found: Any) -> None:
    """Raise UnicodeEncodeError for a lone surrogate."""
    left = [found]
    while left:
        each = left.pop()
        if isinstance(each, str):
            each.encode()
        elif isinstance(each, list | tuple):
            left.extend(each)
