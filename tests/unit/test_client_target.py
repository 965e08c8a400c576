"""client.target: what a URL and options ask for, and how it is asked again later."""

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.client.target import read_target, write_from
from tailrace.core.protocol import (
    JSON,
    LATEST,
    Earliest,
    From,
    Last,
    Offsets,
    Slow,
    Snapshot,
    Subscribe,
    Timestamp,
    parse_stream_target,
)

HERE = Offsets({0: 124, 1: 88}, "id")


def asked(url: str) -> Subscribe:
    """What the gateway reads out of a stream's URL."""
    parts = urlsplit(url)
    return parse_stream_target(f"{parts.path}?{parts.query}").subscribe()


STARTS = st.one_of(
    st.sampled_from([LATEST, Earliest(), Snapshot()]),
    st.dictionaries(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), min_size=1).map(Offsets),
    st.integers(0, 2**63 - 1).map(Timestamp),
    st.integers(0, 2**63 - 1).map(Last),
)


@given(STARTS, st.none() | st.lists(st.text(), min_size=1), st.sampled_from(Slow))
def test_the_gateway_reads_what_was_asked_on_either_endpoint(start: From, keys: list[str] | None, slow: Slow) -> None:
    stream = read_target("ws://here/topics/orders", None, keys, write_from(start), slow)
    command = read_target("ws://here/ws", "orders", keys, write_from(start), slow).command(start)
    assert command is not None
    for subscribe in (asked(stream.url(stream.request.from_)), JSON.decode(command)):
        assert isinstance(subscribe, Subscribe)
        assert (subscribe.topic, subscribe.from_, subscribe.slow) == ("orders", start, slow)
        assert subscribe.keys == (None if keys is None else {key.encode() for key in keys})


@pytest.mark.parametrize("written", ["é", "%C3%A9", "%c3%a9"])
def test_a_url_as_a_person_writes_it(written: str) -> None:
    """Only ASCII is sent (RFC 9112, 3.2)."""
    target = read_target(f"ws://here/topics/orders?key={written}&key=a b&key=\udcff")
    assert target.request.keys == {"é".encode(), b"a b", b"\xff"}
    url = target.url(target.request.from_)
    assert url.isascii()
    assert " " not in url
    assert asked(url).keys == target.request.keys


def test_a_stream_is_resumed_by_its_address_and_the_rest_stays_as_written() -> None:
    target = read_target("wss://here:1/base/topics/orders?access_token=a%2Bb&from=last:5&key=A%20B")
    assert (
        target.url(target.request.from_) == "wss://here:1/base/topics/orders?access_token=a%2Bb&key=A%20B&from=last:5"
    )
    assert target.url(HERE).endswith("?access_token=a%2Bb&key=A%20B&from=offsets:0=124,1=88")
    assert target.command(HERE) is None


def test_a_subscription_is_resumed_by_its_command() -> None:
    target = read_target("ws://here/ws?access_token=x", "orders")
    assert target.url(HERE) == "ws://here/ws?access_token=x"
    command = target.command(HERE)
    assert command is not None
    assert json.loads(command) == {
        "type": "subscribe",
        "id": 1,
        "topic": "orders",
        "from": {"offsets": {"0": 124, "1": 88}, "topic_id": "id"},
    }


def test_options_join_what_the_url_asks() -> None:
    target = read_target("ws://here/topics/orders?key=A", keys=["B +&"], from_="earliest", slow="skip")
    subscribe = asked(target.url(target.request.from_))
    assert subscribe == Subscribe(0, "orders", Earliest(), frozenset({b"A", b"B +&"}), Slow.SKIP)


def test_keys_that_are_no_text_stay_in_the_url() -> None:
    target = read_target("ws://here/topics/orders?key=%FF&key=A")
    assert asked(target.url(LATEST)).keys == {b"\xff", b"A"}


def test_keys_of_a_command_line_that_are_no_text_become_base64() -> None:
    """What argv holds of other bytes are lone surrogates (PEP 383)."""
    command = read_target("ws://here/ws", "orders", ["\udcff", "A"]).command(LATEST)
    assert command is not None
    subscribe = JSON.decode(command)
    assert isinstance(subscribe, Subscribe)
    assert subscribe.keys == {b"\xff", b"A"}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://here:8080/ws", "ws://here:8080/ws"),
        ("https://here/ws", "wss://here/ws"),
        ("ws://here:8080", "ws://here:8080/ws"),
        ("ws://[::1]:8080/", "ws://[::1]:8080/ws"),
        ("ws://here/base/ws", "ws://here/base/ws"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert read_target(url, "orders").url(LATEST) == address


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("localhost:8080/topics/a",), "is not a gateway's URL"),
        (("ftp://here/topics/a",), "is not a gateway's URL"),
        (("ws://here:0/topics/a",), "is not a gateway's URL"),
        (("ws://here:99999/topics/a",), "Port out of range"),
        (("ws:///topics/a",), "is not a gateway's URL"),
        (("ws://me:secret@here/topics/a",), "is not a gateway's URL"),
        (("ws://here/",), "leads neither to /ws nor to /topics/TOPIC"),
        (("ws://here/other", "orders"), "leads neither to /ws nor to /topics/TOPIC"),
        (("ws://here/ws",), "--topic says which topic"),
        (("ws://here/topics/a", "orders"), "--topic goes only with a /ws URL"),
        (("ws://here/topics/a?format=value",), "format=value carries no offsets"),
        (("ws://here/topics/a?from=latest", None, None, "earliest"), "`from` stands more than once"),
        (("ws://here/ws", "a b"), "no topic can have this name"),
        (("ws://here/ws", "orders", None, "yesterday"), "`from` is one of"),
        (("ws://here/ws", "orders", None, None, "fast"), "`slow` is one of"),
    ],
)
def test_what_cannot_be_followed_is_told(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_target(*arguments)  # type: ignore[arg-type]
    assert says in str(raised.value)
