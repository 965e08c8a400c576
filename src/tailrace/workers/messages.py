"""What parent and worker say to each other: MessagePack behind four bytes of length, over a socket pair.

The parent starts with `Start`, the worker with `Listening`. Then the parent asks and the worker answers, in any
order. The end of the stream means that the other one is gone. There is no version in it: both are the same program.
"""

import struct
from typing import Final

import msgspec

from tailrace.config import Config

LENGTH: Final = struct.Struct("!I")


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A message; its tag is its class's name."""


class Start(Message, frozen=True):
    """Parent: be worker `number`, with this configuration, on these listening sockets (descriptors)."""

    number: int
    config: Config
    sockets: tuple[int, ...]


class Ask(Message, frozen=True):
    """Parent: what does your admin route at `target` ("/path?query") answer? `id` comes back."""

    id: int
    target: str


class Again(Message, frozen=True):
    """Parent: this is the configuration now, and files may have changed as well; what SIGHUP means to a gateway."""

    config: Config


class Listening(Message, frozen=True):
    """Worker: clients are let in."""


class Told(Message, frozen=True):
    """Worker: the answer to `Ask`, as HTTP."""

    id: int
    status: int
    body: bytes
    content_type: str


FromParent = Start | Ask | Again
FromWorker = Listening | Told


def pack(message: Message) -> bytes:
    """The message as it goes over the channel."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
