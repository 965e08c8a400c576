"""One task that takes every connection's pulse: pings the quiet, ends the dead and those that take nothing.

A task or a timer for each connection would cost more memory than the rest of an idle one. And waking up costs more
than looking (0.3 ms of a core that has been idle, the looks at a thousand that rest the same): so all are passed in one
go, and only those that do not rest are spread over the time until the next round.
"""

from collections.abc import Collection

import trio

from tailrace.disconnect import NO_PONG, WRITE_TIMEOUT
from tailrace.websocket.connection import Connection
from tailrace.websocket.keepalive import Times, Verdict

PING = b"\x89\x00"  # RFC 6455 5.5.2, without data
GLANCES = 1000  # at connections that rest, 0.3 us each, before others have their turn
SLICES = 16  # of a round: of 10,000 connections that do not rest 600 are looked at together,
LOOKS = 64  # and of a few all


async def watch(connections: Collection[Connection], times: Times) -> None:
    """Until cancelled: a round over all connections every `times.look` seconds."""
    while True:
        begun = trio.current_time()
        await _round(await _stirred(list(connections), begun + times.look), begun, times)
        await trio.sleep_until(begun + times.look)


async def _stirred(everyone: list[Connection], until: float) -> list[Connection]:
    """Those that do not rest until then."""
    found: list[Connection] = []
    for begin in range(0, len(everyone), GLANCES):
        if begin:
            await trio.lowlevel.checkpoint()
        for connection in everyone[begin : begin + GLANCES]:
            outlet = connection.outlet
            committed = outlet.line.sent_bytes + outlet.line.waiting_bytes
            if not connection.pulse.rests(until, committed, outlet.guard.received_bytes):
                found.append(connection)
    return found


async def _round(stirred: list[Connection], begun: float, times: Times) -> None:
    """Look at these in slices, since pings and their answers are work, and nobody else's turn meanwhile."""
    size = max(LOOKS, -(-len(stirred) // SLICES))
    for number, begin in enumerate(range(0, len(stirred), size)):
        if number:
            await trio.sleep_until(begun + number * times.look / SLICES)
        now = trio.current_time()
        for connection in stirred[begin : begin + size]:
            if connection.ending is None:
                try:
                    take_pulse(connection, now, times)
                except Exception as fault:  # noqa: BLE001  ours: it is this connection's, and the others have pulses too
                    connection.outlet.blame(fault)


def take_pulse(connection: Connection, now: float, times: Times) -> None:
    """Look at one connection and do what its pulse asks for."""
    outlet, pulse = connection.outlet, connection.pulse
    waiting = outlet.unacknowledged_bytes
    acknowledged = outlet.line.sent_bytes + outlet.line.waiting_bytes - waiting
    if connection.paused:
        pulse.forgive()
    match pulse.look(now, acknowledged, outlet.guard.received_bytes, waiting, times):
        case Verdict.PING:
            outlet.post(PING)
        case Verdict.NO_PONG:
            connection.end(NO_PONG)
        case Verdict.WRITE_TIMEOUT:
            connection.end(WRITE_TIMEOUT)
