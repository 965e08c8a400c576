"""The elevator with everything around it, without threads, tasks or time: a plain gateway that reads back.

`get` a ticket, `step` readers, look at what the ticket was answered. What the parts must hold at any time is asserted
on the way.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from tests.plain_log import ENCODER, PlainLog, PlainReader

from tailrace.core.block_cache import BlockCache
from tailrace.core.elevator import Elevator, Order
from tailrace.core.lane import Partition
from tailrace.kafka.run import Arrived, Ended, Event, Failed, Outside, Run


class Ticket:
    """`answer`: the Stretch, or ("end" | "gone" | "beyond" | "unknown", offset)."""

    def __init__(self, place: Partition, format: int, offset: int) -> None:
        self.place = place
        self.format = format
        self.offset = offset
        self.answer: Any = None


class PlainCatchup:
    """`logs`: what there is to read."""

    def __init__(
        self, logs: Mapping[Partition, PlainLog], readers: int = 2, window: int = 4, cache_bytes: int = 10**9
    ) -> None:
        self.logs = logs
        self.cache: BlockCache[Any, Any] = BlockCache(cache_bytes)
        self.elevator: Elevator[Ticket] = Elevator(
            readers, window, lambda place, format, offset: self.cache.covered((place, format), offset)
        )
        self.readers = [PlainReader(logs) for _ in range(readers)]
        self.runs: list[Run | None] = [None] * readers
        self.told: list[deque[Event]] = [deque() for _ in range(readers)]
        self.waiting: list[Ticket] = []
        self.resting: list[Partition] = []

    def get(self, place: Partition, offset: int, format: int = 2) -> Ticket:
        ticket = Ticket(place, format, offset)
        ticket.answer = self.cache.find((place, format), offset)
        if ticket.answer is None:
            self.waiting.append(ticket)
            self.elevator.want(place, format, offset, ticket)
        else:
            self.elevator.used(place, format, ticket.answer.next)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        self.waiting.remove(ticket)
        self.elevator.unwant(ticket.place, ticket.format, ticket.offset, ticket)

    def step(self, reader: int) -> bool:
        """One block, and it is heard of at once. Whether there was something to do."""
        busy = self.read(reader)
        self.hear(reader)
        return busy

    def read(self, reader: int) -> bool:
        """One block, which the loop has not heard of yet."""
        self.decide()
        event = self.readers[reader].step()
        if event is not None:
            self.told[reader].append(event)
        return event is not None

    def hear(self, reader: int) -> None:
        """What the reader has told so far, in order."""
        while self.told[reader]:
            event = self.told[reader].popleft()
            self._happened(reader if self.runs[reader] is event.run else None, event)

    def settle(self, at_most: int = 10_000) -> int:
        """Everything that there is to read, in turns; the steps it took."""
        for steps in range(at_most):
            busy = [self.step(reader) for reader in range(len(self.readers))]
            if not any(busy):
                return steps
        raise AssertionError("it reads and reads")

    def rested(self) -> None:
        resting, self.resting = self.resting, []
        for place in resting:
            self.elevator.rested(place)

    def decide(self) -> None:
        for order in self.elevator.decide():
            self._obey(order)
        places = [run.place for run in self.runs if run is not None]
        assert len(places) == len(set(places)), "a partition is read by one reader at a time"

    def _obey(self, order: Order) -> None:
        run = self.runs[order.reader]
        if order.partition is None:
            run = None
        elif order.start is None:
            assert run is not None
            assert run.place == order.partition
            run.plan = order.plan
        else:
            run = Run(order.partition, order.start, order.plan, ENCODER)
        assert run is None or order.plan.formats or order.plan.until <= (order.start or 10**9)
        self.runs[order.reader] = self.readers[order.reader].wanted = run

    def _happened(self, reader: int | None, event: Event) -> None:
        place = event.run.place
        if isinstance(event, Arrived | Ended) and event.block is not None:
            block = event.block
            formats = list(block.stretches)
            served = self.elevator.arrived(place, reader, block.start, block.next, block.full_bytes, formats)
            for format, stretch in block.stretches.items():
                self.cache.add((place, format), stretch)
                for ticket in served.get(format, ()):
                    self._answer(ticket, stretch)
        if reader is not None:
            self._concluded(place, reader, event)
        self.resting += self.elevator.take_tired()

    def _concluded(self, place: Partition, reader: int, event: Event) -> None:
        if isinstance(event, Ended):
            for tickets in self.elevator.ended(place, reader, event.end).values():
                self._answer_all(tickets, ("end", event.end))
        elif isinstance(event, Outside):
            below, beyond = self.elevator.outside(place, reader, event.offset, event.beginning, event.end)
            self._answer_all(below, ("gone", event.beginning))
            self._answer_all(beyond, ("beyond", event.end))
        elif isinstance(event, Failed):
            self._answer_all(self.elevator.failed(place, reader, event.unknown), ("unknown", 0))

    def _answer_all(self, tickets: list[Ticket], answer: object) -> None:
        for ticket in tickets:
            self._answer(ticket, answer)

    def _answer(self, ticket: Ticket, answer: Any) -> None:
        self.waiting.remove(ticket)
        ticket.answer = answer
        log = self.logs[ticket.place]
        if not isinstance(answer, tuple):
            assert answer.format == ticket.format
            assert answer.start <= ticket.offset < answer.next <= log.end
        elif answer[0] == "end":
            assert ticket.offset == answer[1] <= log.uncommitted
        elif answer[0] == "gone":
            assert ticket.offset < answer[1] <= log.beginning
        elif answer[0] == "beyond":
            assert ticket.offset > answer[1] <= log.end
