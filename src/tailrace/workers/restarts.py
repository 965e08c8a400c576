"""When a worker that died is replaced. Pure: told the times, it answers with a pause.

A worker that ran for a minute is replaced at once. One that dies young waits twice as long each time, up to half a
minute, so that a fault in a file or in the system costs a process now and then, and not all of the machine. From the
fifth in a row on it is a crash loop, which readiness tells; it ends when one has run for a minute.
"""

from typing import Final

FIRST_SECONDS: Final = 0.25
MOST_SECONDS: Final = 30.0
DOUBLINGS: Final = 10  # beyond MOST_SECONDS
GROWN_UP_SECONDS: Final = 60.0
LOOP_DEATHS: Final = 5


class Restarts:
    """The deaths of one place. `young`: how many in a row died within their first minute."""

    def __init__(self) -> None:
        self.young = 0

    @property
    def looping(self) -> bool:
        """Whether replacing it has become hopeless for now."""
        return self.young >= LOOP_DEATHS

    def died(self, lived_seconds: float) -> float:
        """One died after so long: how many seconds to wait before its replacement."""
        if lived_seconds >= GROWN_UP_SECONDS:
            self.young = 0
            return 0.0
        self.young += 1
        return min(MOST_SECONDS, FIRST_SECONDS * (1 << min(self.young - 1, DOUBLINGS)))

    def grew_up(self) -> None:
        """The present one has run for a minute."""
        self.young = 0
