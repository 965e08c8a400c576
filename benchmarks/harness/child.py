"""A child process that tells its events as JSON lines on stdout and is told what to do on stdin."""

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from benchmarks.harness import cpu

STOP_SECONDS = 10.0


class ChildFailed(Exception):
    """The process ended, or said that it cannot go on; carries the end of its stderr."""


class TooLate(ChildFailed):
    """It said nothing in time."""


class Child:
    """Owns one process: `with Child([...]) as child: child.wait_event("ready", seconds=10)`."""

    def __init__(self, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        self.name = Path(command[0]).name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **env} if env else None,
        )
        self.pid = self._process.pid
        self._unread = b""

    def say(self, line: str) -> None:
        """Writes one command line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def wait_event(self, name: str, seconds: float) -> dict[str, Any]:
        """The next event of that name; others before it are passed over. Raises ChildFailed."""
        deadline = time.monotonic() + seconds
        while True:
            event: dict[str, Any] = msgspec.json.decode(self._read_line(deadline))
            if event["event"] == name:
                return event
            if event["event"] == "failed":
                raise ChildFailed(f"{self.name} failed while waiting for {name}: {self.stderr()}")

    def cpu_seconds(self) -> float:
        """CPU seconds of the process and its children up to now."""
        return cpu.family_seconds(self.pid)

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def stderr(self) -> str:
        """The last 2,000 bytes that it wrote to stderr."""
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 2000))
        return self._stderr.read().decode(errors="replace")

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if not self.ended():
            self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL when that does not end it in time."""
        self.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _read_line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TooLate(f"{self.name} said nothing in time: {self.stderr()}")
                chunk = os.read(self._process.stdout.fileno(), 65536)
                if not chunk:
                    raise ChildFailed(f"{self.name} ended: {self.stderr()}")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line
