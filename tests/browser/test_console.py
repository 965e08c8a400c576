"""The console on the real thing: `tailrace demo` in its own process, Debian's Chromium in front of it."""

import uuid
from urllib.request import urlopen

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from tests.browser.conftest import SECONDS, Browser

from tailrace.console import HEADERS

pytestmark = pytest.mark.browser


@pytest.fixture
def console(browser: Browser, demo: str) -> Browser:
    browser.open(demo)
    browser.until(lambda: browser.text("#state") == "live", "the subscription is live")
    return browser


def tick(console: Browser, more: int = 3) -> None:
    """Wait until so many more records came."""
    before = console.number("#total-records")
    console.until(lambda: console.number("#total-records") >= before + more, "records tick")


def test_the_first_topic_ticks_without_a_click(console: Browser) -> None:
    assert console.text("#connection") == "Connected"
    assert console.text("#stream-title") == "orders"
    tick(console)
    assert console.texts(".row .key")[0].startswith("ORD-")
    assert console.texts("#positions tbody th") == ["0", "1", "2"]


@pytest.mark.parametrize("path", ["", "console/main.js", "console/tailrace.js"])
def test_the_gateway_sends_the_pages_headers_with_every_file(demo: str, path: str) -> None:
    with urlopen(f"{demo}{path}", timeout=SECONDS) as answer:
        assert {name: answer.headers.get_all(name) for name, _ in HEADERS} == {name: [value] for name, value in HEADERS}


def test_rate_and_latency_are_shown(console: Browser) -> None:
    tick(console)
    console.until(lambda: console.text("#rate")[:1] in tuple("123456789"), "a rate")
    console.until(lambda: console.text("#p50").endswith("s"), "a median")
    console.until(lambda: console.text("#p99").endswith("s"), "a 99th percentile")
    painted = "const c = arguments[0]; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    for chart in ("#rate-chart", "#latency-chart"):
        assert console.driver.execute_script(painted + "return d.some((byte) => byte > 0)", console.element(chart))


def test_another_topic_and_one_key_of_it(console: Browser) -> None:
    console.press("#topics button[value=prices]")
    console.until(lambda: "HYDR" in console.texts(".row .key"), "prices of all tickers")
    console.element("#keys-asked").send_keys("HYDR" + Keys.ENTER)
    console.until(lambda: console.text("#drop-key") == "HYDR", "the key is asked for")
    tick(console, 5)
    assert set(console.texts(".row .key")) == {"HYDR"}
    console.press("#drop-key")
    console.until(lambda: len(set(console.texts(".row .key"))) > 3, "every key again")


def test_a_busy_key_can_be_pressed(console: Browser) -> None:
    console.press("#topics button[value=prices]")
    console.until(lambda: len(console.texts("#keys button")) == 8, "the busiest keys")
    console.press("#keys button")
    console.until(lambda: console.text("#drop-key") != "", "one of them chosen")
    tick(console, 1)
    assert set(console.texts(".row .key")) == {console.text("#drop-key")}


def test_pause_holds_the_table_and_resume_shows_what_came(console: Browser) -> None:
    console.press("#topics button[value=prices]")
    tick(console)
    console.press("#pause")
    console.until(lambda: console.text("#state") == "paused", "paused")
    console.until(lambda: console.text("#newer").endswith("newer"), "newer ones are counted, the table is drawn")
    held = console.texts(".row .place")
    tick(console, 20)
    assert console.texts(".row .place") == held
    console.press("#pause")
    console.until(lambda: console.text("#newer") == "", "following again")
    console.until(lambda: console.texts(".row .place")[0] not in held, "and drawn")
    assert console.text("#state") == "live"


