"""disconnect.py: the table of docs/protocol.md, section 6, and that ranges tell a client what to do."""

import pytest

from tailrace import disconnect
from tailrace.disconnect import Disconnect

NAMED = {name: value for name, value in vars(disconnect).items() if isinstance(value, Disconnect)}
OWN = {
    4000: "shutdown",
    4001: "slow",
    4002: "no_pong",
    4003: "token_expired",
    4004: "rate_limited",
    4005: "write_timeout",
    4006: "internal",
    4007: "gap",
    4500: "unauthenticated",
    4501: "forbidden",
    4502: "bad_token",
    4503: "topic_deleted",
    4504: "too_many_errors",
}


def test_own_codes_are_the_protocols() -> None:
    assert {value.code: value.reason for value in NAMED.values() if value.code >= 4000} == OWN


def test_no_code_has_two_names() -> None:
    assert len({value.code for value in NAMED.values()}) == len(NAMED)


@pytest.mark.parametrize("value", NAMED.values(), ids=NAMED.keys())
def test_a_reason_fits_a_close_frame(value: Disconnect) -> None:
    assert len(value.reason.encode()) <= 123


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 4000, 4499])
def test_reconnect(code: int) -> None:
    assert Disconnect(code, "").reconnect


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1009, 3999, 4500, 4999])
def test_do_not_reconnect(code: int) -> None:
    assert not Disconnect(code, "").reconnect
