"""The page's connection against a gateway that does what the protocol allows: closes, gaps, refusals, strangeness."""

import re

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from tests.browser.conftest import Browser, Peer, ScriptedGateway

pytestmark = pytest.mark.browser


@pytest.fixture
def peer(browser: Browser, gateway: ScriptedGateway) -> Peer:
    """The first connection, with the page's subscription live at 0=10 and 1=20, as id `peer.subscription`."""
    browser.open(gateway.url)
    peer = gateway.accept()
    peer.welcome()
    command = peer.expect("subscribe")
    assert command == {"type": "subscribe", "id": command["id"], "topic": "orders"}
    peer.subscribed(command["id"], {"0": 10, "1": 20})
    peer.subscription = command["id"]
    return peer


def again(gateway: ScriptedGateway) -> tuple[Peer, dict[str, object]]:
    """The page's next connection and its subscribe."""
    peer = gateway.accept()
    peer.welcome()
    return peer, peer.expect("subscribe")


def leave(peer: Peer, code: int, reason: str = "", retry_after_ms: int = 1) -> None:
    peer.send("closing", code=code, reason=reason, retry_after_ms=retry_after_ms)
    peer.socket.close(code, reason)


def test_nothing_is_asked_before_the_welcome(browser: Browser, gateway: ScriptedGateway) -> None:
    browser.open(gateway.url)
    peer = gateway.accept()
    browser.until(lambda: browser.text("#state") == "waiting", "the page has started")
    assert peer.commands.empty()
    peer.welcome()
    peer.expect("subscribe")


def test_it_resumes_at_what_it_keeps(peer: Peer, gateway: ScriptedGateway) -> None:
    """Section 4.3: the highest of subscribed.positions, last offset + 1, position; and a gap's next."""
    peer.record(peer.subscription, 0, 14)
    peer.send("position", id=peer.subscription, positions={"1": 31})
    leave(peer, 4000, "shutdown")
    _, command = again(gateway)
    assert command["from"] == {"offsets": {"0": 15, "1": 31}, "topic_id": "t1"}
    assert "keys" not in command


def test_a_gap_takes_it_back(peer: Peer, gateway: ScriptedGateway, browser: Browser) -> None:
    gap = {"topic": "orders", "partition": 1, "from": 5, "to": 20, "next": 5, "reason": "truncated"}
    peer.send("gap", id=peer.subscription, **gap)
    browser.until(lambda: "15 offsets missing" in browser.text(".row.gap"), "the gap is told")
    browser.until(lambda: browser.text("#total-gaps") == "1", "and counted")
    leave(peer, 1012)
    _, command = again(gateway)
    assert command["from"] == {"offsets": {"0": 10, "1": 5}, "topic_id": "t1"}


def test_a_recreated_topic_starts_a_new_vector(peer: Peer, gateway: ScriptedGateway) -> None:
    leave(peer, 4006)
    peer, command = again(gateway)
    peer.subscribed(command["id"], {"0": 0}, topic_id="t2")
    leave(peer, 4006)
    _, command = again(gateway)
    assert command["from"] == {"offsets": {"0": 0}, "topic_id": "t2"}


def test_when_resuming_is_refused_it_says_so_and_goes_on(
    peer: Peer, gateway: ScriptedGateway, browser: Browser
) -> None:
    peer.record(peer.subscription, 0, 10)
    leave(peer, 4000, "shutdown")
    peer, command = again(gateway)
    peer.send("error", id=command["id"], command="subscribe", code="bad_request", message="no replay here")
    command = peer.expect("subscribe")
    assert "from" not in command
    peer.subscribed(command["id"], {"0": 90, "1": 90})
    browser.until(lambda: browser.text("#state") == "live", "live again")
    browser.until(lambda: any("no replay here" in text for text in browser.texts(".row.note")), "told in words")
    browser.until(lambda: len(browser.texts(".row .place")) == 1, "what it had is still there")


@pytest.mark.parametrize("code", [4500, 4504, 1002])
def test_codes_that_end_it_for_good(peer: Peer, gateway: ScriptedGateway, browser: Browser, code: int) -> None:
    peer.socket.close(code)
    browser.until(lambda: browser.text("#connection") == "Disconnected", "it stays away")
    assert "will not be tried again" in browser.text("#banner")
    browser.press("#banner button")
    peer, command = again(gateway)
    assert (command["topic"], command["from"]) == ("orders", {"offsets": {"0": 10, "1": 20}, "topic_id": "t1"})
    browser.until(lambda: browser.text("#connection") == "Connected", "asked to, it comes back")
    peer.subscribed(command["id"], {"0": 10, "1": 20})
    browser.until(lambda: browser.text("#state") == "live", "and goes on")