def test_a_record_opens_by_keyboard(console: Browser) -> None:
    tick(console)
    table = console.element("#records")
    table.send_keys(Keys.SPACE, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    console.until(lambda: console.text("#inspector .facts") != "", "the record is open")
    selected = console.text(".row[aria-selected=true] .key")
    assert console.text("#inspector .block") == selected
    assert table.get_attribute("aria-activedescendant") == console.element(".row[aria-selected=true]").get_attribute(
        "id"
    )
    table.send_keys(Keys.ESCAPE)
    assert not console.element("#inspector").is_displayed()


def test_an_unknown_topic_is_told_in_words(console: Browser) -> None:
    console.element("#topic").clear()
    console.element("#topic").send_keys("nosuch" + Keys.ENTER)
    console.until(lambda: "no topic “nosuch”" in console.text("#fault"), "the fault")
    console.press("#topics button[value=chat]")
    console.until(lambda: console.text("#state") == "live", "live again")
    assert console.text("#fault") == ""


def test_stop_and_start(console: Browser) -> None:
    tick(console)
    console.press("#stop")
    console.until(lambda: console.text("#state") == "stopped", "stopped")
    console.press("#start")
    console.until(lambda: console.text("#state") == "live", "live again")
    tick(console)


def test_the_address_remembers_the_choice(console: Browser, demo: str) -> None:
    console.press("#topics button[value=chat]")
    assert console.driver.current_url == f"{demo}#topic=chat"
    console.open(f"{demo}#topic=prices&key=WEIR")
    console.until(lambda: console.text("#drop-key") == "WEIR", "the key of the address")
    assert console.text("#stream-title") == "prices"


def test_several_keys(console: Browser, demo: str) -> None:
    console.press("#topics button[value=prices]")
    console.element("#keys-asked").send_keys("HYDR, WEIR" + Keys.ENTER)
    console.until(lambda: set(console.texts(".row .key")) == {"HYDR", "WEIR"}, "both of them")
    tick(console, 5)
    assert set(console.texts(".row .key")) <= {"HYDR", "WEIR"}
    assert console.driver.current_url == f"{demo}#topic=prices&keys=HYDR%2C+WEIR"


def test_where_to_begin(console: Browser, demo: str) -> None:
    """What was there before it was asked for comes first, and where that began stays in sight."""
    tick(console)
    Select(console.element("#from")).select_by_value("last")
    assert console.text("#start") == "Switch"
    console.element("#from-detail").clear()
    console.element("#from-detail").send_keys("1" + Keys.ENTER)
    console.until(lambda: "from the last 1 of each partition" in console.text("#activity"), "it begins there")
    assert console.driver.current_url == f"{demo}#topic=orders&from=last%3A1"
    console.until(lambda: "Live: caught up with" in console.text("#activity"), "and has caught up")

    def one_before_the_next() -> bool:
        began, next_ = (console.texts(f"#positions tbody td:nth-child({column})") for column in (2, 4))
        return len(began) == 3 and all(int(first) < int(last) for first, last in zip(began, next_, strict=True))

    console.until(one_before_the_next, "the beginning is shown beside the place")


def test_the_oldest_record_there_is(console: Browser, demo: str) -> None:
    console.open(f"{demo}#topic=orders&from=earliest&slow=skip")
    console.until(lambda: "Live: caught up with" in console.text("#activity"), "live")
    console.until(lambda: console.texts("#positions tbody td:nth-child(2)") == ["0", "0", "0"], "where it began")
    assert Select(console.element("#slow")).first_selected_option.get_attribute("value") == "skip"


def test_publishing_where_it_is_allowed(console: Browser) -> None:
    assert console.text("#publish") == ""  # not to orders
    console.press("#topics button[value=chat]")
    console.until(lambda: console.text("#state") == "live", "live")
    text = uuid.uuid4().hex
    console.element("#publish-key").send_keys("lunch")
    console.element("#publish-value").send_keys('{"text": "' + text + '", "n": 1.50}' + Keys.ENTER)
    console.until(lambda: console.text("#published").startswith("Published at "), "it is acknowledged")
    place = console.text("#published").removeprefix("Published at ")
    console.until(lambda: place in console.texts(".row .place"), "and comes as everybody's record")
    assert console.element("#publish-value").get_attribute("value") == ""
    Select(console.element("#publish-kind")).select_by_value("tombstone")
    console.press("#publish button")
    console.until(lambda: console.text("#published") not in ("", f"Published at {place}", "Publishing"), "the next one")
    assert console.text("#published").startswith("Published at ")


def test_a_phone_needs_no_sideways_scrolling(console: Browser) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    console.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        tick(console)
        assert console.driver.execute_script("return document.documentElement.scrollWidth") == 390
        assert console.element(".row .value").is_displayed()
    finally:
        console.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
