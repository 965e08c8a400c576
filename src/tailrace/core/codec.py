"""One message's bytes to a command and back from a message to bytes, for either subprotocol.

Whatever the bytes, `decode` gives a command or raises CommandError, with the `id` and the `command` (its type) as far
as they can be read: the message is taken apart into raw fields first, and only then held against what its type wants.
That an `id` may be used now is for the session to say; sizes were limited by the transport.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from tailrace.core import wire_json, wire_msgpack
from tailrace.core.commands import Command
from tailrace.core.frame import BINARY, TEXT
from tailrace.core.messages import Message
from tailrace.core.wire import Id, Wire
from tailrace.errors import CommandError, ErrorCode

MAX_MESSAGE_CHARACTERS: Final = 200  # what msgspec says may quote a field's name as long as the message
MAX_COMMAND_CHARACTERS: Final = 64

Read = Callable[[Any], Any]
"""A decoder's `decode`: str or bytes to a value of the decoder's type; ValueError, RecursionError."""


class Codec:
    """A subprotocol: `name` as in Sec-WebSocket-Protocol, `opcode` of its messages, `text`: they are str."""

    __slots__ = ("_commands", "_id", "_pairs", "_type", "encode", "name", "opcode", "text")

    def __init__(
        self,
        name: str,
        opcode: int,
        pairs: Callable[[str | bytes], tuple[list[tuple[str, Raw]], str | None]],
        wires: tuple[type[Wire], ...],
        decoder: type[msgspec.json.Decoder[Any]] | type[msgspec.msgpack.Decoder[Any]],
        encode: Callable[[Message], bytes],
    ) -> None:
        self.name: Final = name
        self.opcode: Final = opcode
        self.text: Final = opcode == TEXT
        self.encode: Final = encode
        self._pairs = pairs
        self._commands: dict[str, Read] = {str(wire.__struct_config__.tag): decoder(wire).decode for wire in wires}
        self._id = decoder(Id).decode
        self._type = decoder(str).decode

    def decode(self, data: str | bytes) -> Command:
        """The command in a whole message; CommandError: `bad_request`, `unknown_type` or `unknown_topic`."""
        id: int | None = None
        name: str | None = None
        try:
            fields, fault = self._fields(data)
            id = _readable(self._id, fields.get("id"))
            name = _readable(self._type, fields.get("type"))
            return self._command(data, name, fault)
        except CommandError as error:
            code, message = error.code, error.message
        except RecursionError:
            code, message = ErrorCode.BAD_REQUEST, "nested too deeply"
        except ValueError as error:  # msgspec's own errors are, and those of UTF-8
            code, message = ErrorCode.BAD_REQUEST, str(error)
        command = None if name is None else name[:MAX_COMMAND_CHARACTERS]
        raise CommandError(code, message[:MAX_MESSAGE_CHARACTERS], id, command)

    def _fields(self, data: str | bytes) -> tuple[dict[str, Raw], str | None]:
        """The fields that stand once, and what is wrong all the same: of two ids neither is the id."""
        pairs, fault = self._pairs(data)
        fields = dict(pairs)
        repeated = _repeated(pairs)
        for name in repeated:
            del fields[name]
        repeated += self._repeated_in_from(fields.get("from"))
        return fields, f"field `{repeated[0]}` stands more than once" if repeated else fault

    def _repeated_in_from(self, raw: Raw | None) -> list[str]:
        """`from` is the one field with fields of its own; what a published value holds is Kafka's."""
        try:
            return [] if raw is None else [f"from.{name}" for name in _repeated(self._pairs(bytes(raw))[0])]
        except ValueError:  # no object: its type is judged with the others
            return []

    def _command(self, data: str | bytes, name: str | None, fault: str | None) -> Command:
        if fault is not None:
            raise ValueError(fault)
        if name is None:
            raise ValueError("field `type` is missing or not a string")
        read = self._commands.get(name)
        if read is None:
            raise CommandError(ErrorCode.UNKNOWN_TYPE, f"there is no command of type `{name}`")
        command: Command = read(data).command()
        return command


def _repeated(pairs: list[tuple[str, Raw]]) -> list[str]:
    counts = Counter(name for name, _ in pairs)
    return [name for name, count in counts.items() if count > 1] if len(counts) < len(pairs) else []


def _readable(read: Read, raw: Raw | None) -> Any:
    """What the field holds; None when it is absent or of another type."""
    try:
        return None if raw is None else read(raw)
    except ValueError:
        return None


JSON: Final = Codec(
    "tailrace.v1.json", TEXT, wire_json.pairs, wire_json.WIRES, msgspec.json.Decoder, msgspec.json.Encoder().encode
)
MSGPACK: Final = Codec(
    "tailrace.v1.msgpack",
    BINARY,
    wire_msgpack.pairs,
    wire_msgpack.WIRES,
    msgspec.msgpack.Decoder,
    msgspec.msgpack.Encoder().encode,
)
