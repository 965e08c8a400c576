"""A worker's process, and the sockets it is given. Linux: pidfd, SO_REUSEPORT, PR_SET_PDEATHSIG (in the worker).

Each worker gets sockets of its own, bound by the parent: they all have the port that the parent took, whatever rights
binding it needs. The parent keeps one that never listens, so that the port stays taken while no worker runs.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

import trio

# -P: not whatever lies in the current folder. The worker's standard input is its end of the channel.
COMMAND: Final = (sys.executable, "-P", "-m", "tailrace.cli.worker")
# What the service manager said is said to the parent.
_FOR_THE_PARENT: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

Bound = tuple[socket.AddressFamily, Any]
"""What a socket is bound to: family, and `getsockname()`."""


def bind(address: Bound) -> socket.socket:
    """A socket on an address that others may be bound to as well; does not listen. Raises OSError."""
    family, name = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def bind_all(addresses: Sequence[Bound]) -> list[socket.socket]:
    """A socket on each. Raises OSError, and then leaves none open."""
    with contextlib.ExitStack() as failing:
        bound = [failing.enter_context(bind(each)) for each in addresses]
        failing.pop_all()
    return bound


class Process:
    """A worker that runs. `stream`: the parent's end of its channel."""

    def __init__(self, popen: subprocess.Popen[bytes], stream: trio.SocketStream) -> None:
        self._popen = popen
        self._pidfd = os.pidfd_open(popen.pid)
        self.stream = stream

    @property
    def pid(self) -> int:
        return self._popen.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        self._popen.send_signal(number)

    async def wait(self) -> str:
        """How it ended, in words."""
        await trio.lowlevel.wait_readable(self._pidfd)
        return ending(self._popen.wait())

    async def aclose(self) -> None:
        """Nothing of it is left: killed when it still runs, and reaped."""
        self._popen.kill()
        with trio.CancelScope(shield=True):
            await self.wait()
        os.close(self._pidfd)
        await trio.aclose_forcefully(self.stream)


def start(sockets: Sequence[socket.socket], command: Sequence[str] = COMMAND) -> Process:
    """Start a worker that inherits these sockets. Raises OSError.

    In this very thread: PR_SET_PDEATHSIG fires when the thread ends that started the process, so none of trio's will
    do. In a process group of its own: Ctrl-C on a terminal is the parent's to pass on.
    """
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if name not in _FOR_THE_PARENT}
    inherited = [each.fileno() for each in sockets]
    with contextlib.ExitStack() as failing, theirs:
        failing.enter_context(ours)
        popen = subprocess.Popen(command, stdin=theirs.fileno(), pass_fds=inherited, env=environment, process_group=0)
        failing.pop_all()
    return Process(popen, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))


def ending(code: int) -> str:
    """An exit code as `Popen` has it, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
