"""`/connections` of a running gateway: what an operator asks when somebody says that it is slow."""

from typing import Any

import trio
from tests.gateway import DEADLINE_SECONDS, handshake, running, until
from tests.kafka_broker import Broker

from tailrace.config import Limits


async def test_who_is_connected_and_where_they_stand(kafka: Broker) -> None:
    topic, other = kafka.topic(2), kafka.topic()
    async with running(kafka) as gateway, gateway.client() as client, gateway.stream(f"/topics/{other}"):
        subscribed = await client.subscribe(topic, 7, keys=["a"])
        await until(lambda: len(gateway.door.connections) == 2, "both connections")
        answer = await gateway.get("/connections", admin=True)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        ws, stream = sorted(answer.json["connections"], key=lambda each: each["endpoint"], reverse=True)
        assert (ws["endpoint"], stream["endpoint"]) == ("/ws", "/topics")
        assert ws["remote"] == "127.0.0.1"
        assert (ws["slow"], ws["waiting_bytes"], ws["subject"]) == (None, 0, None)
        [followed] = ws["subscriptions"]
        assert followed["positions"] == subscribed["positions"]
        assert {key: followed[key] for key in ("id", "topic", "state", "keys", "lag", "delivered")} == {
            "id": 7, "topic": topic, "state": "live", "keys": 1, "lag": 0, "delivered": 0,
        }  # fmt: skip
        only = (await gateway.get(f"/connections?topic={other}", admin=True)).json
        assert [each["connection"] for each in only["connections"]] == [stream["connection"]]
        assert (await gateway.get("/connections?state=odd", admin=True)).status == 400


async def test_a_client_that_does_not_read_is_named_with_the_reason(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, ["x" * 100_000] * 100)
    async with (
        running(kafka, limits=Limits(write_timeout=None)) as gateway,
        await gateway.socket(buffer_bytes=4096) as stream,
    ):
        await stream.send_all(handshake(f"/topics/{topic}?from=earliest"))
        connection = await gateway.only()
        await until(lambda: connection.outlet.line.waiting_bytes, "bytes that wait")
        told: dict[str, Any] = {"slow": None}
        with trio.fail_after(DEADLINE_SECONDS):
            while not (told["slow"] or "").startswith("the client reads slowly: "):  # its kernel may take some more yet
                [told] = (await gateway.get("/connections", admin=True)).json["connections"]
        assert 0 < told["waiting_bytes"] < told["unacknowledged_bytes"]
        assert told["subscriptions"][0]["lag"] > 0