def test_a_place_that_is_refused_after_coming_back_by_hand(
    peer: Peer, gateway: ScriptedGateway, browser: Browser
) -> None:
    peer.socket.close(4500)
    browser.until(lambda: browser.text("#connection") == "Disconnected", "it stays away")
    browser.press("#banner button")
    peer, command = again(gateway)
    peer.send("error", id=command["id"], command="subscribe", code="bad_position", message="no such place")
    command = peer.expect("subscribe")
    assert "from" not in command
    browser.until(lambda: any("no such place" in text for text in browser.texts(".row.note")), "told in words")


def test_a_page_of_ones_own_takes_records_in_a_loop(browser: Browser, gateway: ScriptedGateway) -> None:
    """The module as anybody's page would use it, beside the console and under its policy."""
    browser.open(gateway.url)
    gateway.accept()  # the console's, which waits for its welcome
    browser.driver.execute_script(
        """
        globalThis.offsets = [];
        import("/console/tailrace.js").then(async ({ Tailrace }) => {
          globalThis.client = new Tailrace("/ws");
          globalThis.subscription = client.subscribe("orders", { from: "earliest" });
          for await (const record of subscription) offsets.push(record.offset);
        });
        """
    )
    peer, command = again(gateway)
    assert command["from"] == "earliest"
    peer.subscribed(command["id"], {"0": 0})
    peer.record(command["id"], 0, 0)
    leave(peer, 4000, "shutdown")
    peer, command = again(gateway)
    assert command["from"] == {"offsets": {"0": 1}, "topic_id": "t1"}
    peer.subscribed(command["id"], {"0": 1})
    peer.record(command["id"], 0, 1)
    found = "return JSON.stringify([offsets, subscription.positions, subscription.state])"
    browser.until(lambda: browser.driver.execute_script(found) == '[[0,1],{"0":2},"live"]', "both records")


def test_it_waits_as_long_as_the_gateway_asks(peer: Peer, gateway: ScriptedGateway, browser: Browser) -> None:
    leave(peer, 4000, "shutdown", retry_after_ms=3_600_000)
    browser.until(lambda: browser.text("#connection") == "Reconnecting", "it waits")
    assert "The gateway is shutting down." in browser.text("#banner")
    assert re.fullmatch(r"3[56]\d\d s", browser.text("#banner .countdown"))
    browser.press("#banner button")
    again(gateway)


def test_kafka_being_away_is_waited_for(browser: Browser, gateway: ScriptedGateway) -> None:
    browser.open(gateway.url)
    peer, command = again(gateway)
    peer.send("error", id=command["id"], command="subscribe", code="kafka_unavailable", message="no broker")
    browser.until(lambda: "cannot reach Kafka" in browser.text("#fault"), "told in words")
    command = peer.expect("subscribe")
    peer.subscribed(command["id"], {"0": 1})
    browser.until(lambda: browser.text("#state") == "live", "live")
    assert browser.text("#fault") == ""


def test_what_it_does_not_know_is_ignored(peer: Peer, browser: Browser) -> None:
    peer.send("novelty", id=peer.subscription, topic="orders")
    peer.send("__defineGetter__", id=peer.subscription)  # what every object has is no handler
    peer.send("toString")
    peer.record(peer.subscription, 0, 10, weather="fine")
    browser.until(lambda: browser.texts(".row .place") == ["0:10"], "the record is there")


def test_switching_topics_hears_nothing_of_the_old_one(peer: Peer, browser: Browser) -> None:
    browser.press("#topics button[value=prices]")
    assert peer.expect("unsubscribe") == {"type": "unsubscribe", "id": peer.subscription}
    command = peer.expect("subscribe")
    assert command["topic"] == "prices"
    assert command["id"] != peer.subscription
    peer.record(peer.subscription, 0, 10)
    peer.send("position", id=peer.subscription, positions={"0": 11})
    peer.send("unsubscribed", id=peer.subscription)
    peer.subscribed(command["id"], {"0": 3})
    peer.record(command["id"], 0, 3)
    browser.until(lambda: browser.texts(".row .place") == ["0:3"], "only the new one's record")


def test_the_gateway_may_end_a_subscription(peer: Peer, browser: Browser) -> None:
    peer.send("unsubscribed", id=peer.subscription, code="topic_deleted", message="it is gone")
    browser.until(lambda: "was deleted" in browser.text("#fault"), "told in words")
    assert browser.text("#state") == "stopped"


