"""The gateway as one nursery tree, and the drain that ends it.

    serve
     ├── LiveConsumer.run      the poll thread, and its batches, over a bounded hand-off
     ├── Pump.run              batches into tails, tails to sockets
     ├── Blocks.run            reading back: a pool of consumers and what they read
     ├── Snapshots.run         building snapshots, a consumer for each that is being built
     ├── Tending.run           open topics: new partitions, deleted ones, lost offsets, unused ones
     ├── Publishing.run        what clients publish; from the first on a producer and its poll thread
     ├── Health.run            whether a broker answers
     ├── Survey.run            which of the wanted topics can be read
     ├── Page.run              the topics that the console offers
     ├── Gate.run              when tokens expire, and the keys they are judged with
     ├── watch                 keep-alive of all connections
     ├── watch_loop            how late the loop comes to a timer
     ├── collect_old           garbage that came to stay
     ├── ServiceManager.watch  systemd's watchdog
     ├── reload_on_hangup      files that are read again on SIGHUP
     ├── the admin listener
     └── the public listener   a task per connection, whose writer lives in its own nursery

SIGTERM or SIGINT: no more are let in, everyone is told to go, and then the tree is cancelled from the top.
"""

import gc
import random
import resource
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog
import trio

from tailrace._fanout import send_together
from tailrace.address import split_address
from tailrace.config import Config, Listen
from tailrace.disconnect import SHUTDOWN
from tailrace.gateway.allocator import limit_arenas
from tailrace.gateway.blocks import Blocks
from tailrace.gateway.collecting import metrics, numbers
from tailrace.gateway.door import Door
from tailrace.gateway.garbage import collect_old
from tailrace.gateway.gate import Gate
from tailrace.gateway.hangup import Reload, reload_on_hangup
from tailrace.gateway.lag import Lag
from tailrace.gateway.loop_delay import watch_loop
from tailrace.gateway.notice import Notice, notices
from tailrace.gateway.page import Page
from tailrace.gateway.parts import Parts
from tailrace.gateway.publishing import Publishing
from tailrace.gateway.pump import Pump
from tailrace.gateway.ready import readiness, wanted
from tailrace.gateway.reloading import Reloading
from tailrace.gateway.roster import connections
from tailrace.gateway.service import READY, STOPPING, ServiceManager
from tailrace.gateway.tending import Tending
from tailrace.gateway.topics import Topics
from tailrace.http.admin import Routes, livez, readyz, serve_admin
from tailrace.kafka.batch import Batch
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.hand_off import HandOff
from tailrace.kafka.health import Health
from tailrace.kafka.live import LiveConsumer
from tailrace.kafka.survey import Survey
from tailrace.sockets.certificates import Certificates
from tailrace.sockets.tcp import accept_all
from tailrace.websocket.keepalive import Times
from tailrace.websocket.watch import watch

BATCHES = 8  # between thread and loop: what else waits, waits in librdkafka's queue and in Kafka
BACKLOG = 4096  # connections the kernel holds for us; a fleet that reconnects at once comes in thousands
# A thread that waits for the GIL insists on it after that, and every release meanwhile starts the time anew. So it must
# be shorter than a round of a busy loop, 0.1 ms (the kernel makes 0.06 of it): at 0.5 ms, Python's own are 5, a thread
# beside such rounds waited for 3.9 ms at the mean and 11 at p95, and 0.4 and 1.4 so.
SWITCH_SECONDS = 0.00001
# Collections of young objects, at Python's own 700, took a fifth of what a newcomer costs. What was imported is frozen:
# nothing of it becomes garbage, and it is as much as 2,000 connections have.
YOUNG_OBJECTS = 5000
SPARE_DESCRIPTORS = 128  # for Kafka, listeners, logs and answers to those who are refused
SPREAD_SECONDS = 0.01  # a drain takes that long for each connection, when its time allows
DRAIN_SHARE = 0.8  # of shutdown.timeout is for telling; the rest is for closing

