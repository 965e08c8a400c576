"""Who has a subscription: what it is told, and what it gives.

Left out: who that is (`client`, `stream`).
"""

from typing import TYPE_CHECKING, Protocol

import trio

from tailrace.core.begin import Verdict
from tailrace.core.claims import Principal
from tailrace.core.pace import ScanPace
from tailrace.core.position import Positions
from tailrace.disconnect import Disconnect
from tailrace.errors import ErrorCode
from tailrace.websocket.outlet import Outlet

if TYPE_CHECKING:
    from tailrace.gateway.reading import Reading


class Owner(Protocol):
    """Who has the subscription: the client of a connection."""

    @property
    def outlet(self) -> Outlet:
        """Of the connection."""

    @property
    def chases(self) -> trio.CapacityLimiter | None:
        """How many of its subscriptions may be read back at the same time."""

    def scan_pace(self) -> ScanPace:
        """How fast its subscriptions may look through what they do not want."""

    @property
    def principal(self) -> Principal | None:
        """Whose token it brought."""

    def reached_live(self, reading: "Reading", positions: Positions) -> None:
        """It has passed the ends that were listed when it began."""

    def missed(self, reading: "Reading", verdicts: list[Verdict]) -> None:
        """Records will not be sent."""

    def moved(self, reading: "Reading", positions: Positions) -> None:
        """The place moved and no record told of it."""

    def ended(self, reading: "Reading", positions: Positions, code: ErrorCode, message: str) -> None:
        """The gateway ends it."""

    def close(self, disconnect: Disconnect) -> None:
        """End the connection."""
