"""SIGHUP on a process: the file is read again, and nobody is dropped."""

import json
import signal
from pathlib import Path
from typing import Any

from tests.gateway import Process, process, until
from tests.kafka_broker import Broker
from tests.tokens import OTHER_RSA, OTHER_SECRET, PRIVATE, SECRET, pem, token


def write(file: Path, *topics: str, more: str = "") -> None:
    file.write_text("".join(f'[topics."{name}"]\n' for name in topics) + more)


async def hang_up(gateway: Process, event: str) -> dict[str, Any]:
    """Send SIGHUP; the next line of this event."""

    def found() -> list[dict[str, Any]]:
        return [line for line in map(json.loads, gateway.log.splitlines()) if line["event"] == event]

    before = len(found())
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: len(found()) > before, event)
    return found()[-1]


async def test_topics_come_and_go_without_a_dropped_connection(kafka: Broker, tmp_path: Path) -> None:
    first, second = kafka.topic(name="reload-first"), kafka.topic(name="reload-second")
    file = tmp_path / "tailrace.toml"
    write(file, first)
    async with process(tmp_path, kafka, "--config", str(file)) as gateway:
        await gateway.until_ready()
        async with gateway.client() as client, gateway.stream(f"/topics/{first}") as stream:
            await client.subscribe(first)
            await stream.expect("subscribed")
            await stream.expect("live")
            assert (await client.ask("subscribe", 2, topic=second))["code"] == "unknown_topic"
            write(file, first, second)
            await hang_up(gateway, "read again")
            await client.subscribe(second, 2)
            write(file, second)
            await hang_up(gateway, "read again")
            await client.expect("unsubscribed", id=1, code="forbidden")
            await stream.expect("closing", code=4501)
            assert (await stream.closed())[0] == 4501
            kafka.produce(second, ["1"])
            assert (await client.expect("record"))["id"] == 2
            assert (await client.ask("subscribe", 1, topic=first))["code"] == "unknown_topic"


def bearer(text: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {text}"}}


async def status(gateway: Process, text: str) -> int:
    return (await gateway.refused("/ws", authorization=f"Bearer {text}")).status


async def test_a_key_file_that_is_replaced_counts_from_the_next_token_on(kafka: Broker, tmp_path: Path) -> None:
    topic, key, file = kafka.topic(name="reload-key"), tmp_path / "key.pem", tmp_path / "tailrace.toml"
    old, new = token(PRIVATE["RS256"], "RS256"), token(OTHER_RSA, "RS256")
    key.write_bytes(pem(PRIVATE["RS256"]))
    rule = '[[rules]]\ntopics = ["*"]\nallow = ["subscribe"]\n'
    auth = f'[auth]\nmode = "jwt"\nalgorithms = ["RS256"]\npublic_key_file = "{key}"\n'
    write(file, topic, more=auth + rule)
    async with process(tmp_path, kafka, "--config", str(file)) as gateway:
        await gateway.until_ready()
        async with gateway.client(**bearer(old)) as client:
            await client.subscribe(topic)
            assert await status(gateway, new) == 401
            key.write_text("no key")
            line = await hang_up(gateway, "not read again")
            assert (line["level"], "auth.public_key_file" in line["fault"]) == ("error", True)
            async with gateway.client(**bearer(old)):
                pass
            key.write_bytes(pem(OTHER_RSA))
            await hang_up(gateway, "read again")
            assert await status(gateway, old) == 401
            async with gateway.client(**bearer(new)) as other:
                await other.subscribe(topic)
            kafka.produce(topic, ["1"])
            await client.expect("record")
            told = (await gateway.get("/metrics", admin=True)).body.decode().splitlines()
            assert 'tailrace_tokens_total{outcome="signature"} 2.0' in told
            assert 'tailrace_tokens_total{outcome="accepted"} 3.0' in told


async def test_a_secret_that_is_replaced_reaches_all_workers(kafka: Broker, tmp_path: Path) -> None:
    file = tmp_path / "tailrace.toml"

    def sign_with(secret: str) -> None:
        write(file, more=f'[auth]\nmode = "jwt"\nalgorithms = ["HS256"]\nsecret = "{secret}"\n')

    sign_with(SECRET)
    async with process(tmp_path, kafka, "--config", str(file), "--workers", "2") as gateway:
        await gateway.until_ready()
        sign_with(OTHER_SECRET)
        await hang_up(gateway, "read again")
        await until(lambda: gateway.log.count('"read again"') == 2, "both workers")
        for _ in range(8):  # whichever worker gets it
            assert await status(gateway, token(SECRET)) == 401
            async with gateway.client(**bearer(token(OTHER_SECRET))):
                pass


async def test_all_workers_read_it(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic(name="reload-workers")
    file = tmp_path / "tailrace.toml"
    write(file)
    async with process(tmp_path, kafka, "--config", str(file), "--workers", "2") as gateway:
        await gateway.until_ready()
        write(file, topic, more='[limits]\nslow_bytes = "7MiB"\n')
        line = await hang_up(gateway, "changed keys that need a restart")
        assert line["keys"] == ["limits.slow_bytes"]
        await until(lambda: gateway.log.count('"read again"') == 2, "both workers")
        for _ in range(8):  # whichever worker gets it
            async with gateway.client() as client:
                await client.subscribe(topic)


async def test_a_faulty_file_keeps_what_there_was(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.topic(name="reload-kept")
    file = tmp_path / "tailrace.toml"
    write(file, topic)
    async with process(tmp_path, kafka, "--config", str(file)) as gateway, gateway.client() as client:
        await client.subscribe(topic)
        write(file, more='[limits]\nslow_byte = "1MiB"\n')
        line = await hang_up(gateway, "not read again")
        assert (line["level"], "slow_byte" in line["fault"]) == ("error", True)
        kafka.produce(topic, ["1"])
        await client.expect("record")
        await client.subscribe(topic, 2)


async def test_what_needs_a_restart_is_named(kafka: Broker, tmp_path: Path) -> None:
    file = tmp_path / "tailrace.toml"
    write(file)
    async with process(tmp_path, kafka, "--config", str(file)) as gateway:
        write(file, more='[limits]\nslow_bytes = "7MiB"\n')
        line = await hang_up(gateway, "changed keys that need a restart")
        assert (line["level"], line["keys"]) == ("warning", ["limits.slow_bytes"])
