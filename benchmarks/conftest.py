"""Options and fixtures of `make bench`."""

import contextlib
from collections.abc import Iterator

import pytest
from tests.kafka_broker import Unavailable

from benchmarks.harness.broker import broker
from benchmarks.harness.measuring import Bench
from benchmarks.harness.programs import CannotCompile, program


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rounds` and `--scale` mean what they mean to ratios.py."""
    group = parser.getgroup("tailrace")
    group.addoption("--rounds", type=int, default=3, help="interleaved rounds of every ratio")
    group.addoption("--scale", type=float, default=0.5, help="shortens or lengthens the traffic end to end")


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How many rounds a ratio is the median of."""
    return int(pytestconfig.getoption("rounds"))


@pytest.fixture(scope="session")
def compiled() -> None:
    """Skips what needs the C programs where they cannot be compiled."""
    try:
        program("sendloop")
    except CannotCompile as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config, compiled: None) -> Iterator[Bench]:
    """The real broker that gateways are measured on."""
    with contextlib.ExitStack() as stack:
        try:
            kafka = stack.enter_context(broker())
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield Bench(kafka, pytestconfig.getoption("scale"))