def test_every_kind_of_record_is_shown_as_what_it_is(peer: Peer, browser: Browser) -> None:
    evil = "<img src=x onerror=alert(1)>"
    peer.record(peer.subscription, 0, 10, key=None, value=None, tombstone=True)
    peer.record(peer.subscription, 0, 11, key="AAE=", key_encoding="base64", value="//8=", encoding="base64")
    peer.record(peer.subscription, 0, 12, key=evil, value={evil: evil}, headers=[[evil, evil], ["h", "AA==", "base64"]])
    peer.record(peer.subscription, 0, 13, value=evil, encoding="text", timestamp=0)
    browser.until(lambda: len(browser.texts(".row .place")) == 4, "all four")
    text, html, binary, tombstone = browser.texts(".row")
    assert "tombstone" in tombstone
    assert "no key" in tombstone
    assert "base64" in binary
    assert evil in html
    assert evil in text
    assert browser.driver.execute_script("return document.querySelectorAll('.records img').length") == 0
    browser.driver.execute_script("document.querySelector('#records').focus()")


def test_ten_thousand_records_leave_a_few_rows(peer: Peer, browser: Browser) -> None:
    for offset in range(10, 10_010):
        peer.record(peer.subscription, 0, offset)
    browser.until(lambda: browser.number("#total-records") == 10_000, "all came")
    browser.until(lambda: browser.texts('.row[aria-rowindex="2"] .place') == ["0:10009"], "the newest on top")
    assert browser.driver.execute_script("return document.querySelectorAll('.row').length") < 100
    browser.until(lambda: browser.texts("#positions tbody td")[2] == "10010", "the place is told")
    assert browser.driver.execute_script("return Number(document.querySelector('#records').ariaRowCount)") == 5_001


def fragment(browser: Browser, gateway: ScriptedGateway, text: str) -> dict[str, object]:
    """What the page asks for when its address ends so."""
    browser.open(f"{gateway.url}#{text}")
    return again(gateway)[1]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("topic=t", {}),
        ("topic=t&from=last:5&slow=latest", {"from": {"last": 5}, "slow": "latest"}),
        ("topic=t&from=offsets:0=3,1=4&key=a&key=b,c", {"from": {"offsets": {"0": 3, "1": 4}}, "keys": ["a", "b,c"]}),
        ('topic=t&keys=["a",null]&from=snapshot', {"from": "snapshot", "keys": ["a", None]}),
        ("topic=t&from=timestamp:1970-01-01T00:00:00.000Z", {"from": {"timestamp": "1970-01-01T00:00:00.000Z"}}),
        ("topic=t&from=nonsense&keys=[&slow=wait", {}),
    ],
)
def test_the_address_says_what_to_ask_for(
    browser: Browser, gateway: ScriptedGateway, text: str, asked: dict[str, object]
) -> None:
    command = fragment(browser, gateway, text)
    assert {name: value for name, value in command.items() if name not in ("type", "id")} == {"topic": "t", **asked}


def test_what_cannot_be_a_beginning_is_told_beside_the_form(peer: Peer, browser: Browser) -> None:
    Select(browser.element("#from")).select_by_value("timestamp")
    browser.element("#from-detail").clear()
    browser.element("#from-detail").send_keys("soon" + Keys.ENTER)
    assert "“soon” is not a time" in browser.text("#fault")
    browser.element("#from-detail").clear()
    browser.element("#from-detail").send_keys("2026-11-23T10:00:00Z" + Keys.ENTER)
    assert peer.expect("unsubscribe")["id"] == peer.subscription
    assert peer.expect("subscribe")["from"] == {"timestamp": "2026-11-23T10:00:00.000Z"}
    assert browser.text("#fault") == ""


def test_what_was_missed_is_counted_when_it_is_all_here(peer: Peer, gateway: ScriptedGateway, browser: Browser) -> None:
    leave(peer, 1012)
    peer, command = again(gateway)
    peer.subscribed(command["id"], {"0": 10, "1": 20}, live=False)
    for offset in range(10, 1_250):
        peer.record(command["id"], 0, offset)
    peer.send("live", id=command["id"])
    peer.record(command["id"], 0, 1_250)
    browser.until(lambda: "all here" in browser.text("#activity"), "it is told")
    assert "1,240 records came meanwhile: all here, each once." in browser.text("#activity")
    browser.until(lambda: any("1,240 records came" in text for text in browser.texts(".row.note")), "in its place too")


