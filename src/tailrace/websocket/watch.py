"""One task that takes every connection's pulse: pings the quiet, ends the dead and those that take nothing.

A task or a timer for each connection would cost more memory than the rest of an idle one.
"""

from collections.abc import Collection

import trio

from tailrace.disconnect import NO_PONG, WRITE_TIMEOUT
from tailrace.websocket.connection import Connection
from tailrace.websocket.keepalive import Times, Verdict

PING = b"\x89\x00"  # RFC 6455 5.5.2, without data
SLICES = 16  # of a round: 10,000 connections are looked at 600 at a time


async def watch(connections: Collection[Connection], times: Times) -> None:
    """Until cancelled: a round over all connections every `times.look` seconds."""
    while True:
        round_of = list(connections)
        size = -(-len(round_of) // SLICES)
        for begin in range(SLICES):
            await trio.sleep(times.look / SLICES)
            now = trio.current_time()
            for connection in round_of[begin * size : (begin + 1) * size]:
                if connection.ending is None:
                    take_pulse(connection, now, times)


def take_pulse(connection: Connection, now: float, times: Times) -> None:
    """Look at one connection and do what its pulse asks for."""
    outlet, pulse = connection.outlet, connection.pulse
    committed, received = outlet.line.sent_bytes + outlet.line.waiting_bytes, outlet.guard.received_bytes
    if pulse.rests(now, committed, received):
        return
    waiting = outlet.unacknowledged_bytes
    if connection.paused:
        pulse.forgive()
    match pulse.look(now, committed - waiting, received, waiting, times):
        case Verdict.PING:
            outlet.post(PING)
        case Verdict.NO_PONG:
            connection.end(NO_PONG)
        case Verdict.WRITE_TIMEOUT:
            connection.end(WRITE_TIMEOUT)
