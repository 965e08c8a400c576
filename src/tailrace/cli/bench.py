"""`tailrace bench`: many clients on a gateway, the records they got counted, timed, and checked for order and loss.

With --kafka it writes the records itself, at a rate, and every client must have every one that the broker
acknowledged; latency is then from the intended send time. Without, it watches what others write: latency is from
Kafka's timestamp, loss is what one client had and another with the same keys had not (client/tally.py). It does not
reconnect: what ends is told.

0: all there. 1: a record is missing, repeated or out of order, a gap was named, or a client was refused or lost.
"""

import contextlib
import os
import resource
import secrets
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import trio

from tailrace.cli import logs
from tailrace.cli.progress import Progress
from tailrace.client.bench_report import Report, summary
from tailrace.client.tally import Message, Reader, Tally, stamped
from tailrace.client.target import Target, read_target
from tailrace.config import Log
from tailrace.core.protocol import JSON
from tailrace.errors import ConfigError
from tailrace.kafka.load import Load, Schedule
from tailrace.printable import printable
from tailrace.websocket.bulk import Bulk, dial_bulk
from tailrace.websocket.dial import Lost, Refused, Unreachable

HANDSHAKES: Final = 64  # under way at a time
SPARE_DESCRIPTORS: Final = 64
PATIENCE_SECONDS: float = 30.0  # for the last records, after the last was acknowledged
LOOK_SECONDS: Final = 0.1


class Plan(msgspec.Struct, frozen=True):
    """What is to be done. targets: one for each key, or one; a connection takes them in turn. keys: those keys."""

    targets: tuple[Target, ...]
    keys: tuple[str, ...]
    connections: int
    ramp: float
    seconds: float
    kafka: str | None
    rate: float
    bytes: int

    def key(self, number: int) -> str | None:
        """What connection `number` asks for."""
        return self.keys[number % len(self.keys)] if self.keys else None

    def target(self, number: int) -> Target:
        """Of connection `number`."""
        return self.targets[number % len(self.targets)]


