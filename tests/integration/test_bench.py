"""`tailrace bench` as its users run it: a real gateway, the real broker, records of its own."""

import sys
from pathlib import Path

import pytest
import trio
from msgspec import json
from tests.gateway import process
from tests.kafka_broker import Broker


@pytest.mark.parametrize(("options", "copies"), [([], 200), (["--keys", "20"], 10)], ids=["whole", "keyed"])
async def test_every_record_on_every_connection(kafka: Broker, tmp_path: Path, options: list[str], copies: int) -> None:
    topic = kafka.topic(3)
    async with process(tmp_path, kafka) as gateway:
        url = f"ws://{gateway.public}/topics/{topic}"
        command = [sys.executable, "-m", "tailrace", "bench", url, "--connections", "200", "--seconds", "1", "--json"]
        command += ["--kafka", kafka.bootstrap, "--rate", "200", *options]
        with trio.fail_after(120):
            ran = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    report = json.decode(ran.stdout)
    assert report["ready"] == 200
    assert report["records"] == report["produced"] * copies > 0
    assert (report["missing"], report["disordered"], report["gaps"]) == (0, 0, [])
    assert 0 < report["p50_ms"] <= report["p99_ms"] <= report["max_ms"]
