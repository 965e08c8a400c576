"""Waiting for an answer on behalf of a client that may leave meanwhile: what nobody waits for is given up."""

import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import outcome
import trio

T = TypeVar("T")


class Gone(Exception):
    """The client left before there was an answer."""


async def while_present(sock: trio.socket.SocketType, ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns or raises; `ask` is cancelled, and Gone raised, when the client ends the connection first.

    Its first byte ends the watch, and is left to be read: a handshake is not yet answered, so there should be none.
    """
    found: outcome.Outcome[T] | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, sock, nursery.cancel_scope)
        try:
            found = outcome.Value(await ask())
        except Exception as error:  # noqa: BLE001  raised below, out of the nursery's group
            found = outcome.Error(error)
        nursery.cancel_scope.cancel()
    if found is None:
        raise Gone
    return found.unwrap()


async def _watch(sock: trio.socket.SocketType, waiting: trio.CancelScope) -> None:
    try:
        await trio.lowlevel.wait_readable(sock)  # `recv` would ask first, for what is never there
        left = not await sock.recv(1, socket.MSG_PEEK)
    except OSError:
        left = True
    if left:
        waiting.cancel()
