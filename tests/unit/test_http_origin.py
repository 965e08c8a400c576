"""Which pages may connect: same origin, a list, any; and everything that only looks like one of them."""

import pytest

from tailrace.http.origin import origin_allowed


@pytest.mark.parametrize("allowed", [(), ("*",), ("https://app.example",)])
def test_a_request_without_origin_passes(allowed: tuple[str, ...]) -> None:
    assert origin_allowed((), "here:8080", allowed)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://here:8080", "here:8080"),
        ("http://HERE:8080", "here:8080"),
        ("http://here", "here"),
        ("http://here", "here:80"),
        ("https://here", "here"),  # TLS ends at a proxy before us
        ("https://here:443", "here"),
        ("https://here", "here:443"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://127.0.0.1:80", "127.0.0.1"),
    ],
)
def test_the_same_origin_passes(origin: str, host: str) -> None:
    assert origin_allowed((origin,), host, ())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "here:8080"),
        ("http://here", "here:8080"),
        ("http://here:443", "here"),  # 443 is not http's port
        ("https://here:80", "here"),
        ("http://here.evil.example", "here"),
        ("http://evil.example/here", "here"),
        ("http://evil@here", "here"),
        ("http://here/path", "here"),
        ("null", "null"),
        ("here", "here"),
        ("", "here"),
        ("http://", "here"),
        ("http://here", None),
    ],
)
def test_another_origin_does_not(origin: str, host: str | None) -> None:
    assert not origin_allowed((origin,), host, ())


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://app.example", True),
        ("https://APP.example:443", True),
        ("http://app.example", False),
        ("https://app.example:8443", False),
        ("https://sub.app.example", False),
        ("http://here", False),  # a list replaces the rule of the same origin
        ("null", False),
    ],
)
def test_a_list_is_exact(origin: str, passes: bool) -> None:
    assert origin_allowed((origin,), "here", ("https://app.example",)) is passes


def test_null_can_be_listed() -> None:
    assert origin_allowed(("null",), "here", ("null",))


def test_a_star_lets_any_pass() -> None:
    assert origin_allowed(("http://evil.example",), "here", ("*",))


def test_two_origins_do_not_pass() -> None:
    assert not origin_allowed(("http://here", "http://evil.example"), "here", ())
