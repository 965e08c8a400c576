"""A worker's side: the gateway on inherited sockets, its admin routes asked over the channel.

It drains on SIGTERM like any gateway, and does so too when the parent is gone: the channel's end says it, and the
kernel, should the loop hang just then.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

import trio

from tailrace.config import Config
from tailrace.gateway.server import BACKLOG, serve
from tailrace.http.admin import Routes, answer_for
from tailrace.http.answers import Answer
from tailrace.http.head import Head
from tailrace.workers.channel import Channel
from tailrace.workers.messages import Again, Ask, FromParent, Listening, Start, Told

PR_SET_PDEATHSIG = 1  # prctl(2)


class Worker:
    """The worker that `start` describes. `config`: as the parent said it last."""

    def __init__(self, channel: Channel[FromParent], start: Start) -> None:
        self._channel = channel
        self._start = start
        self.config = start.config

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or the parent's end. Raises ConfigError when a file of TLS is no good."""
        async with trio.open_nursery() as nursery:
            public, console = inherit(self._start.sockets), self.config.listen.console
            serving = partial(serve, self.config, console=console, public=public, admin=self._answer, read=self._read)
            await nursery.start(serving)
            await self._channel.send(Listening())

    def _read(self) -> Config:
        """What the parent has read."""
        return self.config

    async def _answer(self, routes: Routes) -> None:
        """Answer what the parent asks; when it is gone, drain. Never returns before it is cancelled."""
        async with trio.open_nursery() as nursery:
            while (message := await self._channel.receive()) is not None:
                match message:
                    case Ask():
                        nursery.start_soon(_tell, self._channel, routes, message)
                    case Again(config=config):
                        self.config = config
                        os.kill(os.getpid(), signal.SIGHUP)  # the gateway's own way to read again
            os.kill(os.getpid(), signal.SIGTERM)


async def _tell(channel: Channel[FromParent], routes: Routes, question: Ask) -> None:
    found: Answer = await answer_for(head(question.target), routes)
    await channel.send(Told(question.id, found.status, found.body, found.content_type))


def head(target: str) -> Head:
    """The request that the parent was asked, as far as a route looks at it."""
    return Head("GET", target, target.partition("?")[0], "1.1", (), b"")


def inherit(descriptors: Sequence[int]) -> list[trio.SocketListener]:
    """Listeners on bound sockets."""
    listeners = []
    for descriptor in descriptors:
        sock = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor))
        sock.listen(BACKLOG)
        listeners.append(trio.SocketListener(sock))
    return listeners


def die_with_parent() -> None:
    """Let the kernel send SIGTERM when the parent's thread that started us ends (prctl(2)). Raises OSError."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def channel_to_parent() -> Channel[FromParent]:
    """Standard input, which it is."""
    sock = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    return Channel(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), FromParent)
