"""What hostile clients do, as functions of a gateway's address: for tests of the one beside them, and of memory.

An attack returns when it is through, and has then been refused, cut off, or answered as it deserves; `hard` is how
often it is tried. The gateway's handshake_timeout is short (`LIMITS`), its rates are off where the attack is not one of
them: what is attacked is what lies behind. `topic` has `SCANNED` records with keys.
"""

import contextlib
import json
import socket
from collections.abc import Awaitable, Callable

import trio
from tests.gateway import Addressed, Raw, handshake, masked

from tailrace.config import Limits

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9
LIMITS = Limits(handshake_timeout=3.0, commands_per_second=None, frames_per_second=None)
SCANNED = 5_000  # records of the topic
HELLO = handshake("/ws")

Attack = Callable[[Addressed, str, int], Awaitable[None]]


async def until_closed(raw: Raw) -> bytes:
    """What came until the other end was through with us."""
    return await raw.end_of_file()


async def slow_drip(gateway: Addressed, topic: str, hard: int) -> None:
    """A byte at a time, until the handshake's time is up."""

    async def drip() -> None:
        async with await gateway.socket() as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                for at in range(len(HELLO) - 1):
                    await stream.send_all(HELLO[at : at + 1])
                    await trio.sleep(0.05)
            assert b" 101 " not in await until_closed(Raw(stream))

    async with trio.open_nursery() as nursery:
        for _ in range(5 * hard):
            nursery.start_soon(drip)


async def large_head(gateway: Addressed, topic: str, hard: int) -> None:
    for _ in range(5 * hard):
        async with await gateway.socket() as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(HELLO[:-2] + b"X: " + b"a" * 40_000 + b"\r\n\r\n")
            assert (await until_closed(Raw(stream))).startswith(b"HTTP/1.1 431 ")


def broken(frames: bytes, code: int) -> Attack:
    """Framing that is wrong, or too much: the close code says so."""

    async def attack(gateway: Addressed, topic: str, hard: int) -> None:
        for _ in range(5 * hard):
            async with gateway.raw() as raw:
                with contextlib.suppress(trio.BrokenResourceError):
                    await raw.send(frames)
                assert (await raw.close_frame())[0] == code

    return attack


async def resets(gateway: Addressed, topic: str, hard: int) -> None:
    """RST wherever it may be: within the head, between frames, in them."""
    subscribe = json.dumps({"type": "subscribe", "id": 1, "topic": topic}).encode()
    said = HELLO + masked(TEXT, subscribe) + masked(TEXT, b"x" * 20, final=False) + masked(CLOSE, b"\x03\xe8")
    for cut in range(1, len(said), max(1, 60 // hard)):
        raw = Raw(await gateway.socket())
        await raw.send(said[:cut])
        await raw.reset()


async def never_reads(gateway: Addressed, topic: str, hard: int) -> None:
    """Ask for everything, and read nothing; then for pongs without end, until nothing more is taken."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2 * hard):
            raw = await stack.enter_async_context(gateway.raw(buffer_bytes=4096))
            await raw.send(masked(TEXT, json.dumps({"type": "subscribe", "id": 1, "topic": topic}).encode()))
            sent, refused = 0, 0
            while sent < 64_000_000 and refused < 20:
                try:
                    sent += socket.socket.send(raw.stream.socket._sock, masked(PING, b"x" * 125) * 100)
                    refused = 0
                except BlockingIOError:
                    refused += 1
                await trio.sleep(0.005)
            assert refused, "it reads on and on"


async def subscribe_unsubscribe(gateway: Addressed, topic: str, hard: int) -> None:
    """2,000 of each, as fast as they are answered."""
    both = [{"type": "subscribe", "id": 1, "topic": topic}, {"type": "unsubscribe", "id": 1}]
    said = b"".join(masked(TEXT, json.dumps(each).encode()) for each in both)
    async with gateway.raw() as raw, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def say() -> None:
            for _ in range(20 * hard):
                await raw.send(said * 100)

        ended = 0
        while ended < 2_000 * hard:
            _, payload = await raw.frame()
            ended += b'"type":"unsubscribed"' in payload


async def scan_for_nothing(gateway: Addressed, topic: str, hard: int) -> None:
    """1,024 subscriptions that read the whole topic for a key that is not there."""
    async with gateway.raw() as raw, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def say() -> None:
            for id in range(1, 1025):
                command = {"type": "subscribe", "id": id, "topic": topic, "from": "earliest", "keys": ["none"]}
                await raw.send(masked(TEXT, json.dumps(command).encode()))

        live = 0
        while live < 1024:
            opcode, payload = await raw.frame()
            assert b'"type":"record"' not in payload
            live += opcode == TEXT and b'"type":"live"' in payload


ATTACKS: dict[str, Attack] = {
    "slow drip": slow_drip,
    "large head": large_head,
    "no mask": broken(b"\x81\x02{}", 1002),
    "reserved bits": broken(b"\xf1\x80\0\0\0\0", 1002),
    "bad utf-8": broken(masked(TEXT, b"\xff" * 50), 1007),
    "announced, not sent": broken(masked(BINARY, announce=1 << 40), 1003),
    "announced text, not sent": broken(masked(TEXT, announce=1 << 40), 1009),
    "empty fragments": broken(masked(TEXT, final=False) + masked(CONTINUATION, final=False) * 20_000, 1009),
    "faults": broken(masked(TEXT, b"{}") * 2_000, 4504),
    "resets": resets,
    "never reads": never_reads,
    "subscribe and unsubscribe": subscribe_unsubscribe,
    "scan for nothing": scan_for_nothing,
}
