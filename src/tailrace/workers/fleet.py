"""The parent of several workers, as one nursery tree, and the drain that ends it.

    supervise
     ├── the admin listener    of all together (routes.py)
     ├── ServiceManager.watch  systemd's watchdog
     └── Fleet.run
          └── Slot.run         a worker, and the next one when it died; one for each of N

It holds the port and no connections. What a signal means to a worker is the worker's affair (gateway/server.py); here
it is passed on, and waited for.
"""

import contextlib
import signal
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import structlog
import trio

from tailrace.config import Config
from tailrace.errors import ConfigError
from tailrace.gateway.notice import notices
from tailrace.gateway.server import Addresses, address_of, listen, url_of
from tailrace.gateway.service import READY, STOPPING, ServiceManager
from tailrace.http.admin import Readiness, serve_admin
from tailrace.workers.process import Bound, bind_all
from tailrace.workers.routes import routes
from tailrace.workers.slot import Slot
from tailrace.workers.standing import together

# Above shutdown.timeout, within which a worker ends by itself: for Kafka's clients to be closed.
LATE_SECONDS = 5.0

Read = Callable[[], Config]

_log = structlog.get_logger(__name__)


class Fleet:
    """All workers, each bound to all of `bound`. `draining` once they have been told to go."""

    def __init__(self, config: Config, workers: int, bound: Sequence[Bound], read: Read | None = None) -> None:
        sockets = partial(bind_all, bound)
        self._config = config
        self._read = read
        self.slots = [Slot(number, inside(config), sockets) for number in range(1, workers + 1)]
        self.draining = False
        self.listen = config.listen
        self.manager = ServiceManager()

    async def run(self, timeout: float) -> None:
        """Until SIGTERM or SIGINT, and then until all have drained, for which they have `timeout` seconds."""
        async with notices() as notice, trio.open_nursery() as nursery:
            await nursery.start(self._renew_on_hangup)
            for slot in self.slots:
                nursery.start_soon(slot.run)
            told = await notice.wait()
            _log.info("draining", signal=told, workers=len(self.slots))
            self.leave()
            with trio.move_on_after(timeout + LATE_SECONDS) as waiting:
                for slot in self.slots:
                    await slot.gone.wait()
            if waiting.cancelled_caught:
                _log.warning("not all workers ended in time: killed", seconds=timeout + LATE_SECONDS)
            nursery.cancel_scope.cancel()

    async def _renew_on_hangup(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                await self._renew()

    async def _renew(self) -> None:
        """The parent reads the configuration, so that all workers get the same; files that it names each reads."""
        try:
            self._config = self._config if self._read is None else self._read()
        except ConfigError as error:
            for fault in error.faults:
                _log.error("not read again", part="configuration", fault=fault)
        for slot in self.slots:
            await slot.renew(inside(self._config))

    def leave(self) -> None:
        """All drain, at the same time."""
        self.draining = True
        self.manager.tell(STOPPING, f"draining {len(self.slots)} workers")
        for slot in self.slots:
            slot.leave()

    def readiness(self) -> Readiness:
        """Of all together, up to a second old."""
        return together([slot.standing for slot in self.slots], self.draining)


async def supervise(
    config: Config,
    workers: int,
    *,
    read: Read | None = None,
    task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run `workers` gateways on one port until SIGTERM, SIGINT or cancellation; `task_status` gets the addresses once
    all listen.

    read: the configuration as it is written now, for SIGHUP. OSError when an address cannot be listened on.
    """
    public, bound = await take(config.listen.address)
    admin = [] if config.admin.address is None else await listen(config.admin.address)
    addresses = Addresses(public, address_of(admin) if admin else None)
    fleet = Fleet(config, workers, bound, read)
    with contextlib.ExitStack() as held:
        for sock in bind_all(bound):
            held.enter_context(sock)
        async with trio.open_nursery() as nursery:
            if admin:
                serve = partial(serve_admin, routes=routes(fleet.slots, fleet.readiness))
                nursery.start_soon(trio.serve_listeners, serve, admin)
            nursery.start_soon(_announce, fleet, config, addresses, task_status)
            await fleet.run(config.shutdown.timeout)
            nursery.cancel_scope.cancel()
    _log.info("stopped")


def inside(config: Config) -> Config:
    """A worker's configuration: the admin listener is the parent's."""
    return msgspec.structs.replace(config, admin=msgspec.structs.replace(config.admin, address=None))


async def take(address: str) -> tuple[str, list[Bound]]:
    """HOST:PORT as it is in a URL, and all that it means, port 0 replaced by the one that was found.

    It is listened on for a moment without SO_REUSEPORT, which fails when anybody else listens there: with it, another
    gateway's port would be shared in silence. OSError names the address.
    """
    listeners = await listen(address)
    public = address_of(listeners)
    bound = [(each.socket.family, each.socket.getsockname()) for each in listeners]
    for each in listeners:
        await each.aclose()
    return public, bound


async def _announce(
    fleet: Fleet, config: Config, addresses: Addresses, task_status: trio.TaskStatus[Addresses]
) -> None:
    for slot in fleet.slots:
        await slot.listening.wait()
    workers = len(fleet.slots)
    _log.info("listening", address=url_of(fleet.listen, addresses.public), admin=addresses.admin, workers=workers)
    task_status.started(addresses)
    fleet.manager.tell(READY, f"{workers} workers listening on {addresses.public}")
    await fleet.manager.watch()
