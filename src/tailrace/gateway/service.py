"""What the service manager is told: ready, stopping, alive (sd_notify(3), sd_watchdog_enabled(3)).

Datagrams to the socket that systemd names in the environment; without it nothing is said. A watchdog message comes
from the event loop, so it stops when that hangs, and systemd ends the process. A manager that cannot be reached is no
reason to stop serving.
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

import structlog
import trio

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

_log = structlog.get_logger(__name__)


class ServiceManager:
    """The manager that `environment` names, if any."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog_seconds(environment)

    def tell(self, state: str, status: str = "") -> None:
        """One of the states above, and a line for `systemctl status`."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = f"{state}\nSTATUS={status}" if status else state
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(message.encode(), address)
        except OSError as error:
            _log.warning("the service manager cannot be told", state=state, reason=error.strerror or str(error))

    async def watch(self) -> None:
        """Say twice in the watchdog's time that the loop goes round; returns at once when there is no watchdog."""
        while self.watchdog_seconds is not None:
            self.tell(ALIVE)
            await trio.sleep(self.watchdog_seconds / 2)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """None: nobody watches, or another process is meant."""
    if environment.get("WATCHDOG_PID") not in (None, str(os.getpid())):
        return None
    try:
        microseconds = int(environment["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return microseconds / 1e6 if microseconds > 0 else None
