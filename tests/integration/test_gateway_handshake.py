"""What is refused before the first frame, over plain sockets: paths, methods, subprotocols, origins, slow heads."""

import json

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, MSGPACK, Answer, Gateway, Raw, handshake, masked, running
from tests.kafka_broker import Broker
from websockets.exceptions import InvalidStatus

from tailrace.config import Limits, Listen


def told(code: str, answer: Answer) -> None:
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json["code"] == code
    assert answer.json["message"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/echo", "/ws/", "/wss", "/topics", "/livez", "/metrics"])
async def test_other_paths(gateway: Gateway, path: str) -> None:
    for answer in (await gateway.get(path), await gateway.refused(path)):
        assert answer.status == 404
        told("not_found", answer)


@pytest.mark.parametrize("path", ["/ws", "/topics/topic-x"])
async def test_a_plain_request(gateway: Gateway, path: str) -> None:
    answer = await gateway.get(path)
    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"
    told("upgrade_required", answer)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_another_method_is_a_plain_request_too(gateway: Gateway, method: str) -> None:
    """Nothing but a WebSocket is spoken on these paths, and nothing at all on others."""
    for path, status in (("/ws", 426), ("/topics/topic-x", 426), ("/", 404), ("/nothing", 404)):
        answer = await gateway.get(path, method=method)
        assert (answer.status, answer.headers.get("upgrade")) == (status, "websocket" if status == 426 else None)


async def test_a_handshake_is_a_get(gateway: Gateway) -> None:
    answer = await gateway.refused("/ws", method="POST")
    assert answer.status == 400
    told("bad_request", answer)


async def test_an_older_version(gateway: Gateway) -> None:
    answer = await gateway.refused("/ws", sec_websocket_version="8")
    assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")


@pytest.mark.parametrize("offers", ["unheard.of", "tailrace.v2.json", "Tailrace.V1.Json", "tailrace.token.x"])
async def test_an_unknown_subprotocol(gateway: Gateway, offers: str) -> None:
    answer = await gateway.refused("/ws", sec_websocket_protocol=offers)
    assert answer.status == 400
    told("bad_request", answer)


async def test_the_library_is_told_of_a_refusal(gateway: Gateway) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with gateway.connect("/ws", subprotocols=["unheard.of"]):
            pass
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["code"] == "bad_request"


async def test_msgpack_is_not_spoken_on_streams(gateway: Gateway, kafka: Broker) -> None:
    answer = await gateway.refused(f"/topics/{kafka.topic()}", sec_websocket_protocol=MSGPACK)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/topics/hidden", 404, "unknown_topic"),
        ("/topics/topic-none", 404, "unknown_topic"),
        ("/topics/topic%2Fnone", 404, "unknown_topic"),
        ("/topics/", 404, "unknown_topic"),
        ("/topics/topic-x?form=value", 400, "bad_request"),
        ("/topics/topic-x?format=xml", 400, "bad_request"),
        ("/topics/topic-x?from=yesterday", 400, "bad_request"),
        ("/topics/topic-x?format=value&format=value", 400, "bad_request"),
        ("/topics/topic-x?key=%zz", 400, "bad_request"),
    ],
)
async def test_a_stream_that_cannot_be(gateway: Gateway, path: str, status: int, code: str) -> None:
    answer = await gateway.refused(path)
    assert answer.status == status
    told(code, answer)


@pytest.mark.parametrize(
    ("allowed", "origin", "passes"),
    [
        ((), None, True),
        ((), "http://{public}", True),
        ((), "http://elsewhere.example", False),
        ((), "null", False),
        (("http://page.example",), "http://page.example", True),
        (("http://page.example",), "http://{public}", False),
        (("*",), "http://elsewhere.example", True),
    ],
)
async def test_origins(kafka: Broker, allowed: tuple[str, ...], origin: str | None, passes: bool) -> None:
    async with running(kafka, listen=Listen(address="127.0.0.1:0", origins=allowed)) as gateway:
        headers = {} if origin is None else {"origin": origin.format(public=gateway.public)}
        answer = await gateway.refused("/ws", **headers)
        assert answer.status == (101 if passes else 403)
        if not passes:
            told("forbidden", answer)


async def test_a_slow_handshake(kafka: Broker) -> None:
    """A client that dribbles its head, and one that says nothing, are gone when the time is up."""
    async with running(kafka, limits=Limits(handshake_timeout=0.2)) as gateway:
        async with await gateway.socket() as silent, await gateway.socket() as slow:
            with trio.fail_after(DEADLINE_SECONDS):
                for byte in handshake():
                    try:
                        await slow.send_all(bytes([byte]))
                    except trio.BrokenResourceError:
                        break
                    await trio.sleep(0.01)
                else:
                    pytest.fail("a head of 2 s was taken")
                assert await silent.receive_some() == b""
        await gateway.until_all_left()


async def test_a_head_without_end(gateway: Gateway) -> None:
    async with await gateway.socket() as stream:
        await stream.send_all(b"GET /ws HTTP/1.1\r\nX: " + b"x" * 20_000)
        with trio.fail_after(DEADLINE_SECONDS):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 431 ")


async def test_frames_right_behind_the_head(gateway: Gateway) -> None:
    """A client may not, but one that does is answered nevertheless."""
    async with await gateway.socket() as stream:
        raw = Raw(stream)
        await raw.send(handshake() + masked(1, b'{"type":"ping","id":1}'))
        await raw.head()
        assert (await raw.message())["type"] == "welcome"
        assert await raw.message() == {"type": "pong", "id": 1}


async def test_full(kafka: Broker) -> None:
    async with running(kafka, listen=Listen(address="127.0.0.1:0", connection_limit=2)) as gateway:
        async with gateway.client(), gateway.client():
            answer = await gateway.refused("/ws")
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            told("full", answer)
        await gateway.until_all_left()
        async with gateway.client() as client:
            assert (await client.ask("ping"))["type"] == "pong"


async def test_a_client_that_leaves_during_the_handshake(gateway: Gateway) -> None:
    for part in (b"", b"GET", handshake()[:-2], handshake()):
        async with gateway.reset_after(part):
            pass
    await gateway.until_all_left()
    async with gateway.client() as client:
        assert (await client.ask("ping"))["type"] == "pong"
