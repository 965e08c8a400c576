"""`tailrace tail`: a topic's records on stdout, one JSON object a line, for as long as anybody reads them.

It comes back after a close as the close code says and continues where it was, so that each record is printed once; a
record counts as had when it is written. Gaps, closings and waits are told on stderr. A reader of stdout that is slow
slows the gateway down, and nothing is lost by it.

0: stopped by Ctrl-C or SIGTERM, or nobody reads stdout any more. 1: the gateway will not serve it, and says why.
"""

import contextlib
import os
import re
import select
import signal
import stat
import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import trio

from tailrace.address import is_loopback
from tailrace.client.following import Following, Leave, Line, Over, Say, Told, Wait
from tailrace.client.target import Target, read_target
from tailrace.core.protocol import JSON
from tailrace.errors import ConfigError
from tailrace.printable import printable
from tailrace.websocket.dial import Dialled, Lost, Refused, Unreachable, dial

TOKEN_VARIABLE: Final = "TAILRACE_TOKEN"
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1


def run(arguments: Namespace) -> int:
    """Prints until it is stopped; returns the exit code. Raises ConfigError for a URL or options it cannot follow."""
    try:
        target = read_target(arguments.url, arguments.topic, arguments.key, arguments.from_, arguments.slow)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    token = read_token(arguments.token)
    if token is not None and in_the_clear(target):
        tell("the token travels in the clear: ws:// to another machine")
    try:
        return trio.run(partial(tail, target, Output(sys.stdout.fileno()), token))
    except KeyboardInterrupt:
        return 0  # before there was anything to stop


def read_token(written: str | None) -> str | None:
    """As an option gives it or the environment, where not everybody on the machine can read it."""
    token = written or os.environ.get(TOKEN_VARIABLE)
    if token and _TOKEN.fullmatch(token) is None:
        raise ConfigError(f"--token, or {TOKEN_VARIABLE}, is no token: it has characters that none may have")
    return token or None


def in_the_clear(target: Target) -> bool:
    """Whether others on the way can read what is sent."""
    parts = urlsplit(target.address)
    return parts.scheme == "ws" and not is_loopback(parts.hostname or "")


class Output:
    """A file descriptor to write to, without ever blocking the loop: a signal must end it whoever reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._room = select.poll()  # select() refuses descriptors above 1023
        self._room.register(descriptor, select.POLLOUT)

    async def write(self, data: bytes) -> None:
        """All of it; BrokenPipeError when nobody reads any more."""
        left = memoryview(data)
        while left:
            if not self._room.poll(0):
                await trio.lowlevel.wait_writable(self._descriptor)
            # As much as a pipe that is writable takes without waiting (pipe(7)).
            left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]

    async def wait_closed(self) -> None:
        """Until nobody reads any more; for ever when it is no pipe. A topic may be quiet for hours."""
        if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(self._descriptor)  # the writing end of a pipe never is: it is an error


async def tail(target: Target, output: Output, token: str | None = None) -> int:
    """Follow until a signal, the end of the reader, or the end of it all: the exit code."""
    following = Following(target)
    code = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_stopped, signals, following, nursery.cancel_scope)
            nursery.start_soon(_until_closed, output, nursery.cancel_scope)
            with contextlib.suppress(BrokenPipeError):
                code = await follow(following, output, token)
            nursery.cancel_scope.cancel()
    return code


async def follow(following: Following, output: Output, token: str | None = None) -> int:
    """One connection after the other; the exit code when no more is wanted."""
    while True:
        verdict = await _connection(following, output, token)
        tell(verdict.text)
        if isinstance(verdict, Over):
            return 1 if verdict.failed else 0
        await trio.sleep(verdict.seconds)


async def _connection(following: Following, output: Output, token: str | None) -> Wait | Over:
    began = trio.current_time()
    try:
        async with dial(following.url, JSON.name, token) as connection:
            began = trio.current_time()
            leave = await _converse(connection, following, output)
        return following.left(leave)
    except Lost as lost:
        return following.lost(lost.code, lost.reason, trio.current_time() - began)
    except Refused as refused:
        return following.refused(refused.status, refused.message, refused.retry_seconds)
    except Unreachable as unreachable:
        return following.unreachable(str(unreachable))


async def _converse(connection: Dialled, following: Following, output: Output) -> Leave:
    while True:
        for event in following.receive(await connection.receive()):
            match event:
                case Line():
                    await output.write(event.text)
                case Say():
                    await connection.send(event.text)
                case Told():
                    tell(event.text)
                case Leave():
                    return event
            following.had(event)


async def _until_stopped(signals: AsyncIterator[int], following: Following, everything: trio.CancelScope) -> None:
    async for _ in signals:
        if following.place is not None:
            tell(f"stopped; to continue: --from {following.place}")
        everything.cancel()
        return


async def _until_closed(output: Output, everything: trio.CancelScope) -> None:
    await output.wait_closed()
    everything.cancel()


def tell(text: str) -> None:
    """A line on stderr; that nobody reads it is no reason to stop."""
    with contextlib.suppress(OSError):
        print(f"tailrace: {printable(text)}", file=sys.stderr, flush=True)
