"""What a record to be published may be, and how many bytes of records may be on their way. Pure.

A record is judged by itself (`check`) before anything is asked of Kafka. `Room` counts bytes from the moment a command
was read until Kafka has reported, whatever becomes of the client meanwhile: what librdkafka holds is memory.
"""

from typing import Final

from tailrace.config import Publish as Limits
from tailrace.core.commands import Publish
from tailrace.errors import CommandError, ErrorCode

RECORD_BYTES: Final = 512
"""What a record costs beside its bytes: librdkafka's message (about 250), the report's callback, our entry."""


def size_of(record: Publish) -> int:
    """Bytes of memory it stands for while it is on its way."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return RECORD_BYTES + len(record.value or b"") + len(record.key or b"") + headers


def check(record: Publish, limits: Limits) -> None:
    """Raise CommandError: `too_large` for a limit, `bad_request` for what Kafka's clients could not write as sent."""
    if limits.max_key_bytes is not None and len(record.key or b"") > limits.max_key_bytes:
        raise _too_large(f"a key of {len(record.key or b'')} bytes", limits.max_key_bytes)
    if limits.max_headers is not None and len(record.headers) > limits.max_headers:
        raise _too_large(f"{len(record.headers)} headers", limits.max_headers)
    header_bytes = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    if limits.max_header_bytes is not None and header_bytes > limits.max_header_bytes:
        raise _too_large(f"headers of {header_bytes} bytes", limits.max_header_bytes)
    if any("\0" in name for name, _ in record.headers):  # librdkafka would end the name there
        raise CommandError(ErrorCode.BAD_REQUEST, "`headers`: a name has no U+0000")


def _too_large(what: str, most: int) -> CommandError:
    return CommandError(ErrorCode.TOO_LARGE, f"{what}, {most} are allowed")


class Room:
    """Bytes on their way, of all connections together. A single record always finds room when there is nothing else."""

    __slots__ = ("_max_bytes", "bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.bytes = 0

    def take(self, size: int) -> bool:
        """Whether there was room for it; it is then taken."""
        if self.bytes and self.bytes + size > self._max_bytes:
            return False
        self.bytes += size
        return True

    def give_back(self, size: int) -> None:
        """What was taken."""
        self.bytes -= size
