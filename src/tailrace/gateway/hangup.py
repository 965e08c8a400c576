"""SIGHUP: what was read from files is read again, without dropping a connection.

Each part reads its own and says so in the log. What is no good changes nothing: the part goes on with what it had, the
log names the fault as an error, and the other parts are read all the same.
"""

import signal
from collections.abc import Awaitable, Callable, Mapping

import structlog
import trio

from tailrace.errors import ConfigError

Reload = Callable[[], Awaitable[None] | None]

_log = structlog.get_logger(__name__)


async def reload_on_hangup(
    parts: Mapping[str, Reload], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Until cancelled. parts: by the name that the log gives them; each raises ConfigError when it cannot."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            for name, reload in parts.items():
                try:
                    awaitable = reload()
                    if awaitable is not None:
                        await awaitable
                except ConfigError as error:
                    for fault in error.faults:
                        _log.error("not read again", part=name, fault=fault)
                else:
                    _log.info("read again", part=name)
