"""One client on `/topics/{topic}`: from the handshake to the close, with messages and with bare values."""

from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import Raw, handshake, masked
from tests.plain_door import House, house
from trio.testing import wait_all_tasks_blocked

from tailrace.config import Limits
from tailrace.disconnect import SHUTDOWN
from tailrace.errors import CommandError, ErrorCode
from tailrace.gateway.topics import Start

VALUE = "/topics/orders?format=value"
RECORD = "/topics/orders"


async def types(raw: Raw, count: int) -> list[str]:
    return [(await raw.message())["type"] for _ in range(count)]


async def test_messages() -> None:
    async with house(orders=[7, 0]) as place, place.visit(RECORD) as raw:
        subscribed = await raw.message()
        assert subscribed == {
            "id": 0,
            "type": "subscribed",
            "topic": "orders",
            "topic_id": "id-of-orders",
            "compacted": False,
            "positions": {"0": 7, "1": 0},
        }
        assert await raw.message() == {"id": 0, "type": "live"}
        await place.produce("orders", b"1")
        record = await raw.message()
        assert (record["id"], record["type"], record["offset"]) == (0, "record", 7)
        assert place.users("orders") == 1


async def test_values() -> None:
    async with house(orders=[0]) as place, place.visit(VALUE) as raw:
        await place.produce("orders", b"text", b"\xff", None, b"")
        assert [await raw.frame() for _ in range(4)] == [(1, b"text"), (2, b"\xff"), (2, b""), (1, b"")]


async def test_what_comes_before_the_client_has_read_the_answer_is_not_missed() -> None:
    """The positions are fixed before it."""
    async with house(orders=[0]) as place, place.knock(handshake(VALUE)) as raw:
        await wait_all_tasks_blocked()
        await place.produce("orders", b"1")
        await raw.head()
        assert await raw.frame() == (1, b"1")


async def test_keys() -> None:
    async with house(orders=[0]) as place, place.visit(VALUE + "&key=a") as raw:
        await place.produce("orders", b"1", key=b"b")
        await place.produce("orders", b"2", key=b"a")
        await place.produce("orders", b"3")
        await place.produce("orders", b"4", key=b"a")
        assert [await raw.frame(), await raw.frame()] == [(1, b"2"), (1, b"4")]


@pytest.mark.parametrize("path", [RECORD, VALUE])
async def test_it_takes_no_message(path: str) -> None:
    async with house(orders=[0]) as place, place.visit(path) as raw:
        await raw.send(masked(1, b"hello"))
        assert (await raw.close_frame())[0] == 1003
        await raw.stream.aclose()
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


@pytest.mark.parametrize(
    ("code", "close"), [(ErrorCode.TOPIC_DELETED, (4503, "topic_deleted")), (ErrorCode.INTERNAL, (4006, "internal"))]
)
@pytest.mark.parametrize("path", [RECORD, VALUE])
async def test_the_gateway_ends_it(path: str, code: ErrorCode, close: tuple[int, str]) -> None:
    """With its place and `closing`, where there are words."""
    async with house(orders=[0]) as place, place.visit(path) as raw:
        await place.produce("orders", b"1")
        place.end_all("orders", code)
        if path == RECORD:
            assert await types(raw, 4) == ["subscribed", "live", "record", "position"]
            closing = await raw.message()
            assert (closing["type"], closing["code"], closing["reason"]) == ("closing", *close)
        else:
            assert await raw.frame() == (1, b"1")
        assert await raw.close_frame() == close
        await raw.stream.aclose()
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


@pytest.mark.parametrize("path", [RECORD, VALUE])
async def test_a_shutdown(path: str) -> None:
    async with house(orders=[0]) as place, place.visit(path) as raw:
        (connection,) = place.door.connections
        connection.end(SHUTDOWN, retry_after_ms=3)
        if path == RECORD:
            assert await types(raw, 2) == ["subscribed", "live"]
            closing = await raw.message()
            assert (closing["code"], closing["retry_after_ms"]) == (4000, 3)
        assert await raw.frame() == (8, (4000).to_bytes(2, "big") + b"shutdown")


