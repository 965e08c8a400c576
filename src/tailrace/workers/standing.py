"""What all workers together are: whether clients should be sent here, and if not, why. Pure.

The kernel sends a new connection to any worker that listens, so all that listen must be ready. One that is away takes
none: the others do, and this is no reason for a 503, until it turns out that it cannot be replaced. Nor is one that
has just come and has not reached Kafka yet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tailrace.http.admin import Readiness

DRAINING = "draining"


class Standing(msgspec.Struct, frozen=True):
    """One worker. pid: None while there is none; told: what its own `/readyz` says, None until it listens; settled:
    it was ready once, or had time enough; died: how the last one ended, if it did; looping: it dies again and again.
    """

    number: int
    pid: int | None = None
    told: Mapping[str, Any] | None = None
    settled: bool = False
    died: str = ""
    looping: bool = False

    @property
    def counts(self) -> bool:
        """Whether clients reach it and it should be ready; one that somebody else told to drain takes no new ones."""
        return self.settled and self.told is not None and self.told.get("reason") != DRAINING

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        if self.looping:
            return f"dies again and again: {self.died}"
        if self.told is None:
            return f"is being replaced: {self.died}" if self.died else "is starting"
        return "" if self.told.get("ready") else str(self.told.get("reason"))


def together(standings: Sequence[Standing], draining: bool) -> Readiness:
    """The parent's `/readyz`; `workers` tells of each."""
    details = {"workers": [_details(each) for each in standings]}
    if draining:
        return Readiness(False, DRAINING, details)
    nobody = not any(each.counts for each in standings)
    hindering = [each for each in standings if each.reason and (nobody or each.looping or each.counts)]
    if not hindering:
        return Readiness(True, "", details)
    return Readiness(False, f"worker {hindering[0].number}: {hindering[0].reason}", details)


def _details(standing: Standing) -> dict[str, Any]:
    more = {key: value for key, value in (standing.told or {}).items() if key not in ("ready", "reason")}
    reason = standing.reason
    return {"worker": standing.number, "pid": standing.pid, "ready": not reason, "reason": reason, **more}
