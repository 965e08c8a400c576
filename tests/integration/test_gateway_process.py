"""The gateway as a process: signals, the drain, exit codes, and what stands in its log."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, JSON, MSGPACK, masked, process
from tests.kafka_broker import Broker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_drain(kafka: Broker, tmp_path: Path, number: signal.Signals) -> None:
    """Everyone is told when to come back, at a time of his own; then it exits with 0."""
    topic = kafka.topic()
    async with (
        process(tmp_path, kafka, "--set", "shutdown.timeout=30s") as gateway,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(gateway.client(each)) for each in [JSON, MSGPACK] * 10]
        for client in clients:
            await client.subscribe(topic)
        stream = await stack.enter_async_context(gateway.stream(f"/topics/{topic}"))
        await stream.expect("subscribed")
        await stream.expect("live")
        values = await stack.enter_async_context(gateway.stream(f"/topics/{topic}?format=value"))
        kafka.produce(topic, ["1"])
        assert await values.bare() == "1"
        for client in [*clients, stream]:
            await client.expect("record")
        gateway.process.send_signal(number)
        assert await values.closed() == (4000, "shutdown")
        pauses = set()
        for client in [*clients, stream]:
            await client.expect("position")
            closing = await client.expect("closing", code=4000, reason="shutdown")
            assert 0 <= closing["retry_after_ms"] <= 30_000
            pauses.add(closing["retry_after_ms"])
            assert await client.closed() == (4000, "shutdown")
        assert len(pauses) > 10
        assert await gateway.wait() == 0
        assert "Traceback" not in gateway.log
        assert '"level": "error"' not in gateway.log


async def test_not_ready_while_draining(kafka: Broker, tmp_path: Path) -> None:
    """A client that does not answer the close is waited for, and meanwhile no newcomers are wanted."""
    async with process(tmp_path, kafka) as gateway, gateway.raw() as raw:
        await raw.message()
        await gateway.until_ready()
        gateway.terminate()
        assert (await raw.message())["type"] == "closing"
        answer = await gateway.until_ready(False)
        assert answer.json["reason"] == "draining"
        with pytest.raises(OSError):
            await gateway.socket()
        await raw.send(masked(8, (4000).to_bytes(2, "big")))
        assert await gateway.wait() == 0


async def test_a_drain_that_is_asked_for_again(kafka: Broker, tmp_path: Path) -> None:
    """It takes its time, says how it ended, and exits with 0: whoever cannot wait has SIGKILL."""
    async with process(tmp_path, kafka) as gateway, gateway.raw() as raw:
        await raw.message()
        gateway.terminate()
        assert (await raw.message())["type"] == "closing"
        for number in (signal.SIGTERM, signal.SIGINT):
            gateway.process.send_signal(number)
        await raw.send(masked(8, (4000).to_bytes(2, "big")))
        assert await gateway.wait() == 0
        assert '"stopped"' in gateway.log


async def test_a_drain_does_not_wait_for_the_dead(kafka: Broker, tmp_path: Path) -> None:
    """Who takes nothing is cut off when the time is up."""
    topic = kafka.topic()
    async with (
        process(tmp_path, kafka, "--set", "shutdown.timeout=1s") as gateway,
        gateway.raw(f"/topics/{topic}", buffer_bytes=4096),
    ):
        await trio.to_thread.run_sync(kafka.produce, topic, [b"x" * 900_000] * 8)
        gateway.terminate()
        assert await gateway.wait() == 0
        assert "Traceback" not in gateway.log


async def test_a_drain_of_nobody(kafka: Broker, tmp_path: Path) -> None:
    async with process(tmp_path, kafka) as gateway:
        await gateway.until_ready()
        gateway.terminate()
        assert await gateway.wait() == 0


async def test_a_drain_without_kafka(tmp_path: Path) -> None:
    """No broker is no reason to exit, and none not to."""
    async with process(tmp_path, "127.0.0.1:1") as gateway:
        assert (await gateway.until_ready(False)).json["reason"]
        async with gateway.client() as client:
            gateway.terminate()
            await client.expect("closing", code=4000)
        assert await gateway.wait() == 0
        assert "Traceback" not in gateway.log


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tailrace", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--nonsense"], "--nonsense"),
        (["--kafka", "k:1", "--set", "limits.nonsense=1"], "limits.nonsense"),
        (["--kafka", "k:1", "--set", "kafka.nonsense=1"], "nonsense"),
        (["--kafka", "k:1", "--set", "limits.write_timeout=soon"], "limits.write_timeout"),
        (["--kafka", "k:1", "--listen", "0.0.0.0:0"], "auth.mode"),
    ],
)
def test_a_faulty_configuration(options: list[str], named: str) -> None:
    done = serve(*options)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


async def test_an_address_in_use(kafka: Broker, tmp_path: Path) -> None:
    async with process(tmp_path, kafka) as gateway:
        done = await trio.to_thread.run_sync(
            serve, "--kafka", kafka.bootstrap, "--listen", gateway.public, "--no-admin"
        )
        assert done.returncode == 1
        assert gateway.public in done.stderr
        assert "Traceback" not in done.stderr
