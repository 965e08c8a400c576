"""Which requests are WebSocket handshakes, what the others get, and which subprotocol is chosen."""

import base64
from typing import Any

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

from tailrace.http import refusal
from tailrace.http.head import Head
from tailrace.http.refusal import Refusal, Refused
from tailrace.http.upgrade import Upgrade, choose_subprotocol, upgrade

KEY = base64.b64encode(bytes(range(16))).decode()
HANDSHAKE = {
    "host": "here",
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}
KNOWN = ("tailrace.v1.json", "tailrace.v1.msgpack")


def head_of(*lines: tuple[str, str], method: str = "GET", version: str = "1.1") -> Head:
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in lines)
    return Head(method, "/ws", "/ws", version, headers, b"")


def handshake(*, method: str = "GET", version: str = "1.1", **changes: str | None) -> Head:
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    lines = {**HANDSHAKE, **named}
    return head_of(
        *((name, value) for name, value in lines.items() if value is not None), method=method, version=version
    )


def refused(head: Head) -> Refusal:
    with pytest.raises(Refused) as raised:
        upgrade(head)
    return raised.value.refusal


def test_a_handshake_is_recognised() -> None:
    offered = handshake(sec_websocket_protocol="tailrace.v1.msgpack, tailrace.v1.json")
    assert upgrade(offered) == Upgrade(KEY, ("tailrace.v1.msgpack", "tailrace.v1.json"))


@pytest.mark.parametrize(
    "changes", [{"connection": "keep-alive, uPgRaDe"}, {"upgrade": "WebSocket"}, {"upgrade": "h2c, websocket"}]
)
def test_tokens_are_found_in_lists_in_any_case(changes: dict[str, str]) -> None:
    assert upgrade(handshake(**changes)).key == KEY


def test_list_headers_may_be_spread_over_lines() -> None:
    head = head_of(
        *HANDSHAKE.items(),
        ("connection", "keep-alive"),
        ("sec-websocket-protocol", "a"),
        ("sec-websocket-protocol", "b,c"),
    )
    assert upgrade(head).offers == ("a", "b", "c")


@pytest.mark.parametrize("changes", [{"upgrade": None}, {"upgrade": None, "connection": None}, {"upgrade": "h2c"}])
def test_a_plain_request_is_told_to_upgrade(changes: dict[str, Any]) -> None:
    answer = refused(handshake(**changes))
    assert answer == refusal.UPGRADE_REQUIRED
    assert ("Upgrade", "websocket") in answer.headers


@pytest.mark.parametrize("version", [None, "8", "13, 8"])
def test_another_version_is_told_ours(version: str | None) -> None:
    answer = refused(handshake(sec_websocket_version=version))
    assert answer == refusal.WRONG_VERSION
    assert ("Sec-WebSocket-Version", "13") in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"connection": None},
        {"connection": "keep-alive"},
        {"sec_websocket_key": None},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": base64.b64encode(bytes(15)).decode()},
        {"sec_websocket_key": base64.b64encode(bytes(17)).decode()},
        {"sec_websocket_key": "!" + KEY},
        {"sec_websocket_key": "é" * 24},
        {"content_length": "5"},
        {"transfer_encoding": "chunked"},
        {"version": "1.0"},
        {"method": "HEAD"},
    ],
)
def test_a_wrong_handshake_is_a_bad_request(changes: dict[str, str]) -> None:
    answer = refused(handshake(**changes))
    assert (answer.status, answer.code) == (400, "bad_request")


def test_two_keys_are_a_bad_request() -> None:
    assert refused(head_of(*HANDSHAKE.items(), ("sec-websocket-key", KEY))).status == 400


@pytest.mark.parametrize(
    ("offers", "choice"),
    [
        ((), None),
        (("tailrace.v1.json",), "tailrace.v1.json"),
        (("tailrace.v1.msgpack", "tailrace.v1.json"), "tailrace.v1.msgpack"),
        (("graphql-ws", "tailrace.v1.json"), "tailrace.v1.json"),
        (("tailrace.token.ey.J.x", "tailrace.v1.json"), "tailrace.v1.json"),
    ],
)
def test_the_first_known_offer_is_chosen(offers: tuple[str, ...], choice: str | None) -> None:
    assert choose_subprotocol(offers, KNOWN) == choice


@pytest.mark.parametrize("offers", [("graphql-ws",), ("tailrace.token.ey.J.x",), ("TAILRACE.V1.JSON",)])
def test_only_unknown_offers_are_refused(offers: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as raised:
        choose_subprotocol(offers, KNOWN)
    assert raised.value.refusal == refusal.NO_KNOWN_SUBPROTOCOL


@pytest.mark.parametrize("subprotocol", [None, "tailrace.v1.json"])
def test_the_answer_is_one_that_wsproto_accepts(subprotocol: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsproto.handshake.generate_nonce", KEY.encode)
    client = WSConnection(ConnectionType.CLIENT)
    client.send(Request(host="h", target="/", subprotocols=[] if subprotocol is None else [subprotocol]))
    answer = Upgrade(KEY, ("anything",)).answer(subprotocol)
    client.receive_data(answer)
    (event,) = client.events()
    assert isinstance(event, AcceptConnection)
    assert event.subprotocol == subprotocol
    # The accept token of this key, from `openssl sha1` over key + GUID (RFC 6455 4.2.2).
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=\r\n" in answer
