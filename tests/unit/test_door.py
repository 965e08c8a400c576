"""One accepted socket from its head to an answer or a conversation; what is refused end to end on real sockets:
tests/integration/test_gateway_handshake.py."""

import json
from typing import Any, NoReturn

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import Raw, handshake, until
from tests.plain_door import House, house
from trio.testing import wait_all_tasks_blocked

from tailrace.errors import CommandError, ErrorCode
from tailrace.gateway import topics
from tailrace.gateway.admission import Newcomer
from tailrace.gateway.away import WORDS
from tailrace.http.refusal import NOT_FOUND, Refused
from tailrace.websocket.outlet import Outlet


async def answered(raw: Raw) -> tuple[int, str, dict[str, Any]]:
    """Status, the head, and the JSON body; then the socket ends."""
    head, _, body = (await raw.end_of_file()).partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode().lower(), json.loads(body) if body else {}


async def refused(place: House, path: str, *lines: str) -> tuple[int, str]:
    async with place.knock(handshake(path, *lines)) as raw:
        status, _, body = await answered(raw)
        return status, body["code"]


async def test_a_conversation_is_known_while_it_lasts() -> None:
    async with house(orders=[0]) as place:
        async with place.visit():
            (connection,) = place.door.connections
            assert connection.ending is None
        assert not place.door.connections
        assert connection.ending is not None


async def test_refusals() -> None:
    async with house(orders=[0]) as place:
        assert await refused(place, "/nothing") == (404, "not_found")
        assert await refused(place, "/topics/hidden") == (404, "unknown_topic")
        assert await refused(place, "/topics/gone") == (404, "unknown_topic")
        assert await refused(place, "/topics/orders?from=offsets:7=0") == (400, "bad_position")
        assert await refused(place, "/topics/orders?from=snapshot") == (400, "snapshot_unavailable")
        assert await refused(place, "/topics/orders?what=1") == (400, "bad_request")
        assert await refused(place, "/ws", "Origin: http://elsewhere.example") == (403, "forbidden")
        assert place.users("orders") == 0


async def test_no_kafka() -> None:
    async with house(orders=[0]) as place:
        place.kafka.down = True
        async with place.knock(handshake("/topics/orders")) as raw:
            status, head, body = await answered(raw)
        assert (status, body["code"], body["message"]) == (503, "kafka_unavailable", WORDS)
        assert "retry-after: 2" in head
        assert "10.0.0.7" not in head


async def test_no_room() -> None:
    """Counted are all sockets, those that have not said what they want too."""
    async with house(limit=2, orders=[0]) as place:
        async with place.visit(), place.knock(b"GET "):
            async with place.knock(handshake()) as raw:
                status, head, body = await answered(raw)
            assert (status, body["code"]) == (503, "full")
            assert "retry-after: " in head
        async with place.visit():
            pass


async def test_nobody_new_while_draining() -> None:
    async with house(orders=[0]) as place, place.visit():
        place.door.draining = True
        assert await refused(place, "/ws") == (503, "draining")
        assert await refused(place, "/topics/orders") == (503, "draining")
        assert place.kafka.questions == []


async def test_a_head_without_a_body() -> None:
    async with house(orders=[0]) as place, place.knock(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n") as raw:
        status, head, body = await answered(raw)
        assert (status, body) == (404, {})
        assert "content-length: " in head


@pytest.mark.parametrize("path", ["/topics/orders", "/ws"])
async def test_a_fault_of_ours_costs_one_connection(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """It is logged, and the door goes on letting in."""

    def fail(*_: object) -> NoReturn:
        raise KeyError("why")

    async with house(orders=[0]) as place:
        with capture_logs() as log, monkeypatch.context() as patch:
            patch.setattr("tailrace.gateway.door.choose_subprotocol", fail)
            async with place.knock(handshake(path)) as raw:
                assert await raw.end_of_file() == b""
        assert [(entry["log_level"], entry["event"]) for entry in log] == [
            ("error", "a connection failed, by a fault of ours")
        ]
        async with place.visit(path):
            pass


async def test_a_start_that_is_refused_late_gives_the_topic_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(orders=[0]) as place:

        async def refuse(*_: object) -> NoReturn:
            await trio.lowlevel.checkpoint()
            raise CommandError(ErrorCode.FORBIDDEN, "no")

        monkeypatch.setattr("tailrace.gateway.begin.Beginnings.find", refuse)
        assert await refused(place, "/topics/orders") == (403, "forbidden")
        assert place.users("orders") == 0


async def test_who_leaves_while_kafka_is_asked() -> None:
    async with house(orders=[0]) as place:
        with place.kafka.hold():
            async with place.knock(handshake("/topics/orders")):
                await wait_all_tasks_blocked()
                assert place.kafka.questions == ["describe"]
            await until(lambda: place.door._inside == 0)
        await wait_all_tasks_blocked()
        assert place.users("orders") == 0


async def test_kafka_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(orders=[0]) as place, place.visit("/topics/orders"):
        monkeypatch.setattr(topics, "START_SECONDS", 0.05)
        with place.kafka.hold():
            assert await refused(place, "/topics/orders") == (503, "kafka_unavailable")
            assert place.kafka.questions.count("describe") == 1
        assert place.users("orders") == 1


async def test_who_has_waited_for_a_snapshot_takes_a_turn_before_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """All have it in the same moment. Who is ended while waiting for the turn gives it back."""
    start, turns, released = topics.Topics.start, [], []

    class Lease:
        def release(self) -> None:
            released.append(self)

    async def with_snapshot(*asked: Any) -> topics.Start:
        return msgspec.structs.replace(await start(*asked), snapshot=Lease())

    async def turn(newcomer: Newcomer) -> None:
        turns.append(newcomer)
        if len(turns) == 2:
            raise Refused(NOT_FOUND)

    monkeypatch.setattr(topics.Topics, "start", with_snapshot)
    monkeypatch.setattr(Newcomer, "turn", turn)
    async with house(orders=[0]) as place:
        assert await refused(place, "/topics/orders") == (404, "not_found")
        assert len(turns) == 2
        assert len(released) == 1
        assert place.users("orders") == 0


async def test_many_who_ask_at_once_share_the_questions() -> None:
    """A fleet that reconnects: a question is shared by all who come while the one before is under way."""
    async with house(orders=[3, 4]) as place, trio.open_nursery() as nursery:
        told = []

        async def stream() -> None:
            async with place.visit("/topics/orders") as raw:
                told.append((await raw.message())["positions"])
                await trio.sleep_forever()

        with place.kafka.hold():
            for _ in range(100):
                nursery.start_soon(stream)
            await until(lambda: len(place.door.admission.newcomers) == 100)
            await wait_all_tasks_blocked()
        await until(lambda: len(told) == 100)
        assert told == [{"0": 3, "1": 4}] * 100
        assert place.users("orders") == 100
        assert place.kafka.questions.count("describe") == 1
        assert len(place.kafka.questions) < 40
        nursery.cancel_scope.cancel()


async def test_the_welcome_leaves_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one send: a newcomer costs one system call less, and is woken once."""
    posted: list[bytes] = []
    post = Outlet.post

    def noted(outlet: Outlet, frames: bytes) -> None:
        posted.append(frames)
        post(outlet, frames)

    monkeypatch.setattr(Outlet, "post", noted)
    async with house(orders=[0]) as place, place.visit():
        (sent,) = posted
        assert sent.startswith(b"HTTP/1.1 101 ")
        assert b'"type":"welcome"' in sent
