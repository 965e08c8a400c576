"""One request head off a stream: bounded, in time, refused by name; and the stream handed on behind it."""

from collections.abc import AsyncIterator
from itertools import pairwise

import h11
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailrace.http import refusal
from tailrace.http.head import (
    HEAD_LIMIT_BYTES,
    Head,
    NoRequest,
    Replay,
    _known,
    _next_request,
    origin_form,
    read_head,
    usual_head,
)
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
    return await read_head(Chunks(*chunks), timeout=60)


async def refused(*chunks: bytes) -> Refusal:
    with pytest.raises(Refused) as raised:
        await read(*chunks)
    return raised.value.refusal


async def test_a_head_is_read_with_what_came_behind_it() -> None:
    head = await read(REQUEST + b"\x81\x80mask")
    assert (head.method, head.version) == ("GET", "1.1")
    assert (head.target, head.path) == ("/topics/a%20b?from=latest&key=x", "/topics/a%20b")
    assert head.behind == b"\x81\x80mask"


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
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", refusal.MALFORMED),
    ],
)
async def test_a_wrong_head_is_refused_by_name(request_bytes: bytes, want: Refusal) -> None:
    assert await refused(request_bytes) == want


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"])
async def test_every_method_is_read(method: str) -> None:
    head = await read_head(
        Chunks(f"{method} /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".encode()), timeout=60
    )
    assert (head.method, head.path, head.reads) == (method, "/ws", method in ("GET", "HEAD"))


async def test_no_more_than_the_limit_is_read() -> None:
    endless = Chunks(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + bytes([65]) * 100_000)
    with pytest.raises(Refused) as raised:
        await read_head(endless, timeout=60, limit=16384)
    assert raised.value.refusal == refusal.HEAD_TOO_LARGE
    assert endless.given_bytes == 16384


async def test_a_head_of_exactly_the_limit_passes() -> None:
    head = await read_head(Chunks(REQUEST), timeout=60, limit=len(REQUEST))
    assert head.target == "/topics/a%20b?from=latest&key=x"
    with pytest.raises(Refused):
        await read_head(Chunks(REQUEST), timeout=60, limit=len(REQUEST) - 1)


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
        assert (await read_head(ours, timeout=None)).path == "/topics/a%20b"


async def test_a_client_that_leaves_is_nobody_to_answer() -> None:
    with pytest.raises(NoRequest) as raised:
        await read(b"GET / HT")
    assert raised.value.reason == "eof"


async def test_a_broken_stream_is_nobody_to_answer() -> None:
    ours, _ = trio.testing.memory_stream_pair()
    await ours.aclose()
    with pytest.raises(NoRequest) as raised:
        await read_head(ours, timeout=60)
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


async def test_replay_gives_what_was_read_and_then_the_stream(pair: Pair) -> None:
    ours, theirs = pair
    replay = Replay(ours, b"behind")
    await theirs.send_all(b"more")
    assert await replay.receive_some(3) == b"beh"
    assert await replay.receive_some() == b"ind"
    await replay.send_all(b"answer")
    assert await replay.receive_some() == b"more"
    assert await theirs.receive_some() == b"answer"


async def test_replay_gives_nothing_once_it_is_closed(pair: Pair) -> None:
    replay = Replay(pair[0], b"behind")
    await replay.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await replay.receive_some()


async def test_replay_is_the_stream_in_everything_else(pair: Pair) -> None:
    ours, theirs = pair
    replay = Replay(ours, b"behind")
    await replay.wait_send_all_might_not_block()
    await replay.send_eof()
    assert await theirs.receive_some() == b""
    with pytest.raises(AttributeError):
        _ = replay.nothing_like_it


def read_by_h11(data: bytes) -> Head | None:
    """As `read_head` reads what is not usual."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT_BYTES)
    parser.receive_data(data)
    request = _next_request(parser)
    return None if request is None else _known(request, parser.trailing_data[0])


NAMES = [
    b"Host",
    b"host",
    b"Upgrade",
    b"X-a!#$%&'*+-.^_`|~9",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Expect",
    b"a b",
    b"",
]
PIECES = [
    b"websocket",
    b"h:80",
    b" ",
    b"\t",
    b"\xff",
    b"\x80",
    b"\x00",
    b"\x0b",
    b"\x85",
    b"\xa0",
    b"\r",
    b"\n",
    b"=",
    b"a b",
    b"5",
]
values = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)
lines = st.builds(
    b"%s%s%s".__mod__, st.tuples(st.sampled_from(NAMES), st.sampled_from([b": ", b":", b" :", b":  "]), values)
)
heads = st.builds(
    lambda start, lines, end, behind: b"\r\n".join([start, b"Host: h", *lines]) + end + behind,
    st.sampled_from(
        [b"GET / HTTP/1.1", b"GET /a?b=%20c#d HTTP/1.1", b"GET * HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET / HTTP/1.0"]
    )
    | st.sampled_from([b"GET  / HTTP/1.1", b"HEAD / HTTP/1.1", b"get / HTTP/1.1", b"GET http://h/ HTTP/1.1"]),
    st.lists(lines, max_size=4),
    st.sampled_from([b"\r\n\r\n", b"\n\n", b"\r\n", b"\r\n\r\r\n"]),
    st.sampled_from([b"", b"\x81\x80abcd", b"GET / HTTP/1.1\r\n"]),
)


@settings(max_examples=500)
@given(heads)
@example(b"GET /ws?x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nX: a b\r\n\r\nbehind")
def test_the_usual_head_is_what_h11_reads(data: bytes) -> None:
    usual = usual_head(data)
    if usual is not None:
        assert usual == read_by_h11(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"GET / HTTP/1.1\r\nX: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
def test_what_is_not_usual_is_left_to_h11(data: bytes) -> None:
    assert usual_head(data) is None


def test_what_a_browser_sends_is_usual() -> None:
    head = usual_head(
        b"GET /ws HTTP/1.1\r\nHost: localhost:8080\r\nConnection: Upgrade\r\nPragma: no-cache\r\nUpgrade: websocket\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0\r\n"
        b"Origin: http://localhost:8080\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
        b'Cookie: a="b c"; d=e\r\nSec-WebSocket-Key: q4xkcO32u266gldTuKaSOw==\r\n'
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n\x81"
    )
    assert head is not None
    assert (head.path, head.value(b"cookie"), head.behind) == ("/ws", 'a="b c"; d=e', b"\x81")
