"""A gateway that does as a test says, for our own clients: a real server, one script a connection.

A script is a coroutine that gets the `Peer`; when it returns the connection is closed with 1000, unless it has done so
itself. A handshake can be answered with an HTTP status instead. What a script asserts fails the test at once.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

import trio
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.trio.server import ServerConnection, serve


class Peer:
    """One connection, from the gateway's side. path: what was asked for, with its query."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        assert socket.request is not None
        self.path = socket.request.path

    async def say(self, type: str, **fields: Any) -> None:
        """A message; `from_` is `from`."""
        fields = {name.rstrip("_"): value for name, value in fields.items()}
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def welcome(self) -> Any:
        """The command that the client answers with."""
        await self.say("welcome", server="tailrace/test", ping_interval_ms=25_000)
        return json.loads(await self.socket.recv())

    async def subscribed(self, positions: dict[int, int], topic_id: str = "t1") -> None:
        await self.say("subscribed", id=1, topic="orders", topic_id=topic_id, compacted=False, positions=positions)

    async def records(self, offsets: Iterable[int], partition: int = 0, **fields: Any) -> None:
        for offset in offsets:
            known = {"topic": "orders", "partition": partition, "offset": offset, "timestamp": None, "key": None}
            await self.say("record", id=1, **(known | {"value": {"n": offset}} | fields))

    async def leave(self, code: int, reason: str = "", retry_after_ms: int | None = 1) -> None:
        await self.say("closing", code=code, reason=reason, retry_after_ms=retry_after_ms)
        await self.socket.aclose(code, reason)


Script = Callable[[Peer], Awaitable[None]] | HTTPStatus


@contextlib.asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[str]:
    """HOST:PORT of a gateway that follows one script after the other; the last stays for all that come after."""
    left = list(scripts)
    failures: list[AssertionError] = []

    def next_script() -> Script:
        return left.pop(0) if len(left) > 1 else left[0]

    def answer(socket: ServerConnection, request: Request) -> Response | None:
        script = socket.script = next_script()  # type: ignore[attr-defined]
        if not isinstance(script, HTTPStatus):
            return None
        body = b'{"code":"scripted","message":"not now"}'
        headers = Headers([("Content-Length", str(len(body))), ("Retry-After", "0"), ("Connection", "close")])
        return Response(script.value, script.phrase, headers, body)

    async def talk(socket: ServerConnection) -> None:
        try:
            await socket.script(Peer(socket))  # type: ignore[attr-defined]
        except AssertionError as failure:
            failures.append(failure)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: serve(
                talk,
                port=0,
                host="127.0.0.1",
                process_request=answer,
                subprotocols=["tailrace.v1.json"],  # type: ignore[list-item]
                task_status=task_status,
            )
        )
        host, port = server.listeners[0].socket.getsockname()[:2]
        yield f"{host}:{port}"
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def for_ever(peer: Peer) -> None:
    """Say nothing more."""
    await trio.sleep_forever()
