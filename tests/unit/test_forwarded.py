"""Whose X-Forwarded-For and X-Forwarded-Host are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.configuration import load
from tailrace.errors import ConfigError
from tailrace.http.forwarded import Proxies, subscriber

PROXIES = Proxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
        ("198.51.100.9", ["198.51.100.7"], "198.51.100.9"),  # it is not trusted: it may say what it likes
        ("10.1.2.3", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),  # what the client wrote itself
        ("10.1.2.3", ["198.51.100.7", "192.0.2.1"], "198.51.100.7"),  # two proxies
        ("10.1.2.3", ["10.9.9.9", "192.0.2.1"], "10.9.9.9"),  # none but proxies: the first
        ("10.1.2.3", ["198.51.100.7", "unknown"], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.1.2.3", ["[2001:db9::1]:443"], "2001:db9::1"),
        ("::ffff:10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8::5", ["2001:DB9:0::1"], "2001:db9::1"),
        ("gone", ["198.51.100.7"], "gone"),
    ],
)
def test_the_client(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


@given(st.lists(st.one_of(st.text(), st.ip_addresses().map(str))), st.ip_addresses().map(str))
def test_nothing_is_believed_of_anybody_by_default(forwarded: list[str], peer: str) -> None:
    assert Proxies([]).client(peer, forwarded) == peer


@given(st.lists(st.text(), max_size=5))
def test_what_a_client_writes_never_moves_it(written: list[str]) -> None:
    """Whatever stands left of what the proxy added."""
    assert PROXIES.client("10.1.2.3", [*written, "198.51.100.7"]) == "198.51.100.7"


def test_the_host() -> None:
    assert PROXIES.host("10.1.2.3", ["chat.example"], "inner:8080") == "chat.example"
    assert PROXIES.host("10.1.2.3", ["evil.example", "chat.example"], "inner:8080") == "chat.example"
    assert PROXIES.host("10.1.2.3", [], "inner:8080") == "inner:8080"
    assert PROXIES.host("198.51.100.9", ["chat.example"], "inner:8080") == "inner:8080"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("gone", "gone"),
    ],
)
def test_what_is_counted_as_one(address: str, counted: str) -> None:
    assert subscriber(address) == counted


def test_a_proxy_that_is_no_address_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r'listen\.trusted_proxies .*"proxy\.example" is neither'):
        load(assignments=['listen.trusted_proxies=["10.0.0.1", "proxy.example"]'])
