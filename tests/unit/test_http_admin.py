"""The admin application over memory streams: its routes, its bounds, and faults of either side."""

import msgspec
import pytest
import structlog.testing
import trio
import trio.testing

from tailrace.http.admin import Readiness, Routes, livez, readyz, serve_admin
from tailrace.http.answers import Answer
from tailrace.http.head import Head


def broken(head: Head) -> Answer:
    raise RuntimeError("a bug")


STATE = {"now": Readiness(True)}
ROUTES: Routes = {"/livez": livez, "/readyz": readyz(lambda: STATE["now"]), "/broken": broken}


async def ask(request: bytes) -> tuple[int, bytes]:
    """Status and body of what `serve_admin` answers to these bytes; (0, b"") when it closes without a word."""
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_admin, ours, ROUTES)
            await theirs.send_all(request)
            answer = b"".join([chunk async for chunk in theirs])
            await theirs.aclose()
    if not answer:
        return 0, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def get(path: str, method: str = "GET") -> tuple[int, bytes]:
    return await ask(f"{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())


async def test_livez_is_200() -> None:
    assert (await get("/livez"))[0] == 200


@pytest.mark.parametrize(
    ("state", "status", "content"),
    [
        (Readiness(True), 200, {"ready": True, "reason": ""}),
        (Readiness(False, "no broker answers"), 503, {"ready": False, "reason": "no broker answers"}),
        (Readiness(False, "draining", {"left": 3}), 503, {"ready": False, "reason": "draining", "left": 3}),
    ],
)
async def test_readyz_says_the_state_of_the_moment(state: Readiness, status: int, content: dict[str, object]) -> None:
    STATE["now"] = state
    answered, body = await get("/readyz?verbose")
    assert answered == status
    assert msgspec.json.decode(body) == content


async def test_head_is_answered_without_a_body() -> None:
    assert await get("/livez", method="HEAD") == (200, b"")


async def test_a_head_request_for_nothing_has_no_body_either() -> None:
    assert await get("/nothing", method="HEAD") == (404, b"")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n", 404),
        (b"GET /livez/ HTTP/1.1\r\nHost: here\r\n\r\n", 404),
        (b"DELETE /livez HTTP/1.1\r\nHost: here\r\n\r\n", 405),
        (b"\x00\x01\x02", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
    ],
)
async def test_what_is_wrong_is_refused(request_bytes: bytes, status: int) -> None:
    answered, body = await ask(request_bytes)
    assert answered == status
    assert set(msgspec.json.decode(body)) == {"code", "message"}


async def test_a_route_that_fails_costs_its_request_and_is_logged() -> None:
    with structlog.testing.capture_logs() as logs:
        status, body = await get("/broken")
    assert status == 500
    assert b"a bug" not in body
    (entry,) = logs
    assert (entry["log_level"], entry["path"]) == ("error", "/broken")


async def test_a_silent_client_is_closed_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    assert await ask(b"GET /livez HTT") == (0, b"")
    assert trio.current_time() == pytest.approx(10)


async def test_a_client_that_leaves_is_no_error() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    await serve_admin(ours, ROUTES)
