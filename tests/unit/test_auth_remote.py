"""The keys of a URL: cached, fetched again for a key that is not known, at a bounded rate, and kept in an outage."""

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from tests.gateway import until
from tests.tokens import OTHER_RSA, PRIVATE, Issuer, issuer, jwk, token

from tailrace.auth import authenticator, remote
from tailrace.auth.authenticator import Authenticator, KeysUnavailable
from tailrace.auth.fetch import FetchFailed, fetch
from tailrace.auth.verify import BadToken, Fault
from tailrace.config import Auth

FIRST, SECOND = jwk(PRIVATE["RS256"], kid="first"), jwk(OTHER_RSA, kid="second")


def first(**claims: Any) -> str:
    return token(PRIVATE["RS256"], "RS256", headers={"kid": "first"}, **claims)


def second(**claims: Any) -> str:
    return token(OTHER_RSA, "RS256", headers={"kid": "second"}, **claims)


@contextlib.asynccontextmanager
async def judging(url: str) -> AsyncIterator[Authenticator]:
    async with trio.open_nursery() as nursery:
        found = Authenticator(Auth(mode="jwt", algorithms=("RS256",), jwks_url=url))
        nursery.start_soon(found.run)
        yield found
        nursery.cancel_scope.cancel()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches may follow one another at once."""
    monkeypatch.setattr(remote, "MIN_SECONDS", 0.0)


async def fault(judge: Authenticator, text: str) -> Fault:
    with pytest.raises(BadToken) as raised:
        await judge.judge(text)
    return raised.value.fault


async def test_one_fetch_serves_all() -> None:
    with issuer(FIRST) as source:
        async with judging(source.url) as judge:
            for _ in range(20):
                assert (await judge.judge(first())).subject == "me"
            assert await fault(judge, first(exp=1)) is Fault.EXPIRED
        assert source.asked == 1
        assert judge.statistics() == authenticator.Statistics(20, {"expired": 1}, 0, 1, 0)


async def test_rotation(quick: None) -> None:
    """A key published after the last fetch is found when a token names it; the old one is bad once it is gone."""
    with issuer(FIRST) as source:
        async with judging(source.url) as judge:
            await judge.judge(first())
            source.keys = [FIRST, SECOND]
            await judge.judge(second())
            source.keys = [SECOND]
            assert await fault(judge, token(OTHER_RSA, "RS256", headers={"kid": "third"})) is Fault.UNKNOWN_KEY
            assert await fault(judge, first()) is Fault.UNKNOWN_KEY
            await judge.judge(second())


async def test_names_made_up_cause_no_more_than_one_fetch_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand strangers wait for the same fetch; the next is not due before the end of the test."""
    monkeypatch.setattr(authenticator, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(remote, "MIN_SECONDS", 3600.0)
    with issuer(FIRST) as source:
        async with judging(source.url) as judge, trio.open_nursery() as nursery:
            await until(lambda: judge.statistics().key_fetches == 1)
            for number in range(1000):
                made_up = token(OTHER_RSA, "RS256", headers={"kid": f"made up {number}"})
                nursery.start_soon(fault, judge, made_up)
            await judge.judge(first())  # those with a known key do not wait
        assert judge.statistics().refused == {"unknown_key": 1000}
        assert source.asked == 1


async def test_who_waits_gets_what_was_published_before_he_asked(quick: None) -> None:
    """A fetch that is under way may have begun too early."""
    with issuer(FIRST) as source:
        async with judging(source.url) as judge, trio.open_nursery() as nursery:
            await judge.judge(first())
            source.hold = True
            nursery.start_soon(fault, judge, token(OTHER_RSA, "RS256", headers={"kid": "third"}))
            await until(lambda: source.asked == 2)
            found: list[str | None] = []

            async def ask() -> None:
                found.append((await judge.judge(second())).subject)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.01)
            source.keys = [FIRST, SECOND]
            source.hold = False
            source.go.set()
            await until(lambda: found)


async def test_an_outage_logs_nobody_out(quick: None) -> None:
    with issuer(FIRST) as source, capture_logs() as log:
        async with judging(source.url) as judge:
            await judge.judge(first())
            source.status = 500
            with pytest.raises(KeysUnavailable):
                await judge.judge(second())
            await judge.judge(first())
            with pytest.raises(KeysUnavailable):
                await judge.judge(second())
            source.status, source.keys = 200, [FIRST, SECOND]
            await judge.judge(second())
        assert [entry["event"] for entry in log] == [
            "cannot fetch the keys for tokens",
            "fetching the keys for tokens again",
        ]
        assert judge.statistics().unjudged == 2


async def test_no_keys_at_the_start() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        async with judging(url) as judge:
            with pytest.raises(KeysUnavailable):
                await judge.judge(first())


async def test_a_slow_issuer_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on, and known keys serve, while a fetch hangs in its thread."""
    monkeypatch.setattr(remote, "MIN_SECONDS", 0.0)
    with issuer(FIRST) as source:
        async with judging(source.url) as judge, trio.open_nursery() as nursery:
            await judge.judge(first())
            source.hold = True
            nursery.start_soon(judge.judge, second())
            await until(lambda: source.asked == 2)
            for _ in range(10):
                await judge.judge(first())
            nursery.cancel_scope.cancel()


async def test_renewed_by_itself(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """What was withdrawn does not stay good for ever."""
    monkeypatch.setattr(remote, "RENEW_SECONDS", 0.01)
    with issuer(FIRST) as source:
        async with judging(source.url) as judge:
            await judge.judge(first())
            source.keys = []
            seen = source.asked
            await until(lambda: source.asked > seen + 1)
            assert await fault(judge, first()) is Fault.UNKNOWN_KEY


# One fetch


def broken(source: Issuer, **changes: Any) -> str:
    for name, value in changes.items():
        setattr(source, name, value)
    with pytest.raises(FetchFailed) as raised:
        fetch(source.url, timeout_seconds=5)
    return str(raised.value)


def test_what_is_no_answer() -> None:
    with issuer(FIRST) as source:
        assert b'"kid": "first"' in fetch(source.url)
        assert "larger than" in broken(source, body=b"x" * 300_000)
        for status in (204, 404, 500):
            assert str(status) in broken(source, status=status, body=b"")


def test_redirects_are_not_followed() -> None:
    with issuer(FIRST) as elsewhere, issuer() as source:
        assert "302" in broken(source, status=302, location=elsewhere.url)
        assert elsewhere.asked == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1", "http://", "file:///etc/passwd", "nonsense"])
def test_what_cannot_be_asked(url: str) -> None:
    with pytest.raises(FetchFailed):
        fetch(url, timeout_seconds=2)


def dripping(give: Callable[[socket.socket], None]) -> Any:
    """A server of one connection."""

    @contextlib.contextmanager
    def serve() -> Any:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def run() -> None:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(OSError):
                    sock.recv(65536)
                    give(sock)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
            thread.join(30)

    return serve()


def test_a_server_that_gives_a_byte_at_a_time() -> None:
    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(600):
            sock.sendall(b" ")
            time.sleep(0.05)

    with dripping(drip) as url, pytest.raises(FetchFailed, match="too long"):
        fetch(url, timeout_seconds=1.0)


def test_a_server_that_says_nonsense() -> None:
    with dripping(lambda sock: sock.sendall(b"\0" * 1000)) as url, pytest.raises(FetchFailed):
        fetch(url, timeout_seconds=2)
