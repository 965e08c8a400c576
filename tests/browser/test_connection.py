"""The page's connection against a gateway that does what the protocol allows: closes, gaps, refusals, strangeness."""

import re

import pytest
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
    browser.until(lambda: browser.texts("#positions tbody td")[1] == "10010", "the place is told")
    assert browser.driver.execute_script("return Number(document.querySelector('#records').ariaRowCount)") == 5_001


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