@pytest.mark.parametrize("path", [RECORD, VALUE])
@pytest.mark.parametrize("sent", [b"", masked(8, b"\x03\xe8"), masked(1, b"x")[:3]], ids=["nothing", "close", "half"])
async def test_a_client_that_leaves_gives_its_topic_back(path: str, sent: bytes) -> None:
    async with house(orders=[0]) as place:
        with capture_logs() as log:
            for _ in range(5):
                async with place.visit(path) as raw:
                    await raw.send(sent)
        assert place.users("orders") == 0
        assert [entry["event"] for entry in log if entry["log_level"] == "error"] == []


async def test_a_client_that_leaves_before_the_answer_gives_its_topic_back() -> None:
    """Nobody has taken over what was begun for it."""
    async with house(orders=[0]) as place:
        for _ in range(5):
            async with place.knock(handshake(RECORD)) as raw:
                await raw.reset()
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


class PlainLease:
    """A snapshot that is held, and cannot be had once it is told so."""

    def __init__(self) -> None:
        self.failed = trio.Event()
        self.released = 0

    async def ready(self) -> dict[int, int]:
        await self.failed.wait()
        raise CommandError(ErrorCode.SNAPSHOT_UNAVAILABLE, "why")

    def release(self) -> None:
        self.released += 1


def begin_with(patch: pytest.MonkeyPatch, place: House, lease: PlainLease, *, gone: bool = False) -> None:
    """Subscriptions begin with this snapshot; `gone`: their tail is nobody's any more, as when a topic is read anew."""
    begin = place.topics.start

    async def start(*question: Any) -> Start:
        found = await begin(*question)
        if gone:
            found.held.open.forget(found.tail.format)
        return msgspec.structs.replace(found, snapshot=lease)

    patch.setattr(place.topics, "start", start)


@pytest.mark.parametrize("path", [RECORD, VALUE])
async def test_a_topic_that_is_read_anew_before_the_answer(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """It ends, and holds neither the topic nor a snapshot."""
    lease = PlainLease()
    async with house(orders=[0]) as place:
        begin_with(monkeypatch, place, lease, gone=True)
        async with place.visit(path) as raw:
            assert await raw.close_frame() == (4006, "internal")
        assert (lease.released, place.users("orders")) == (1, 0)


async def test_a_client_that_leaves_while_its_snapshot_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same moment: its topic is given back once."""
    lease = PlainLease()
    async with house(orders=[0]) as place:
        begin_with(monkeypatch, place, lease)
        async with place.visit(RECORD), place.visit(RECORD):
            assert place.users("orders") == 2
            connection = next(iter(place.door.connections))
            assert connection.outlet.on_close is not None
            lease.failed.set()
            connection.outlet.on_close()
            connection.end(SHUTDOWN)
            await wait_all_tasks_blocked()
            assert place.users("orders") == 0


async def test_a_topic_that_is_read_anew_while_a_snapshot_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same moment: the subscription goes on where it was told to, without the snapshot."""
    lease = PlainLease()
    async with house(orders=[0]) as place:
        begin_with(monkeypatch, place, lease)
        async with place.visit(VALUE) as raw:
            (held,) = place.topics.held
            (reading,) = held.readings
            lease.failed.set()
            reading.rebase(held.open.tail(reading.format), [], {0: 0})
            await wait_all_tasks_blocked()
            await place.produce("orders", b"1")
            assert await raw.frame() == (1, b"1")


async def test_a_value_too_large() -> None:
    """It is a hole to who has seen something before; who has not misses nothing."""
    async with house(limits=Limits(max_record_bytes=100), orders=[0]) as place:
        async with place.visit(VALUE) as raw, place.visit(VALUE + "&key=other") as other:
            await place.produce("orders", b"1", b"x" * 101, b"2")
            assert await raw.frame() == (1, b"1")
            assert await raw.close_frame() == (4007, "gap")
            await place.produce("orders", b"3", key=b"other")
            assert await other.frame() == (1, b"3")
        async with place.visit(VALUE) as raw:
            await place.produce("orders", b"x" * 101, b"4")
            assert await raw.frame() == (1, b"4")
