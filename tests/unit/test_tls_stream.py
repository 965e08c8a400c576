"""A connection's TLS over a pair of sockets, with a client whose records are made by hand."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from tests.certificates import Authority
from tests.gateway import DEADLINE_SECONDS
from tests.key_updates import UPDATE_BYTES, Sealer, shake_hands
from tests.plain_door import tcp_pair

from tailrace.sockets import tls
from tailrace.sockets.certificates import server_context
from tailrace.sockets.tls import ALLOWANCE, ANSWERS_BYTES, EARNED, TlsStream


class Pair:
    """The server's stream, and the client's bare one with what seals for it."""

    def __init__(self, server: TlsStream, client: trio.SocketStream, sealer: Sealer) -> None:
        self.server, self.client, self.sealer = server, client, sealer

    async def say(self, data: bytes, *, end: bool = False) -> None:
        """So little that the kernel takes it."""
        with trio.fail_after(DEADLINE_SECONDS):
            await self.client.send_all(data)
            if end:
                await self.client.send_eof()

    async def heard(self) -> bytes:
        """All that is for the application, to the end. Raises BrokenResourceError."""
        got = b""
        with trio.fail_after(DEADLINE_SECONDS):
            while some := await self.server.receive_some():
                got += some
        return got


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    authority = Authority(tmp_path)
    near, far = await tcp_pair()
    context = server_context(str(authority.certificate), str(authority.key), None)
    server, client = TlsStream(trio.SocketStream(near), context), trio.SocketStream(far)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake, trio.CapacityLimiter(1))
        sealer = await shake_hands(client, authority.client(), tmp_path / "secrets")
    yield Pair(server, client, sealer)
    for each in (server, client):
        with contextlib.suppress(trio.BrokenResourceError):
            await trio.aclose_forcefully(each)


@pytest.mark.parametrize("requested", [True, False])
async def test_new_keys_are_taken(pair: Pair, requested: bool) -> None:
    sealer = pair.sealer
    said = sealer.data(b"one") + sealer.key_updates(ALLOWANCE, requested) + sealer.data(b"two")
    await pair.say(said, end=True)
    assert await pair.heard() == b"onetwo"


@pytest.mark.parametrize("requested", [True, False])
async def test_new_keys_without_end(pair: Pair, requested: bool) -> None:
    await pair.say(pair.sealer.key_updates(10 * ALLOWANCE, requested))
    with pytest.raises(trio.BrokenResourceError, match="without data"):
        await pair.heard()
    assert pair.server.unsent_bytes == 0


async def earn(pair: Pair, times: int) -> None:
    """As much data as one key update takes, and that; again and again."""
    for _ in range(times):
        await pair.say(b"".join(pair.sealer.data(b"x") for _ in range(EARNED)) + pair.sealer.key_updates(1))
        for _ in range(EARNED):
            assert await pair.server.receive_some() == b"x"


async def test_new_keys_are_earned_by_data(pair: Pair) -> None:
    """One every so many records, for as long as it likes; they cannot be saved up."""
    await earn(pair, times=3 * ALLOWANCE)
    await pair.say(pair.sealer.key_updates(ALLOWANCE + 1))
    with pytest.raises(trio.BrokenResourceError, match="without data"):
        await pair.heard()


async def test_answers_that_nobody_reads(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were earned, while the kernel takes nothing more: what waits for the client is bounded."""

    def write(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(tls, "os", SimpleNamespace(write=write))
    await earn(pair, times=ANSWERS_BYTES // UPDATE_BYTES)
    with pytest.raises(trio.BrokenResourceError, match="does not read"):
        await earn(pair, times=ALLOWANCE)
    assert pair.server.unsent_bytes < ANSWERS_BYTES + ALLOWANCE * UPDATE_BYTES
