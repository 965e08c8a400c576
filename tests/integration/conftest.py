"""Fixtures for tests of the whole gateway; see tests/gateway.py."""

from collections.abc import AsyncIterator

import pytest
from tests.gateway import Gateway, running
from tests.kafka_broker import Broker


@pytest.fixture
async def gateway(kafka: Broker) -> AsyncIterator[Gateway]:
    """A gateway with the default limits on the shared broker. A log with a fault in it fails the test."""
    async with running(kafka) as gateway:
        yield gateway
