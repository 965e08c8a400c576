"""Answers byte by byte, and closes that let a client read them."""

import h11
import msgspec
import pytest
import trio
import trio.testing

from tailrace.http import refusal
from tailrace.http.answers import HTML, Answer, json_answer, linger, refusal_answer, render, send_answer


def parsed(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """The answer as an HTTP client reads it; fails when it is not complete, or anything follows it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "here")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += bytes(event.data)
    assert client.trailing_data == (b"", False)
    assert client.their_state is h11.MUST_CLOSE
    return response, body


def test_a_refusal_is_json_with_code_and_message() -> None:
    response, body = parsed(render(refusal_answer(refusal.UPGRADE_REQUIRED)))
    headers = dict(response.headers)
    assert (response.status_code, response.reason) == (426, b"Upgrade Required")
    assert msgspec.json.decode(body) == {"code": "upgrade_required", "message": "this path speaks WebSocket"}
    assert headers[b"upgrade"] == b"websocket"
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"connection"] == b"Upgrade, close"


def test_an_upgrade_is_asked_for_as_proxies_pass_it_on() -> None:
    """RFC 9110, 7.8: Connection names it; and it is the last answer all the same."""
    for one in (refusal.UPGRADE_REQUIRED, refusal.WRONG_VERSION):
        headers = parsed(render(refusal_answer(one)))[0].headers
        assert [value for name, value in headers if name == b"connection"] == [b"Upgrade, close"]


@pytest.mark.parametrize("name", [name for name, one in vars(refusal).items() if isinstance(one, refusal.Refusal)])
def test_every_refusal_can_be_written(name: str) -> None:
    one = getattr(refusal, name)
    response, _ = parsed(render(refusal_answer(one.after(1))))
    assert response.status_code == one.status
    assert dict(response.headers)[b"retry-after"] == b"1"


def test_head_gets_the_same_head_and_no_body() -> None:
    answer = json_answer(200, {"alive": True})
    whole, head = render(answer), render(answer, head_only=True)
    assert whole == head + answer.body
    assert parsed(head, method="HEAD")[1] == b""


def test_a_page_brings_its_security_headers() -> None:
    headers = dict(parsed(render(Answer(200, b"<p>", HTML)))[0].headers)
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"content-security-policy" not in dict(parsed(render(json_answer(200, {})))[0].headers)


def test_not_modified_has_neither_body_nor_length() -> None:
    response, body = parsed(render(Answer(304, headers=(("ETag", '"x"'),))))
    assert body == b""
    assert b"content-length" not in dict(response.headers)


async def test_the_answer_is_sent_and_the_stream_closed() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_answer, ours, json_answer(200, [1]))
        data = b"".join([chunk async for chunk in theirs])
        await theirs.aclose()
    assert parsed(data)[1] == b"[1]"
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()


async def test_a_client_that_left_is_no_error() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    await send_answer(ours, json_answer(200, []))


async def test_a_client_that_does_not_read_costs_five_seconds(autojump_clock: trio.testing.MockClock) -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()
    await send_answer(ours, json_answer(200, []))
    assert trio.current_time() == pytest.approx(5)


async def test_a_client_that_does_not_close_costs_two_seconds(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await send_answer(ours, json_answer(200, []))
    assert trio.current_time() == pytest.approx(2)
    await theirs.aclose()


async def test_lingering_reads_a_bounded_amount() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(bytes(100_000))
    with trio.fail_after(30):
        await linger(ours)
        left = await ours.receive_some()
    assert len(left) == 100_000 - 65_536


async def test_unread_input_does_not_reset_the_answer() -> None:
    """Over TCP, where closing with unread input sends RST: the client must see the answer and then a clean end."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.testing.open_stream_to_socket_listener(listener)
        server = await listener.accept()
        await client.send_all(bytes(30_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_answer, server, refusal_answer(refusal.METHOD_NOT_ALLOWED))
            with trio.fail_after(30):
                data = b"".join([chunk async for chunk in client])
            await client.aclose()
    assert parsed(data)[0].status_code == 405