_log = structlog.get_logger(__name__)


class Addresses(msgspec.Struct, frozen=True):
    """Where the gateway listens: "HOST:PORT"; admin None: nowhere."""

    public: str
    admin: str | None


async def serve(
    config: Config,
    *,
    console: bool = False,
    public: list[trio.SocketListener] | None = None,
    admin: Callable[[Routes], Awaitable[None]] | None = None,
    read: Callable[[], Config] | None = None,
    task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the gateway until SIGTERM, SIGINT or cancellation; `task_status` gets the addresses once it listens.

    console: serve the page. public: listeners to use in place of `listen.address`; admin: serves the admin routes
    until cancelled, in place of the admin listener. read: the configuration as it is written now, for SIGHUP. OSError
    when an address cannot be listened on, ConfigError when a file of TLS is no good.
    """
    limit = prepare_process(config.listen.connection_limit)
    cluster = Cluster(config.kafka)
    health = Health(cluster)
    lag = Lag(lambda: topics.open)
    live = LiveConsumer(config.kafka, health.note, on_statistics=lag.take)
    blocks = Blocks(config.kafka, config.catchup)
    topics = Topics(live, cluster, blocks, config)
    gate = Gate(config)
    publishing = Publishing(config, cluster)
    certificates = certificates_of(config.listen)
    door = Door(config, topics, publishing, None, limit, gate, certificates)
    page = Page(door, gate, cluster) if console else None
    survey = Survey(cluster, lambda: wanted(topics))
    parts = Parts(config, door, topics, blocks, health, survey, lag)
    manager = ServiceManager()
    inherited = public is not None
    public = public or await listen(config.listen.address)
    administering = [] if config.admin.address is None else await listen(config.admin.address)
    batches = HandOff[Batch](BATCHES)
    async with notices() as notice, trio.open_nursery() as gateway:
        gateway.start_soon(live.run, batches)
        gateway.start_soon(Pump(topics, batches, config.tail.max_bytes).run)
        gateway.start_soon(blocks.run)
        gateway.start_soon(topics.snapshots.run)
        gateway.start_soon(Tending(topics, config.limits.slow_bytes).run)
        gateway.start_soon(publishing.run)
        gateway.start_soon(health.run)
        gateway.start_soon(survey.run)
        gateway.start_soon(gate.run)
        gateway.start_soon(watch, door.connections, times(config))
        gateway.start_soon(watch_loop, topics.counts.loop_delay)
        gateway.start_soon(collect_old, topics.counts.closed.total, lambda: len(door.connections))
        if page is not None:
            gateway.start_soon(page.run)
        again = None if read is None else Reloading(read, config, gate, topics, page.reload if page else None, gateway)
        await gateway.start(reload_on_hangup, reloads_of(certificates, again))
        gateway.start_soon(_administer, routes_of(parts), admin, administering)
        addresses = Addresses(address_of(public), address_of(administering) if administering else None)
        if not inherited:  # else whoever bound them has said it
            where = url_of(config.listen, addresses.public)
            _log.info("listening", address=where, admin=addresses.admin, io_uring=send_together())
        task_status.started(addresses)
        manager.tell(READY, f"listening on {addresses.public}")
        gateway.start_soon(manager.watch)
        await _let_in(door, public, config.shutdown.timeout, manager, notice)
        gateway.cancel_scope.cancel()


def prepare_process(connection_limit: int | None) -> int:
    """What holds for the process as a whole: its threads' turns, its heaps, its garbage, its descriptors. How many
    connections it may have."""
    sys.setswitchinterval(SWITCH_SECONDS)
    limit_arenas()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    most = raise_descriptor_limit()
    return min(connection_limit or most, most)


def routes_of(parts: Parts) -> Routes:
    """What is answered to the operator."""
    routes = {"/livez": livez, "/readyz": readyz(lambda: readiness(parts))}
    return routes | {
        "/metrics": metrics(parts),
        "/metrics/numbers": numbers(parts),
        "/connections": connections(parts),
    }


async def _administer(
    routes: Routes, instead: Callable[[Routes], Awaitable[None]] | None, listeners: list[trio.SocketListener]
) -> None:
    """Answer it until cancelled: by `instead`, or on these listeners; there may be neither."""
    if instead is not None:
        await instead(routes)
    elif listeners:
        await trio.serve_listeners(partial(serve_admin, routes=routes), listeners)


def reloads_of(certificates: Certificates | None, configuration: Reloading | None) -> dict[str, Reload]:
    """What SIGHUP has read again, in this order, by the name that the log gives it."""
    found: dict[str, Reload] = {} if certificates is None else {"certificates": certificates.reload}
    return found if configuration is None else found | {"configuration": configuration.reload}


async def _let_in(
    door: Door, listeners: list[trio.SocketListener], timeout: float, manager: ServiceManager, notice: Notice
) -> None:
    """Accept until told to stop, then drain."""
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(accept_all, listeners, door.handle, clients)
            told = await notice.wait()
            _log.info("draining", signal=told, connections=len(door.connections))
            manager.tell(STOPPING, f"draining {len(door.connections)} connections")
            door.draining = True
            accepting.cancel_scope.cancel()
        await drain(door, timeout)
        clients.cancel_scope.cancel()
    _log.info("stopped")


async def drain(door: Door, timeout: float) -> None:
    """Tell everyone to go, spread over the drain, and wait until they have gone, or the time is up: then they are cut
    off. `retry_after_ms` is jittered over it too."""
    with trio.move_on_after(timeout):
        await _see_off(door, timeout)
    for connection in list(door.connections):
        connection.cut()


async def _see_off(door: Door, timeout: float) -> None:
    leaving = list(door.connections)
    random.shuffle(leaving)
    pause = min(SPREAD_SECONDS, DRAIN_SHARE * timeout / max(1, len(leaving)))
    begun = trio.current_time()
    for number, connection in enumerate(leaving, 1):
        connection.end(SHUTDOWN, retry_after_ms=round(random.uniform(0, timeout) * 1000))
        await trio.sleep_until(begun + number * pause)  # a busy loop's delays must not add up
    while door.connections:
        for connection in list(door.connections):  # those that came in while the door was closing
            connection.end(SHUTDOWN, retry_after_ms=round(random.uniform(0, timeout) * 1000))
        await trio.sleep(SPREAD_SECONDS)


def certificates_of(listen: Listen) -> Certificates | None:
    """What TLS shows and asks for; None when it is not spoken. Raises ConfigError."""
    if not listen.tls_certificate or not listen.tls_key:
        return None
    return Certificates(listen.tls_certificate, listen.tls_key, listen.client_ca)


def times(config: Config) -> Times:
    """The clocks of keep-alive."""
    limits = config.limits
    return Times(limits.ping_interval, limits.pong_timeout, limits.write_timeout)


async def listen(address: str) -> list[trio.SocketListener]:
    """Listeners on every address that the host has; OSError names the address."""
    host, port = split_address(address)
    try:
        return await trio.open_tcp_listeners(port, host=host or None, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from None


def url_of(listen: Listen, address: str) -> str:
    """Where the console would be, for the log."""
    return f"{'https' if listen.tls_certificate else 'http'}://{address}"


def address_of(listeners: list[trio.SocketListener]) -> str:
    """As it is written in a URL, with the port that the system chose when 0 was asked for."""
    host, port = listeners[0].socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raise_descriptor_limit() -> int:
    """Use all the descriptors the system allows: how many of them are for connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, 1_048_576) if hard != resource.RLIM_INFINITY else 1_048_576
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(1, limit - SPARE_DESCRIPTORS)
