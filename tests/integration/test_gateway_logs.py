"""What stands in the log of a process at `debug`: a connection's life in two lines, and nothing that is a client's."""

import json
from pathlib import Path

from tests.gateway import process, until
from tests.kafka_broker import Broker

TOKEN = "eyJhbGciOiJIUzI1NiJ9.secret-of-the-bearer.signature"
RECORD = "a-record-that-is-nobodys-business"


async def test_a_connections_life_is_two_lines_and_its_end_the_same_word_everywhere(
    kafka: Broker, tmp_path: Path
) -> None:
    topic = kafka.topic()
    async with process(tmp_path, kafka, "--log-level", "debug") as gateway, gateway.client() as client:
        await client.subscribe(topic)
        for number in range(1, 21):
            await client.send(type="subscribe", id=number + 100)  # without a topic: the twentieth in a row ends it
        for _ in range(20):
            await client.expect("error", code="bad_request")
        closing = await client.expect("closing")
        told = await client.closed()
        assert (closing["code"], closing["reason"]) == told == (4504, "too_many_errors")
        await until(lambda: '"disconnected"' in gateway.log, "the end in the log")
        lines = [json.loads(line) for line in gateway.log.splitlines() if '"connection"' in line]
        assert [line["event"] for line in lines] == ["connected", "disconnected"]
        assert len({line["connection"] for line in lines}) == 1
        assert (lines[1]["code"], lines[1]["reason"]) == told
        metrics = (await gateway.get("/metrics", admin=True)).body.decode()
        assert 'tailrace_connections_closed_total{code="4504",reason="too_many_errors"} 1.0' in metrics


async def test_no_token_record_or_control_character_gets_there(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic()
    async with process(tmp_path, kafka, "--log-level", "debug") as gateway:
        headers = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"token={TOKEN}"}
        async with gateway.client(additional_headers=headers) as client:
            await client.subscribe(topic)
            kafka.produce(topic, [(RECORD, json.dumps(RECORD))])
            await client.records(1)
            odd = "\r\n2026 forged\x1b[31m\u2028"
            assert (await client.ask("subscribe", 2, topic=odd))["code"] == "unknown_topic"
            assert (await client.ask("auth", 3, token=TOKEN))["type"] == "error"
        for target in (f"/topics/{topic}%0d%0aforged", f"/topics/{topic}?key={RECORD}&token={TOKEN}", f"/{TOKEN}"):
            await gateway.refused(target)
        await gateway.get("/connections?remote=%0d%0aforged", admin=True)
        await until(lambda: '"disconnected"' in gateway.log, "the end in the log")
        gateway.terminate()
        await gateway.wait()
        assert TOKEN not in gateway.log
        assert "secret-of-the-bearer" not in gateway.log
        assert RECORD not in gateway.log
        for line in gateway.log.splitlines():
            assert line.isprintable()
            assert json.loads(line)["event"]
