"""May this client read this topic, with these keys; may it write this record? Exposure and rules together. Pure.

A topic with which a client may do nothing answers in the words of one that does not exist, and Kafka is not asked, so
that nobody learns which of the two it is, from the answer or from its time.
"""

from msgspec import Struct

from tailrace.core.claims import NOBODY, Claims, Principal
from tailrace.core.exposure import Exposure
from tailrace.core.rules import Rules
from tailrace.errors import CommandError, ErrorCode

Keys = frozenset[bytes | None] | None
"""What a client asks for, or may see: None in it: records without a key; None: every record."""


class Access(Struct, frozen=True):
    """What the configuration says of topics and of who may use them."""

    exposure: Exposure
    rules: Rules = Rules()

    def readable(self, principal: Principal | None, topic: str, keys: Keys) -> Keys:
        """The keys that a client which asks for `keys` may see: what it gets. CommandError: `unknown_topic`,
        `forbidden`."""
        allowed = self._allowed(principal, topic, "subscribe")
        if allowed is None:
            return keys
        if keys is None:
            return allowed
        if not keys <= allowed:
            raise CommandError(ErrorCode.FORBIDDEN, f"not allowed with these keys of topic {topic}")
        return keys

    def check_writable(self, principal: Principal | None, topic: str, key: bytes | None) -> None:
        """Nothing when a record with this key may be written; else CommandError: `unknown_topic`, `forbidden`."""
        allowed = self._allowed(principal, topic, "publish")
        if allowed is not None and key not in allowed:
            raise CommandError(ErrorCode.FORBIDDEN, f"not allowed with this key of topic {topic}")

    def actions(self, principal: Principal | None, topic: str) -> set[str]:
        """What the client may do with some of the topic: `subscribe`, `publish`; nothing: it may not know of it."""
        return self._actions(topic, claims_of(principal))[0]

    def _allowed(self, principal: Principal | None, topic: str, action: str) -> frozenset[bytes | None] | None:
        actions, keys = self._actions(topic, claims_of(principal))
        if not actions:
            raise CommandError(ErrorCode.UNKNOWN_TOPIC, f"there is no topic {topic}")
        if action not in actions:
            raise CommandError(ErrorCode.FORBIDDEN, f"not allowed on topic {topic}")
        return keys

    def _actions(self, topic: str, claims: Claims) -> tuple[set[str], frozenset[bytes | None] | None]:
        """What is left of it, and the keys that go with it."""
        exposed = self.exposure.find(topic)
        if exposed is None:
            return set(), None
        permission = self.rules.find(topic, claims)
        offered = {name for name, offers in (("subscribe", exposed.subscribe), ("publish", exposed.publish)) if offers}
        return offered & permission.allow, permission.keys


def claims_of(principal: Principal | None) -> Claims:
    """Of somebody who brought no token: none."""
    return NOBODY if principal is None else principal.claims