def test_what_is_missing_after_an_absence_is_told(peer: Peer, gateway: ScriptedGateway, browser: Browser) -> None:
    leave(peer, 1012)
    peer, command = again(gateway)
    peer.subscribed(command["id"], {"0": 10, "1": 20}, live=False)
    gap = {"topic": "orders", "partition": 0, "from": 10, "to": 30, "next": 30, "reason": "retention"}
    peer.send("gap", id=command["id"], **gap)
    peer.record(command["id"], 0, 30)
    peer.record(command["id"], 1, 20)
    peer.send("live", id=command["id"])
    words = "2 records came meanwhile that Kafka still has; 20 offsets missing"
    browser.until(lambda: words in browser.text("#activity"), "it is told")


def test_a_record_that_comes_twice_after_an_absence_is_told(
    peer: Peer, gateway: ScriptedGateway, browser: Browser
) -> None:
    peer.record(peer.subscription, 0, 10)
    browser.until(lambda: browser.texts(".row .place") == ["0:10"], "the record is there")
    leave(peer, 1012)
    peer, command = again(gateway)
    peer.subscribed(command["id"], {"0": 11, "1": 20}, live=False)
    peer.record(command["id"], 0, 10)
    peer.send("live", id=command["id"])
    browser.until(lambda: "1 of them for the second time" in browser.text("#activity"), "it is told")


def publish(browser: Browser, kind: str, key: str, value: str) -> None:
    Select(browser.element("#publish-kind")).select_by_value(kind)
    for field, typed in (("key", key), ("value", value)):
        browser.element(f"#publish-{field}").clear()
        browser.element(f"#publish-{field}").send_keys(typed)
    browser.press("#publish button")


def test_json_is_published_as_it_was_typed(peer: Peer, browser: Browser) -> None:
    publish(browser, "json", "", '{"n":  12345678901234567890}')
    command = peer.expect("publish")
    fields = {"topic": "orders", "encoding": "text", "value": '{"n":  12345678901234567890}'}
    assert command == {"type": "publish", "id": command["id"], **fields}
    peer.send("published", id=command["id"], topic="orders", partition=1, offset=7, timestamp=1)
    browser.until(lambda: browser.text("#published") == "Published at 1:7", "it is told")


def test_what_is_not_json_is_not_sent_as_json(peer: Peer, browser: Browser) -> None:
    publish(browser, "json", "k", "hello")
    assert "not JSON" in browser.text("#published")
    publish(browser, "text", "k", "hello")
    assert peer.expect("publish")["value"] == "hello"


@pytest.mark.parametrize(
    ("code", "words"), [("forbidden", "not allowed"), ("publish_timeout", "or not"), ("novelty", "novelty")]
)
def test_a_publish_that_is_refused_says_why(peer: Peer, browser: Browser, code: str, words: str) -> None:
    publish(browser, "text", "k", "v")
    id_ = peer.expect("publish")["id"]
    peer.send("error", id=id_, command="publish", code=code, message="the reason")
    browser.until(lambda: words in browser.text("#published"), "it is told")
    assert "the reason" in browser.text("#published")
    assert browser.element("#publish-value").get_attribute("value") == "v"


def test_a_publish_whose_connection_ends_may_have_happened(peer: Peer, browser: Browser) -> None:
    publish(browser, "text", "", "v")
    peer.expect("publish")
    leave(peer, 4000, "shutdown", retry_after_ms=3_600_000)
    browser.until(lambda: "may have been published, or not" in browser.text("#published"), "it is told")
    browser.press("#publish button")
    browser.until(lambda: "there is no connection" in browser.text("#published"), "and that now nothing is sent")


def test_publishing_is_offered_where_it_may_be_allowed(browser: Browser, gateway: ScriptedGateway) -> None:
    for topic, offered in (("orders", True), ("prices", False), ("other", False)):
        fragment(browser, gateway, f"topic={topic}")
        assert browser.element("#publish").is_displayed() == offered


def test_a_token_is_asked_for_and_brought(browser: Browser, gateway: ScriptedGateway) -> None:
    """A gateway that wants one: the page says so, takes it, and connects anew with it as its first command."""
    browser.open(gateway.url)
    first = gateway.accept()
    first.welcome()
    first.send(
        "error", id=first.expect("subscribe")["id"], command="subscribe", code="unauthenticated", message="first"
    )
    browser.until(lambda: "wants credentials" in browser.text("#fault"), "it says what is wanted")
    browser.element("#token").send_keys("a.b.c")
    browser.press("#start")
    second = gateway.accept()
    second.welcome()
    auth = second.expect("auth")
    assert auth["token"] == "a.b.c"
    second.send("authenticated", id=auth["id"], subject="me", expires_at=None)
    id_ = second.expect("subscribe")["id"]
    second.subscribed(id_, {"0": 5})
    second.record(id_, 0, 5)
    browser.until(lambda: browser.number("#total-records") == 1, "a record")
    assert "a.b.c" not in browser.driver.page_source
