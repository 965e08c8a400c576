"""The console page as it is served, with the topics that it may offer.

Topics that are named in full are known; where patterns expose others, the cluster is asked for its topics' names every
30 s. Rules: nothing is offered that a stranger may not know (`gate.offer`), so with tokens nothing is, and nobody asks;
while no broker answers, what was known is kept.
"""

from typing import Protocol

import trio

from tailrace.console import HEADERS, assets
from tailrace.errors import KafkaUnavailable
from tailrace.gateway.door import Door
from tailrace.gateway.gate import Gate
from tailrace.http.static import StaticFiles

INTERVAL_SECONDS = 30.0
RETRY_SECONDS = 2.0  # until the first answer: whoever starts a gateway opens its page at once


class Named(Protocol):
    """What is asked: `Cluster`."""

    async def topics(self) -> frozenset[str]: ...


class Page:
    """Puts the page in the door."""

    def __init__(self, door: Door, gate: Gate, cluster: Named) -> None:
        self._door = door
        self._gate = gate
        self._cluster = cluster
        self._names: frozenset[str] | None = None
        self._changed = trio.Event()
        self.show()

    async def run(self) -> None:
        """Look for topics, until cancelled."""
        while True:
            if self._gate.access.exposure.has_patterns and not self._gate.required:
                await self.look()
            with trio.move_on_after(RETRY_SECONDS if self._names is None else INTERVAL_SECONDS):
                await self._changed.wait()
            self._changed = trio.Event()

    async def look(self) -> None:
        """Asks once."""
        try:
            names = await self._cluster.topics()
        except KafkaUnavailable:
            return
        if names != self._names:
            self._names = names
            self.show()

    def reload(self) -> None:
        """Other topics or rules hold from now on."""
        self.show()
        self._changed.set()

    def show(self) -> None:
        """Serve it with what is known."""
        offer = self._gate.offer(self._names or ())
        self._door.page = StaticFiles(assets(offer.topics, offer.publish, unlisted=offer.unlisted), HEADERS)
