"""The readers: threads that read blocks back from Kafka, what each is reading, and the ceiling over all of them.

What they are to read is decided by `core.elevator`; here it is told to them, once for all that happened in a turn of
the loop.
"""

import copy
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import trio

from tailrace.core.elevator import Order
from tailrace.core.encode import Encoder
from tailrace.core.lane import Partition
from tailrace.core.pace import CATCHUP_BURST_SECONDS, Bucket
from tailrace.kafka.reader import Reader
from tailrace.kafka.run import Event, Run
from tailrace.kafka.settings import Value
from tailrace.kafka.trouble import Trouble


class Deciding(Protocol):
    """Who decides, and takes what came of it: `Blocks`."""

    def decide(self) -> list[Order]: ...
    def encoder(self, place: Partition) -> Encoder: ...
    def happened(self, reader: int | None, event: Event) -> None:
        """`reader` None: what it reads was replaced meanwhile."""


class Readers:
    """`count` of them; `bytes_per_second`: of values, all together."""

    def __init__(
        self,
        kafka: Mapping[str, Value],
        count: int,
        bytes_per_second: int | None,
        deciding: Deciding,
        on_error: Callable[[Trouble], None],
        on_statistics: Callable[[str], None] | None,
    ) -> None:
        encoding = threading.Lock()
        self._readers = [
            Reader(kafka, partial(self._event, number), encoding, on_error, on_statistics) for number in range(count)
        ]
        self._runs: list[Run | None] = [None] * count
        self._bytes_per_second = bytes_per_second
        self._deciding = deciding
        self._due = trio.Event()
        self._charged_bytes = 0
        self.held_back = False

    async def run(self) -> None:
        """Until cancelled; returns when their threads have ended."""
        async with trio.open_nursery() as nursery:
            for reader in self._readers:
                nursery.start_soon(reader.run)
            ceiling = Bucket(self._bytes_per_second, CATCHUP_BURST_SECONDS, trio.current_time())
            nursery.start_soon(self._tell, ceiling)

    def look_again(self) -> None:
        """Something has happened that may change what is to be read."""
        self._due.set()

    @property
    def places(self) -> tuple[Partition | None, ...]:
        """What each is at."""
        return tuple(None if run is None else run.place for run in self._runs)

    @property
    def read_bytes(self) -> int:
        """Of values, taken from Kafka so far."""
        return sum(reader.read_bytes for reader in self._readers)

    @property
    def read_records(self) -> int:
        return sum(reader.read_records for reader in self._readers)

    def _event(self, reader: int, event: Event) -> None:
        """From a reader's thread, in the loop."""
        self._deciding.happened(reader if self._runs[reader] is event.run else None, event)
        self.look_again()

    async def _tell(self, ceiling: Bucket) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            if wait := self._throttle(ceiling):
                self.held_back = True
                await trio.sleep(wait)
                self.held_back = False
            for order in self._deciding.decide():
                self._obey(order)

    def _throttle(self, ceiling: Bucket) -> float:
        """Seconds to wait until more may be read."""
        before, self._charged_bytes = self._charged_bytes, self.read_bytes
        return ceiling.take(self._charged_bytes - before, trio.current_time())

    def _obey(self, order: Order) -> None:
        run = self._runs[order.reader]
        if order.partition is None:
            run = None
        elif order.start is None and run is not None:
            run.plan = order.plan
        elif order.start is not None:
            # A copy: encoders count, and this one is used in another thread.
            run = Run(order.partition, order.start, order.plan, copy.copy(self._deciding.encoder(order.partition)))
        self._runs[order.reader] = run
        self._readers[order.reader].read(run)
