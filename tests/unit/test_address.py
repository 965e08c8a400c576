"""address.py: how listening addresses are written, and which of them only this machine reaches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.address import is_loopback, split_address


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("[::]:65535", ("::", 65535)),
        ("localhost:1", ("localhost", 1)),
        (":8080", ("", 8080)),
        ("gateway.example:443", ("gateway.example", 443)),
    ],
)
def test_split(written: str, parts: tuple[str, int]) -> None:
    assert split_address(written) == parts


@pytest.mark.parametrize(
    "written",
    ["", "8080", "localhost", "localhost:", "::1:80", "[::1]", "[zz]:1", "h:65536", "h:-1", "a b:1", "http://h:1"],
)
def test_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|permitted|IPv6|At least|exactly|Expected"):
        split_address(written)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert 0 <= port <= 65535
    assert host.isprintable()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "gateway.example", "localhost.example"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
