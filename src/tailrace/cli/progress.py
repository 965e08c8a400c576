"""A progress bar on a terminal's last line; elsewhere nothing, so that a log holds lines only."""

import sys
from typing import Final, TextIO

_WIDTH: Final = 30


class Progress:
    """`stream` is stderr unless a test says otherwise."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = 0

    def show(self, what: str, done: float, of: float, told: str) -> None:
        """The bar with these words, in place of the one before."""
        if not self._stream.isatty():
            return
        filled = int(_WIDTH * min(1.0, done / of if of else 1.0))
        line = f"{what:<11}[{'#' * filled}{'.' * (_WIDTH - filled)}] {told}"
        self._write("\r" + line.ljust(self._shown))
        self._shown = len(line)

    def clear(self) -> None:
        """The line is free again."""
        if self._shown:
            self._write("\r" + " " * self._shown + "\r")
            self._shown = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
