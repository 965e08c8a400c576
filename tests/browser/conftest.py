"""Debian's Chromium, headless, and what it visits: `tailrace demo` as a process, or a gateway that follows a script.

After every test the browser's own log must be empty: a page that works but complains is not done.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from tests.certificates import Authority
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from tailrace.console import HEADERS, assets

SECONDS = 60.0  # for anything to happen; only a failing test waits so long


class Browser:
    """The page, as a person has it: what it shows, and where to press."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # or a changed fragment alone would not load the page anew
        self.driver.get(url)

    def element(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def press(self, css: str) -> None:
        self.element(css).click()

    def text(self, css: str) -> str:
        """Of the first that matches; empty when it is not in sight."""
        script = (
            "const found = document.querySelector(arguments[0]); return found?.checkVisibility() && found.innerText"
        )
        return str(self.driver.execute_script(script, css) or "")

    def texts(self, css: str) -> list[str]:
        """Of all that match, at one moment: rows come and go."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)"
        return list(self.driver.execute_script(script, css))

    def number(self, css: str) -> int:
        return int(self.text(css).replace(",", "") or 0)

    def until(self, condition: Callable[[], object], what: str) -> None:
        WebDriverWait(self.driver, SECONDS, poll_frequency=0.05).until(lambda _: condition(), what)

    def complaints(self) -> list[str]:
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its certificate is the one that the browser takes although no authority of its own has signed it."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def chrome(authority: Authority) -> Iterator[webdriver.Chrome]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        missing = "the browser tests need chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1440,900")
    options.add_argument(f"--ignore-certificate-errors-spki-list={authority.pin}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome) -> Iterator[Browser]:
    browser = Browser(chrome)
    browser.complaints()  # of the test before
    yield browser
    complaints = browser.complaints()
    chrome.get("about:blank")
    assert complaints == []


@pytest.fixture(scope="session")
def demo() -> Iterator[str]:
    """`tailrace demo` on free ports; its address. Ctrl-C must end it with 0."""
    command = [sys.executable, "-m", "tailrace", "demo", "--listen", "127.0.0.1:0", "--no-admin"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield next(line.split()[1] for line in process.stdout if line.split()[:1] == ["open"])
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


class Peer:
    """One WebSocket of the page, from the gateway's side."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.subscription = 0  # the id of the page's, once it is known
        self.commands: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, type_: str, **fields: object) -> None:
        self.socket.send(json.dumps({"type": type_, **fields}))

    def expect(self, type_: str) -> dict[str, Any]:
        """The page's next command, which must be of this type."""
        command = self.commands.get(timeout=SECONDS)
        assert command["type"] == type_
        return command

    def welcome(self, **fields: object) -> None:
        known = {"server": "tailrace/test", "connection": "c1", "protocol": "tailrace.v1.json"}
        self.send("welcome", **known, ping_interval_ms=25_000, max_message_bytes=65_536, **fields)

    def subscribed(self, id_: int, positions: dict[str, int], topic_id: str = "t1", live: bool = True) -> None:
        self.send("subscribed", id=id_, topic="orders", topic_id=topic_id, compacted=False, positions=positions)
        if live:
            self.send("live", id=id_)

    def record(self, id_: int, partition: int, offset: int, **fields: object) -> None:
        plain = {"timestamp": None, "key": "k", "value": {"n": offset}}
        self.send("record", id=id_, topic="orders", partition=partition, offset=offset, **(plain | fields))


class ScriptedGateway:
    """Serves the page with its headers, and leaves every /ws to the test."""

    def __init__(self) -> None:
        self._files = assets(["orders", "prices"], ["orders"])
        self._peers: queue.Queue[Peer] = queue.Queue()
        self._server: Server = serve(
            self._talk, "127.0.0.1", 0, process_request=self._answer, subprotocols=["tailrace.v1.json"]
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/"

    def accept(self) -> Peer:
        """The page's next connection."""
        return self._peers.get(timeout=SECONDS)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/ws":
            return None
        found = self._files.get(request.path)
        if found is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "not found")
        headers = Headers([*HEADERS, ("Content-Type", found[0]), ("Content-Length", str(len(found[1])))])
        return Response(200, "OK", headers, found[1])

    def _talk(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._peers.put(peer)
        with contextlib.suppress(ConnectionClosed):
            for message in socket:
                peer.commands.put(json.loads(message))


@pytest.fixture
def gateway(browser: Browser) -> Iterator[ScriptedGateway]:
    gateway = ScriptedGateway()
    yield gateway
    browser.driver.get("about:blank")  # first, or the page would complain that nobody answers any more
    gateway.close()
