"""A record, as the line that is printed: one JSON object, whatever a producer wrote.

The value stays as it is in Kafka, digits and order of names included, so that nothing is rounded on the way. Two things
are changed, and neither changes what the JSON means: a line break between its tokens becomes a space, or it would be
several lines; and what would drive a terminal (C1 controls, bidirectional controls) is written as an escape. JSON
allows such characters only inside strings, and C0 controls not even there (RFC 8259, 7).
"""

import re
from typing import Final

import msgspec

_UNSAFE: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ABOUT_THE_CONNECTION: Final = ("id", "type")


def line(fields: dict[str, msgspec.Raw]) -> bytes:
    """The record's fields, in the order the gateway wrote them, as UTF-8 that ends with the one line break in it."""
    kept = {name: value for name, value in fields.items() if name not in _ABOUT_THE_CONNECTION}
    text = msgspec.json.encode(kept).decode().replace("\n", " ").replace("\r", " ")
    return _UNSAFE.sub(_escape, text).encode() + b"\n"


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
