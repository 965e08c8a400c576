"""[[rules]]: what a client may do with a topic, and which keys of it are its own. Pure.

The first rule that names the topic, and whose claims all hold, decides alone: what it does not allow is not allowed,
whatever a later one says. Without such a rule nothing is allowed, or everything when nobody has to say who he is.

`keys` are templates: `${claims.tenant}` stands for the claim's text, for each of its members when it is a list. A
template whose claim is missing gives no key; a rule whose templates give none allows nothing. It decides all the same:
were it passed over, a token that lacks a claim could reach a wider rule below.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from typing import Final

from msgspec import Struct

from tailrace.config import Rule
from tailrace.core.claims import PATH, ClaimPath, Claims, find, holds, split_path, texts
from tailrace.core.exposure import matcher

MAX_KEYS: Final = 4096  # of one rule for one client: lists multiply where a template names several; more is a mistake

_REFERENCE: Final = re.compile(rf"\$\{{claims\.({PATH})\}}")


class Permission(Struct, frozen=True):
    """What may be done with one topic: of "subscribe" and "publish"; `keys`: with these only, None: with all."""

    allow: frozenset[str]
    keys: frozenset[bytes] | None = None


NOTHING: Final = Permission(frozenset())
EVERYTHING: Final = Permission(frozenset({"subscribe", "publish"}))


class Rules:
    """All of them, ready to be asked. otherwise: what holds for a topic that no rule decides."""

    __slots__ = ("_otherwise", "_rules")

    def __init__(self, rules: Sequence[Rule] = (), otherwise: Permission = EVERYTHING) -> None:
        self._otherwise = otherwise
        self.replace(rules)

    def replace(self, rules: Sequence[Rule]) -> None:
        """From now on these."""
        self._rules = [_Compiled(rule) for rule in rules]

    def find(self, topic: str, claims: Claims) -> Permission:
        """What the bearer of these claims may do with the topic."""
        for rule in self._rules:
            if rule.decides(topic, claims):
                return rule.permission(claims)
        return self._otherwise


class _Compiled:
    __slots__ = ("_allow", "_claims", "_keys", "_topics")

    def __init__(self, rule: Rule) -> None:
        self._topics = [matcher(pattern) for pattern in rule.topics]
        self._claims = rule.claims
        self._allow = frozenset(rule.allow)
        self._keys = None if rule.keys is None else [parse(template) for template in rule.keys]

    def decides(self, topic: str, claims: Claims) -> bool:
        return any(matches(topic) for matches in self._topics) and holds(self._claims, claims)

    def permission(self, claims: Claims) -> Permission:
        if self._keys is None:
            return Permission(self._allow)
        keys = list(itertools.islice(self._expanded(claims), MAX_KEYS + 1))
        return Permission(self._allow, frozenset(keys)) if 0 < len(keys) <= MAX_KEYS else NOTHING

    def _expanded(self, claims: Claims) -> Iterator[bytes]:
        for template in self._keys or ():
            parts = [[part] if isinstance(part, str) else texts(find(claims, part)) for part in template]
            for chosen in itertools.product(*parts):
                try:
                    yield "".join(chosen).encode()
                except UnicodeEncodeError:  # a lone surrogate, which JSON can write and no key can be
                    continue


Template = tuple[str | ClaimPath, ...]


def parse(template: str) -> Template:
    """Text and claims in their order; ValueError where a `${` begins no claim."""
    parts: list[str | ClaimPath] = []
    for at, text in enumerate(_REFERENCE.split(template)):
        if at % 2:
            parts.append(split_path(text))
        elif "${" in text:
            raise ValueError(f"{template!r}: after ${{ a claim is expected, as in ${{claims.tenant}}")
        elif text:
            parts.append(text)
    return tuple(parts)


def faults(rules: Sequence[Rule], authenticates: bool) -> Iterator[str]:
    """What is wrong with the rules, each as "rules[N].KEY: ..."; authenticates: clients bring tokens."""
    for number, rule in enumerate(rules):
        name = f"rules[{number}]"
        if not rule.topics:
            yield f"{name}.topics: names no topic"
        if rule.claims and not authenticates:
            yield f'{name}.claims: never hold without tokens (auth.mode = "jwt")'
        yield from (f"{name}.claims: {what}" for what in _odd_claims(rule.claims))
        if rule.keys == ():
            yield f"{name}.keys: no key at all; leave it out for every key, or `allow = []` for nothing"
        yield from (
            f"{name}.keys: {what}" for template in rule.keys or () for what in _odd_key(template, authenticates)
        )


def _odd_key(template: str, authenticates: bool) -> Iterator[str]:
    try:
        parts = parse(template)
    except ValueError as error:
        yield str(error)
        return
    if not authenticates and any(not isinstance(part, str) for part in parts):
        yield f'{template!r}: there are no claims without tokens (auth.mode = "jwt")'


def _odd_claims(expected: object, path: str = "") -> Iterator[str]:
    """Claims are JSON: a date of TOML is equal to none, and an empty list to nothing."""
    if isinstance(expected, Mapping):
        for name, wanted in expected.items():
            if "${" in name:
                yield f"{path}{name}: a name is expected, templates are for keys"
            yield from _odd_claims(wanted, f"{path}{name}.")
    elif isinstance(expected, list | tuple):
        if not expected:
            yield f"{path[:-1]}: an empty list holds for nobody"
        for wanted in expected:
            yield from _odd_claims(wanted, path)
    elif isinstance(expected, date | time):
        yield f"{path[:-1]}: a date is no JSON; write what the token has"
    elif isinstance(expected, str) and "${" in expected:
        yield f"{path[:-1]}: {expected!r} is compared as it stands; templates are for keys"
