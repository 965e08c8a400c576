"""The parent's admin routes: what it knows itself, and what it asks the workers.

A page of `/connections` is one worker's; `next` names the worker that has the following one, so that a walk along
`next` sees every worker. Nobody is waited for longer than a scrape may take.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import trio

from tailrace.http.admin import Readiness, Route, Routes, livez, readyz
from tailrace.http.answers import Answer, json_answer
from tailrace.http.head import Head
from tailrace.http.refusal import MALFORMED, Refused
from tailrace.metrics.exposition import CONTENT_TYPE, exposition
from tailrace.metrics.snapshot import Snapshot
from tailrace.units import whole_number
from tailrace.workers.ledger import Ledger
from tailrace.workers.slot import Slot

ASK_SECONDS = 5.0  # Prometheus gives a scrape 10 s


def routes(slots: Sequence[Slot], readiness: Callable[[], Readiness]) -> Routes:
    """All of them. readiness: that of all workers together."""
    return {
        "/livez": livez,
        "/readyz": readyz(readiness),
        "/metrics": metrics(slots),
        "/connections": connections(slots),
    }


def metrics(slots: Sequence[Slot]) -> Route:
    """`/metrics` of all workers together."""
    ledger = Ledger()

    async def answer(head: Head) -> Answer:
        told: dict[int, Snapshot | None] = {}
        async with trio.open_nursery() as nursery:
            for slot in slots:
                nursery.start_soon(_numbers, slot, told)
        return Answer(200, exposition(ledger.total(told)), CONTENT_TYPE)

    return answer


async def _numbers(slot: Slot, told: dict[int, Snapshot | None]) -> None:
    pid = slot.standing.pid
    if pid is not None:
        told[pid] = None
        answer = await slot.ask("/metrics/numbers", ASK_SECONDS)
        if answer is not None and answer.status == 200:
            told[pid] = msgspec.msgpack.decode(answer.body, type=Snapshot)


def connections(slots: Sequence[Slot]) -> Route:
    """`/connections`, a page of one worker's at a time."""

    async def answer(head: Head) -> Answer:
        number, target = at_worker(head.target, len(slots))
        found = await slots[number - 1].ask(target, ASK_SECONDS)
        if found is not None and found.status != 200:
            return found
        page: dict[str, Any] = {"connections": [], "next": None} if found is None else msgspec.json.decode(found.body)
        return json_answer(200, page | {"worker": number, "next": following(number, page["next"], len(slots))})

    return answer


def at_worker(target: str, workers: int) -> tuple[int, str]:
    """Which worker has the page that a target asks for, and what it is to be asked. Refused: no such worker."""
    path, _, query = target.partition("?")
    fields = dict(parse_qsl(query, keep_blank_values=True))
    written, _, after = fields.pop("after", "1:").partition(":")
    number = whole_number(written)
    if number is None or not 1 <= number <= workers:
        raise Refused(MALFORMED.because("after must be what next said"))
    if after:
        fields["after"] = after
    return number, f"{path}?{urlencode(fields)}"


def following(number: int, next: str | None, workers: int) -> str | None:
    """Where the walk goes on behind a page of worker `number`, whose own `next` this is."""
    if next is not None:
        return f"{number}:{next}"
    return f"{number + 1}:" if number < workers else None
