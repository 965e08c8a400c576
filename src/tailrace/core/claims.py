"""What a token says of its bearer, looked at as [[rules]] want it. Pure.

Claims are JSON (RFC 7519, 4): what a rule names is found by a path of names, `realm_access.roles`, a name with other
characters in quotes, `"https://example.com/tenant"`. A value that is not there, or is of another kind than the rule
expects, is never taken for one that is: `true` is not 1, and an object is no text.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

Claims = Mapping[str, Any]
ClaimPath = tuple[str, ...]

NAME: Final = r'(?:[A-Za-z0-9_-]+|"[^"{}]+")'
PATH: Final = rf"{NAME}(?:\.{NAME})*"
_NAMES: Final = re.compile(NAME)

NOBODY: Final[Claims] = {}


class Principal(Struct, frozen=True):
    """Whose token was found good. expires_at: epoch seconds, None: it does not.

    A subject is unique only within its issuer (RFC 7519, 4.1.2), so the two together say who it is.
    """

    subject: str | None
    issuer: str | None
    claims: Claims
    expires_at: float | None = None

    @property
    def identity(self) -> tuple[str | None, str | None]:
        """The same for every token of one bearer."""
        return self.issuer, self.subject

    @property
    def expires_at_ms(self) -> int | None:
        """As `authenticated` tells it."""
        return None if self.expires_at is None else int(self.expires_at * 1000)

    def __repr__(self) -> str:
        return f"Principal({self.subject!r})"


def split_path(written: str) -> ClaimPath:
    """The names of a path that matches PATH."""
    return tuple(name.strip('"') for name in _NAMES.findall(written))


def find(claims: Claims, path: ClaimPath) -> object:
    """The value there, or None."""
    value: object = claims
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def holds(expected: object, actual: object) -> bool:
    """Whether a claim is what a rule expects.

    A scalar: equal, or among the members of a list. A list: any one of its members holds. A table: every name in it
    holds.
    """
    if isinstance(expected, Mapping):
        return isinstance(actual, Mapping) and all(
            name in actual and holds(wanted, actual[name]) for name, wanted in expected.items()
        )
    if isinstance(expected, list | tuple):
        return any(holds(wanted, actual) for wanted in expected)
    if isinstance(actual, list | tuple):
        return any(_same(expected, member) for member in actual)
    return _same(expected, actual)


def texts(value: object) -> list[str]:
    """What may stand for a claim in a key: text, a whole number in digits, and every such member of a list.

    Empty for what is not there or of another kind, and for empty text: a token with a blank tenant is nobody's.
    """
    members = value if isinstance(value, list | tuple) else (value,)
    found = [_text(member) for member in members]
    return [text for text in found if text]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _same(expected: object, actual: object) -> bool:
    return isinstance(expected, bool) is isinstance(actual, bool) and expected == actual and actual is not None
