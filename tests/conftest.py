"""Fixtures for every test: the real Kafka.

`kafka` is one broker for the whole run (a topic per test keeps them apart); `own_kafka` is a broker that a test may
stop, kill and restart, `own_pair` two that are one cluster. Without Java and Maven these tests are skipped, and the end
of the run says so; with CI=true they fail instead.
"""

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from tests.kafka_broker import Broker, Unavailable
from tests.kafka_pair import Pair

K = TypeVar("K", Broker, Pair)

_missing: list[str] = []
# Nobody restarts the shared one: with the 2 s of the others a machine that stood still for so long was taken for a
# broker that is gone, and every partition was without a leader.
_STEADY = {"broker.session.timeout.ms": "600000"}


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The shared broker: `bootstrap`, `topic()`, `produce()`, `transaction()`, ... Not to be stopped."""
    yield from _running(partial(Broker, tmp_path_factory.mktemp("kafka"), _STEADY))


@pytest.fixture(scope="module", autouse=True)
def no_leftovers() -> Iterator[None]:
    """Free the Kafka clients of a module's gateways, five descriptors each: they end with their objects, which hang in
    cycles, and the next gateway's `gc.freeze()` would keep those for ever."""
    yield
    gc.unfreeze()
    gc.collect()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, for `kill()`, `stop()`, `start()`, `frozen()`."""
    yield from _running(partial(Broker, tmp_path))


@pytest.fixture
def own_pair(tmp_path: Path) -> Iterator[Pair]:
    """Two brokers of the test's own, of which it may stop the second."""
    yield from _running(partial(Pair, tmp_path))


def _running(start: Callable[[], K]) -> Iterator[K]:
    try:
        broker = start()
    except Unavailable as reason:
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"the real Kafka is required when CI=true: {reason}", pytrace=False)
        _missing.append(str(reason))
        pytest.skip("no real Kafka (see the end of the output)")
    try:
        yield broker
    finally:
        broker.kill()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _missing:
        return
    terminalreporter.section("THE TESTS ON A REAL KAFKA WERE SKIPPED", sep="!", red=True, bold=True)
    terminalreporter.write_line(_missing[0])
    terminalreporter.write_line(
        "They need a Java 17 runtime and Maven (Debian: apt install default-jre-headless maven)."
    )
