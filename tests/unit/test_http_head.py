"""One request head off a stream: bounded, in time, refused by name; and the stream handed on behind it."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tailrace.http import refusal
from tailrace.http.head import Head, NoRequest, Replay, origin_form, read_head
from tailrace.http.refusal import Refusal, Refused

Pair = tuple[trio.abc.Stream, trio.abc.Stream]

REQUEST = b"GET /topics/a%20b?from=latest&key=x HTTP/1.1\r\nHost: here\r\nX-Two: 1\r\nx-two: 2, 3\r\n\r\n"


class Chunks(trio.abc.ReceiveStream):
    """Gives the chunks it was made with, never more than asked for, then the end."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.given_bytes = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.chunks:
            return b""
        chunk, rest = self.chunks[0][:max_bytes], self.chunks[0][max_bytes:] if max_bytes else b""
        self.chunks[:1] = [rest] if rest else []
        self.given_bytes += len(chunk)
        return chunk

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def read(*chunks: bytes) -> Head:
    return await read_head(Chunks(*chunks), timeout=1)


async def refused(*chunks: bytes) -> Refusal:
    with pytest.raises(Refused) as raised:
        await read(*chunks)
    return raised.value.refusal


async def test_a_head_is_read_with_what_came_behind_it() -> None:
    head = await read(REQUEST + b"\x81\x80mask")
    assert (head.method, head.version) == ("GET", "1.1")
    assert (head.target, head.path) == ("/topics/a%20b?from=latest&key=x", "/topics/a%20b")
    assert (head.raw, head.behind) == (REQUEST + b"\x81\x80mask", b"\x81\x80mask")


async def test_headers_are_found_by_lower_case_name() -> None:
    head = await read(REQUEST)
    assert head.value(b"host") == "here"
    assert head.value(b"origin") is None
    assert head.values(b"x-two") == ["1", "2, 3"]
    assert head.tokens(b"x-two") == ["1", "2", "3"]


@given(st.lists(st.integers(0, len(REQUEST)), max_size=10))
def test_it_may_come_in_any_pieces(cuts: list[int]) -> None:
    places = sorted({0, *cuts, len(REQUEST)})
    chunks = [REQUEST[begin:end] for begin, end in pairwise(places)]
    assert trio.run(read, *chunks) == trio.run(read, REQUEST)


@pytest.mark.parametrize(
    ("request_bytes", "want"),
    [
        (b"\x16\x03\x01\x02\x00", refusal.MALFORMED),  # a TLS client on the plain port
        (b"GET /\r\nHost: a\r\n\r\n", refusal.MALFORMED),
        (b"GET / HTTP/1.1\r\n\r\n", refusal.MALFORMED),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", refusal.MALFORMED),
        (b"GET / HTTP/1.1\r\nHost: a\r\nB\xc3d: x\r\n\r\n", refusal.MALFORMED),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", refusal.MALFORMED),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refusal.HTTP_VERSION),
        (b"POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", refusal.METHOD_NOT_ALLOWED),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", refusal.METHOD_NOT_ALLOWED),
    ],
)
async def test_a_wrong_head_is_refused_by_name(request_bytes: bytes, want: Refusal) -> None:
    assert await refused(request_bytes) == want


async def test_no_more_than_the_limit_is_read() -> None:
    endless = Chunks(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + bytes([65]) * 100_000)
    with pytest.raises(Refused) as raised:
        await read_head(endless, timeout=1, limit=16384)
    assert raised.value.refusal == refusal.HEAD_TOO_LARGE
    assert endless.given_bytes == 16384


async def test_a_head_of_exactly_the_limit_passes() -> None:
    head = await read_head(Chunks(REQUEST), timeout=1, limit=len(REQUEST))
    assert head.raw == REQUEST
    with pytest.raises(Refused):
        await read_head(Chunks(REQUEST), timeout=1, limit=len(REQUEST) - 1)


async def test_the_deadline_is_for_the_whole_head(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def drip() -> None:
        for byte in REQUEST:
            await theirs.send_all(bytes([byte]))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(NoRequest) as raised:
            await read_head(ours, timeout=10)
        nursery.cancel_scope.cancel()
    assert raised.value.reason == "timeout"
    assert trio.current_time() == pytest.approx(10)


async def test_without_a_deadline_it_waits(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def late() -> None:
        await trio.sleep(80_000)
        await theirs.send_all(REQUEST)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late)
        assert (await read_head(ours, timeout=None)).raw == REQUEST


async def test_a_client_that_leaves_is_nobody_to_answer() -> None:
    with pytest.raises(NoRequest) as raised:
        await read(b"GET / HT")
    assert raised.value.reason == "eof"


async def test_a_broken_stream_is_nobody_to_answer() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    await ours.aclose()
    with pytest.raises(NoRequest) as raised:
        await read_head(ours, timeout=1)
    assert raised.value.reason == "broken"


@pytest.mark.parametrize(
    ("target", "want"),
    [
        ("/ws", "/ws"),
        ("http://gateway:8080/ws?x=http://y", "/ws?x=http://y"),
        ("https://gateway", "/"),
        ("http://gateway?x=/y", "/?x=/y"),
        ("/a?b=c://d", "/a?b=c://d"),
    ],
)
def test_the_absolute_form_of_a_target_is_taken(target: str, want: str) -> None:
    assert origin_form(target) == want


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with ours, theirs:
        yield ours, theirs


async def test_replay_gives_head_then_behind_then_the_stream(pair: Pair) -> None:
    ours, theirs = pair
    replay = Replay(ours, b"head", b"behind")
    await theirs.send_all(b"more")
    assert await replay.receive_some(3) == b"hea"
    assert await replay.receive_some() == b"d"
    await replay.send_all(b"answer")
    assert await replay.receive_some(100) == b"behind"
    assert await replay.receive_some() == b"more"
    assert await theirs.receive_some() == b"answer"


async def test_replay_holds_back_what_follows_until_the_answer_is_out() -> None:
    """A reader that asks before the handshake is answered waits, and is given nothing that wsproto would lose."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    replay = Replay(ours, b"head", b"behind")
    got: list[bytes | bytearray] = []

    async def reader() -> None:
        while len(got) < 2:
            got.append(await replay.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(replay.send_all, b"answer")
        await trio.testing.wait_all_tasks_blocked()
        assert got == [b"head"]
        assert await theirs.receive_some() == b"answer"
    assert got == [b"head", b"behind"]


async def test_replay_lets_a_waiting_reader_go_when_it_is_closed(pair: Pair) -> None:
    replay = Replay(pair[0], b"head", b"behind")
    await replay.receive_some()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, replay)
            await trio.testing.wait_all_tasks_blocked()
            await replay.aclose()


async def expect_closed(stream: trio.abc.ReceiveStream) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_replay_is_the_stream_in_everything_else(pair: Pair) -> None:
    ours, theirs = pair
    replay = Replay(ours, b"")
    await replay.wait_send_all_might_not_block()
    await replay.send_eof()
    assert await theirs.receive_some() == b""
    with pytest.raises(AttributeError):
        _ = replay.nothing_like_it
