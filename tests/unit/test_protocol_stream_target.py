"""protocol: the URL of a `/topics` stream."""

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.protocol import (
    LATEST,
    Earliest,
    Format,
    From,
    Last,
    Offsets,
    Slow,
    Snapshot,
    StreamRequest,
    Subscribe,
    Timestamp,
    parse_stream_target,
)
from tailrace.errors import CommandError, ErrorCode


def refused(target: str, ignored: frozenset[str] = frozenset()) -> CommandError:
    with pytest.raises(CommandError) as caught:
        parse_stream_target(target, ignored)
    return caught.value


def test_defaults() -> None:
    assert parse_stream_target("/topics/orders") == StreamRequest("orders", LATEST, None, Slow.WAIT, Format.RECORD)
    assert parse_stream_target("/topics/orders?") == StreamRequest("orders")


def test_everything_at_once_and_as_a_command() -> None:
    request = parse_stream_target("/topics/orders?from=last:5&key=A&key=B&slow=skip&format=value")
    assert request == StreamRequest("orders", Last(5), frozenset({b"A", b"B"}), Slow.SKIP, Format.VALUE)
    assert request.subscribe() == Subscribe(0, "orders", Last(5), frozenset({b"A", b"B"}), Slow.SKIP)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest", LATEST),
        ("earliest", Earliest()),
        ("snapshot", Snapshot()),
        ("last:0", Last(0)),
        ("last:100", Last(100)),
        ("timestamp:1763862162044", Timestamp(1763862162044)),
        ("timestamp:2026-11-23T10:00:00Z", Timestamp(1795428000000)),
        ("timestamp:2026-11-23T10:00:00.5+01:00", Timestamp(1795424400500)),
        ("timestamp%3A2026-11-23T10%3A00%3A00%2B01%3A00", Timestamp(1795424400000)),
        ("offsets:0=124,1=88", Offsets({0: 124, 1: 88})),
        ("offsets:0=9223372036854775807", Offsets({0: 2**63 - 1})),
        ("offsets:", Offsets({})),
    ],
)
def test_from(text: str, expected: From) -> None:
    assert parse_stream_target(f"/topics/orders?from={text}").from_ == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "Latest", "latest:", "latest:1", "last", "last:", "last:-1", "last:1.0", "last:9223372036854775808",
        "last:٣", "last:" + "9" * 5000, "timestamp:", "timestamp:yesterday", "timestamp:-1",
        "timestamp:2026-11-23T10:00:00", "timestamp:1969-12-31T23:59:59Z", "offsets:0", "offsets:0=", "offsets:=1",
        "offsets:a=1", "offsets:0=1,0=2", "offsets:0=1,00=2", "offsets:2147483648=1", "offsets", "earliest%00",
    ],
)  # fmt: skip
def test_bad_from_is_named(text: str) -> None:
    error = refused(f"/topics/orders?from={text}")
    assert error.code is ErrorCode.BAD_REQUEST
    assert "from" in error.message or "timestamp" in error.message
    assert len(error.message) <= 200


@given(st.frozensets(st.binary(max_size=20), min_size=1, max_size=5))
def test_keys_are_any_bytes(keys: frozenset[bytes]) -> None:
    query = "&".join(f"key={quote(key, safe='')}" for key in keys)
    assert parse_stream_target(f"/topics/orders?{query}").keys == keys


def test_keys_are_read_as_forms_write_them() -> None:
    assert parse_stream_target("/topics/orders?key=a+b&key=a%2Bb&key=").keys == frozenset({b"a b", b"a+b", b""})


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("form=value", "form"),
        ("=1", "``"),
        ("interval_ms=5", "interval_ms"),
        ("from=latest&from=latest", "from"),
        ("format=value&format=value", "format"),
        ("format=xml", "format"),
        ("slow=", "slow"),
        ("slow=never", "slow"),
        ("key=%f", "key"),
        ("key=%zz", "key"),
        ("%ff=1", "the query is not UTF-8"),
        ("from=%ff", "from is not UTF-8"),
        ("token=x", "token"),
    ],
)
def test_bad_parameters_are_named(query: str, named: str) -> None:
    error = refused(f"/topics/orders?{query}")
    assert error.code is ErrorCode.BAD_REQUEST
    assert named in error.message


def test_a_parameter_of_the_handshake_is_left_alone() -> None:
    request = parse_stream_target("/topics/orders?token=%ff&token=2&key=A", frozenset({"token"}))
    assert request == StreamRequest("orders", keys=frozenset({b"A"}))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a%2Fb", "a b", "a%20b", "orders%0A", "%C3%B6", "x" * 250, "orders/"]
)
def test_names_no_topic_can_have(name: str) -> None:
    assert refused(f"/topics/{name}").code is ErrorCode.UNKNOWN_TOPIC


@pytest.mark.parametrize("name", ["a", "...", "A.b_c-1", "x" * 249, "%61"])
def test_names_a_topic_can_have(name: str) -> None:
    assert parse_stream_target(f"/topics/{name}").topic == name.replace("%61", "a")


@pytest.mark.parametrize("name", ["%ff", "%", "%4"])
def test_names_that_cannot_be_read(name: str) -> None:
    error = refused(f"/topics/{name}")
    assert error.code is ErrorCode.BAD_REQUEST
    assert error.message.startswith("the path ")


@given(st.text(max_size=60))
def test_any_target_is_read_or_refused(rest: str) -> None:
    for target in (rest, f"/topics/{rest}", f"/topics/orders?{rest}", f"/topics/orders?from=offsets:{rest}"):
        with suppress(CommandError):
            assert isinstance(parse_stream_target(target), StreamRequest)
