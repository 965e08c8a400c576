"""Chromium by https and wss: its own TLS, its own WebSocket, the real listener and the real Kafka."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.browser.conftest import SECONDS, Browser
from tests.certificates import Authority
from tests.kafka_broker import Broker

pytestmark = pytest.mark.browser

COUNT = 1_000
# No client of ours: what comes is kept, and how it ended.
PAGE = """
globalThis.had = [];
globalThis.ended = null;
const socket = new WebSocket(arguments[0]);
socket.onmessage = ({ data }) => had.push(data);
socket.onclose = ({ code }) => { ended = code; };
"""


@contextlib.contextmanager
def serving(kafka: Broker, topic: str, authority: Authority) -> Iterator[str]:
    """A gateway under TLS; its https address."""
    settings = [f"tls_certificate={authority.certificate}", f"tls_key={authority.key}", "console=true"]
    command = [sys.executable, "-m", "tailrace", "serve", "--kafka", kafka.bootstrap, "--topic", topic, "--no-admin"]
    command += [
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        *(word for one in settings for word in ("--set", f"listen.{one}")),
    ]
    gateway = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert gateway.stderr is not None
        listening = next(line for line in gateway.stderr if '"listening"' in line)
        threading.Thread(target=gateway.stderr.read).start()  # or it would stop at a full pipe
        yield str(json.loads(listening)["address"])
    finally:
        gateway.terminate()
        assert gateway.wait(SECONDS) == 0


def test_the_console_and_a_page_of_nobodys(kafka: Broker, authority: Authority, browser: Browser) -> None:
    topic = kafka.topic()
    values = [f'{{"n":{at}}}' for at in range(2 * COUNT)]
    kafka.produce(topic, values[:COUNT])
    with serving(kafka, topic, authority) as address:
        assert address.startswith("https://")
        browser.open(address)
        browser.until(lambda: browser.text("#state") == "live", "the console's subscription is live")
        url = f"{address.replace('https', 'wss')}/topics/{topic}?format=value&from=earliest"
        browser.driver.execute_script(PAGE, url)
        browser.until(lambda: browser.driver.execute_script("return had.length") == COUNT, "history")
        kafka.produce(topic, values[COUNT:])
        browser.until(lambda: browser.driver.execute_script("return had.length") == 2 * COUNT, "what follows")
        assert browser.driver.execute_script("return [had, ended]") == [values, None]
        browser.until(lambda: browser.number("#total-records") == COUNT, "what follows, on the console")
        browser.driver.get("about:blank")