def run(arguments: Namespace) -> int:
    """Runs it; returns the exit code. Raises ConfigError for what cannot be run."""
    plan = read_plan(arguments)
    allow_descriptors(plan.connections)
    logs.configure(Log(level="warning"))  # librdkafka's words to stderr: stdout is for the report
    try:
        report = trio.run(Bench(plan, Progress()).run)
    except ConnectionError as error:
        print(f"tailrace: {printable(str(error))}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(report).decode() if arguments.json else printable_lines(summary(report)))
    return 0 if report.holds else 1


def read_plan(arguments: Namespace) -> Plan:
    """From the command line."""
    keys = tuple(f"bench-{number}" for number in range(arguments.keys))
    numbers = {"--connections": arguments.connections, "--ramp": arguments.ramp, "--rate": arguments.rate}
    numbers |= {"--seconds": arguments.seconds, "--bytes": arguments.bytes}
    faults = [f"{name} must be above 0" for name, value in numbers.items() if not value > 0]
    if arguments.keys < 0 or arguments.keys > arguments.connections:
        faults.append("--keys must be from 0 to the number of connections")
    if faults:
        raise ConfigError(*faults)
    try:
        asked: list[list[str] | None] = [[key] for key in keys] or [None]
        targets = tuple(read_target(arguments.url, arguments.topic, key) for key in asked)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    sizes = (arguments.connections, arguments.ramp, arguments.seconds, arguments.kafka, arguments.rate, arguments.bytes)
    return Plan(targets, keys, *sizes)


def allow_descriptors(connections: int) -> None:
    """As many files as there are connections. Raises ConfigError when the hard limit is below."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    if hard not in (resource.RLIM_INFINITY, -1) and wanted > hard:
        raise ConfigError(f"{connections} connections need {wanted} open files, and this process may have {hard}")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def printable_lines(text: str) -> str:
    """A close's reason may hold anything."""
    return "\n".join(printable(line) for line in text.splitlines())


class Bench:
    """One run: all connect, then all that comes for a while is counted."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._tally = Tally(secrets.token_hex(8) if plan.kafka else None)
        self._readers: list[Reader] = []
        self._ready = 0
        self._settled = 0  # ready, or never to be
        self._stopped = trio.Event()
        self._decode = msgspec.json.Decoder(Message).decode

    async def run(self) -> Report:
        """From the first handshake to the report. Raises ConnectionError when Kafka cannot be written to."""
        load = self._load()
        if load is not None:
            await trio.to_thread.run_sync(load.open)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_stopped)
            connections = await nursery.start(self._connections)
            connect_seconds = await self._connect()
            ready = self._ready
            self._tally.begin()
            began, spent = time.monotonic(), time.process_time()
            if ready:
                await self._traffic(load)
            seconds, spent = time.monotonic() - began, time.process_time() - spent
            connections.cancel()
            nursery.cancel_scope.cancel()
        self._progress.clear()
        return Report.of(
            self._tally,
            connections=self._plan.connections,
            ready=ready,
            connect_seconds=connect_seconds,
            seconds=seconds,
            client_busy=spent / seconds,
            missing=self._missing(load),
            produced=None if load is None else load.produced,
            failed=0 if load is None else load.failed,
        )

    # Connections

    async def _connections(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        limit = trio.CapacityLimiter(HANDSHAKES)
        async with trio.open_nursery() as nursery:
            task_status.started(nursery.cancel_scope)
            began = trio.current_time()
            for number in range(self._plan.connections):
                await trio.sleep_until(began + number / self._plan.ramp)
                await limit.acquire_on_behalf_of(number)
                nursery.start_soon(self._connection, number, limit)

    async def _connection(self, number: int, limit: trio.CapacityLimiter) -> None:
        holds = True

        def settle() -> None:
            nonlocal holds
            if holds:
                holds = False
                self._settled += 1
                limit.release_on_behalf_of(number)

        target = self._plan.target(number)
        try:
            async with dial_bulk(target.url(target.request.from_), JSON.name) as connection:
                await self._read(connection, number, settle)
        except Lost as lost:
            self._tally.refuse(f"closed with {lost.code} {lost.reason}".rstrip())
        except Refused as refused:
            self._tally.refuse(f"refused with {refused}")
        except (Unreachable, OSError) as error:
            self._tally.refuse(f"cannot connect: {error}")
        finally:
            settle()

    async def _read(self, connection: Bulk, number: int, settle: Callable[[], None]) -> None:
        target, tally = self._plan.target(number), self._tally
        reader = Reader(tally, self._plan.key(number))
        before = 0
        while True:
            for data in await connection.receive():
                message = self._decode(data)
                if message.type == "record":
                    reader.record(message, time.time_ns())
                elif message.type == "welcome":
                    await connection.send(target.command(target.request.from_) or "")
                elif message.type == "subscribed":
                    reader.begin(message.positions)
                elif message.type == "live":
                    self._readers.append(reader)
                    self._ready += 1
                    settle()
                elif message.type == "gap":
                    tally.gaps.append(f"partition {message.partition}, from {message.from_}: {message.reason}")
                elif message.type in ("error", "unsubscribed"):
                    tally.refuse(f"{message.code}: {message.message}")
                    return
            tally.bytes += connection.received_bytes - before
            before = connection.received_bytes

    # Traffic

    async def _connect(self) -> float:
        """Until everybody is ready or failed: the seconds it took."""
        began, wanted = trio.current_time(), self._plan.connections
        while self._settled < wanted and not self._stopped.is_set():
            self._progress.show("connecting", self._settled, wanted, f"{self._ready:,} of {wanted:,}")
            with trio.move_on_after(LOOK_SECONDS):
                await self._stopped.wait()
        return trio.current_time() - began

    async def _traffic(self, load: Load | None) -> None:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            if load is not None:
                nursery.start_soon(trio.to_thread.run_sync, load.run)
            while trio.current_time() - began < self._plan.seconds and not self._stopped.is_set():
                self._show(trio.current_time() - began)
                with trio.move_on_after(LOOK_SECONDS):
                    await self._stopped.wait()
            if load is not None:
                load.stop()
        self._tally.end()
        deadline = trio.current_time() + PATIENCE_SECONDS
        while self._missing(load) and trio.current_time() < deadline:
            self._progress.show("waiting", 0, 1, f"for {self._missing(load):,} records")
            await trio.sleep(LOOK_SECONDS)

    def _show(self, seconds: float) -> None:
        plan, records = self._plan, self._tally.records
        told = f"{seconds:.0f} of {plan.seconds:.0f} s, {records / max(seconds, 0.1):,.0f} records/s"
        self._progress.show("receiving", seconds, plan.seconds, told)

    def _load(self) -> Load | None:
        plan, run = self._plan, self._tally.run
        if plan.kafka is None or run is None:
            return None
        topic, records = plan.targets[0].request.topic, max(1, round(plan.rate * plan.seconds))
        schedule = Schedule(topic, records, plan.rate, plan.keys, lambda due_ns: stamped(run, due_ns, plan.bytes))
        return Load({"bootstrap.servers": plan.kafka}, schedule)

    def _missing(self, load: Load | None) -> int:
        acknowledged: Mapping[str | None, int] | None = None if load is None else load.acknowledged
        return sum(reader.missing(acknowledged) for reader in self._readers)

    async def _until_stopped(self) -> None:
        with (
            trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
            contextlib.suppress(StopAsyncIteration),
        ):
            await anext(signals)
            self._stopped.set()
            await anext(signals)
            os._exit(130)
