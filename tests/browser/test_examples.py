"""The examples as a reader runs them: their own configuration, the real Kafka, the feed, pages over HTTP."""

import contextlib
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from tests.browser.conftest import SECONDS, Browser
from tests.kafka_broker import Broker

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SECRET = "a-secret-of-at-least-32-characters"

pytestmark = pytest.mark.browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """`python -m http.server`, without its log."""

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """The origin at which the repository is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(ROOT)))
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def serving(example: str, kafka: Broker, origin: str) -> Iterator[str]:
    """The example's gateway, elsewhere and for pages from elsewhere; the address of the page that goes with it."""
    config = ["--config", str(EXAMPLES / example / "tailrace.toml"), "--kafka", kafka.bootstrap]
    places = ["--listen", "127.0.0.1:0", "--no-admin", "--set", f'listen.origins=["{origin}"]', "--log-format", "json"]
    command = [sys.executable, "-m", "tailrace", "serve", *config, *places]
    environment = os.environ | ({"TAILRACE_AUTH__SECRET": SECRET} if example == "notifications" else {})
    gateway = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert gateway.stderr is not None
        said = []
        for line in gateway.stderr:
            said.append(line)
            if '"listening"' in line:
                break
        else:
            pytest.fail("".join(said))
        public = json.loads(said[-1])["address"].replace("http://", "ws://")
        threading.Thread(target=gateway.stderr.read).start()  # or it would stop at a full pipe
        yield f"{origin}/examples/{example}/?gateway={public}/ws"
    finally:
        gateway.terminate()
        assert gateway.wait(SECONDS) == 0


def feed(kafka: Broker, topic: str, count: int) -> None:
    """So many records more, at once."""
    command = [
        sys.executable,
        EXAMPLES / "feed.py",
        "--kafka",
        kafka.bootstrap,
        "--topic",
        topic,
        "--count",
        str(count),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_orders_survive_a_reload(kafka: Broker, pages: str, browser: Browser) -> None:
    feed(kafka, "orders", 50)
    with serving("orders", kafka, pages) as url:
        browser.open(url)
        browser.until(lambda: browser.text("#subscription") == "live", "the last orders")
        assert len(browser.texts("#orders tr")) == 20
        seen = browser.number("#count")
        browser.driver.get("about:blank")
        feed(kafka, "orders", 100)
        browser.open(url)
        browser.until(lambda: browser.text("#subscription") == "live", "what came meanwhile")
        assert browser.number("#count") == seen + 100
        assert browser.text("#state") == "open"
        browser.driver.execute_script("localStorage.clear()")
        browser.driver.get("about:blank")


def test_the_dashboard_counts_history_and_what_follows(kafka: Broker, pages: str, browser: Browser) -> None:
    feed(kafka, "orders", 50)
    feed(kafka, "prices", 1)
    with serving("dashboard", kafka, pages) as url:
        browser.open(url)
        browser.until(lambda: browser.number("#rate") >= 40, "history")
        before = browser.number("#rate")
        feed(kafka, "orders", 30)
        browser.until(lambda: browser.number("#rate") > before, "what follows")
        browser.until(lambda: browser.texts("#countries td.number"), "revenue by country")
        feed(kafka, "prices", 2000)
        browser.until(lambda: len(browser.texts("#quotes tr")) > 5, "quotes")
        assert browser.number("#quotes-count") < 500, "conflated"
        browser.driver.get("about:blank")


def test_two_people_chat(kafka: Broker, pages: str, browser: Browser, chrome: webdriver.Chrome) -> None:
    feed(kafka, "chat", 0)
    room, other = uuid.uuid4().hex[:8], uuid.uuid4().hex[:8]
    with serving("chat", kafka, pages) as url:
        windows = [chrome.current_window_handle]
        chrome.switch_to.new_window("window")
        windows.append(chrome.current_window_handle)
        for window, name in zip(windows, ("Ada", "Ben"), strict=True):
            chrome.switch_to.window(window)
            browser.open(url)
            enter(browser, name, room)
        for window, text in zip(windows, ("<b>hello</b>", "hi there"), strict=True):
            chrome.switch_to.window(window)
            say(browser, text)
        for window in windows:
            chrome.switch_to.window(window)
            browser.until(lambda: len(browser.texts("#messages li")) == 2, "both messages")
            [one, two] = browser.texts("#messages li")
            assert (one[:16], two[:12]) == ("Ada <b>hello</b>", "Ben hi there"), "the same order, and text stays text"
        enter(browser, "Ben", other)
        say(browser, "anybody?")
        browser.until(lambda: len(browser.texts("#messages li")) == 1, "the other room")
        assert "anybody?" in browser.text("#messages li")
        chrome.close()
        chrome.switch_to.window(windows[0])
        assert len(browser.texts("#messages li")) == 2
        browser.driver.get("about:blank")


def enter(browser: Browser, name: str, room: str) -> None:
    for css, text in (("#name", name), ("#room", room)):
        browser.element(css).clear()
        browser.element(css).send_keys(text)
    browser.press("#enter button")
    browser.until(lambda: browser.text("#state") == "open", "the connection")


def say(browser: Browser, text: str) -> None:
    before = len(browser.texts("#messages li"))
    browser.element("#text").send_keys(text)
    browser.press("#say button")
    browser.until(lambda: len(browser.texts("#messages li")) > before, "the message")


def token(subject: str) -> str:
    command = [sys.executable, "-m", "tailrace", "token", "--claim", f"sub={subject}"]
    environment = os.environ | {"TAILRACE_AUTH__SECRET": SECRET}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def test_everybody_gets_his_own_notifications(kafka: Broker, pages: str, browser: Browser) -> None:
    feed(kafka, "notifications", 60)
    with serving("notifications", kafka, pages) as url:
        for user in ("alice", "bob"):
            browser.open(url)
            browser.element("#token").send_keys(token(user))
            browser.press("#enter button")
            browser.until(lambda: len(browser.texts("#notifications li")) > 2, "notifications")
            assert {line.split(":")[0] for line in browser.texts("#notifications li")} == {f"To {user}"}
            assert browser.text("#subject") == user
        browser.driver.get("about:blank")


@pytest.mark.parametrize("example", ["orders", "dashboard", "chat", "notifications"])
def test_the_page_and_its_readme_name_what_is_there(example: str) -> None:
    folder = EXAMPLES / example
    assert {"README.md", "index.html", "page.js", "tailrace.toml"} <= {file.name for file in folder.iterdir()}
    assert f"--config examples/{example}/tailrace.toml" in (folder / "README.md").read_text()
    assert f"({example}/README.md)" in (EXAMPLES / "README.md").read_text()
