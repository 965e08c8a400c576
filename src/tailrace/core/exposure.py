"""Which topics may be named by clients at all, and how each is exposed.

An exact name wins, then the patterns in the order they were given; what neither names does not exist for a client.
Patterns are a shell's (`*`, `?`, `[...]`; case counts), and like a shell's they do not reach hidden names: a topic
that begins with `__` (Kafka's own, `__consumer_offsets` and the like) needs a pattern that begins so, or its name.

Who may see what is not decided here but by the rules.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Final

from tailrace.config import Topic

_HIDDEN: Final = "__"
_WILDCARDS: Final = frozenset("*?[")


class Exposure:
    """The topics of the configuration, ready to be asked: a dict for the names, compiled patterns for the rest."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self.replace(topics)

    def replace(self, topics: Mapping[str, Topic]) -> None:
        """From now on these."""
        self._exact = {name: topic for name, topic in topics.items() if _WILDCARDS.isdisjoint(name)}
        self._patterns = [(matcher(name), topic) for name, topic in topics.items() if name not in self._exact]

    @property
    def names(self) -> tuple[str, ...]:
        """The names given in full, in order: what can be looked at before a client asks."""
        return tuple(self._exact)

    @property
    def has_patterns(self) -> bool:
        """Clients may name topics that nobody has named here."""
        return bool(self._patterns)

    @property
    def publishes_patterns(self) -> bool:
        """Clients may publish to topics that nobody has named here."""
        return any(topic.publish for _, topic in self._patterns)

    def find(self, name: str) -> Topic | None:
        """How the topic `name` is exposed, or None when it is not."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        return next((topic for matches, topic in self._patterns if matches(name)), None)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a topic's name matches the pattern."""
    match, reaches_hidden = re.compile(fnmatch.translate(pattern)).match, pattern.startswith(_HIDDEN)
    return lambda name: match(name) is not None and (reaches_hidden or not name.startswith(_HIDDEN))
