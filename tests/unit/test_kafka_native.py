"""The bell on a consumer without brokers, and what happens when the binding's layout is another one."""

import threading
import time

import pytest
from confluent_kafka import Consumer

from tailrace.kafka.native import Doorbell, create_mock_topic, handle


def error_callback(_: object) -> None: ...


def consumer() -> Consumer:
    return Consumer({"group.id": "x"}, error_cb=error_callback)


def test_a_ring_ends_the_wait_of_another_thread() -> None:
    waiting = consumer()
    bell = Doorbell(waiting, error_callback)
    assert bell.works
    ended = threading.Event()

    def wait() -> None:
        waiting.consume(1, 20)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        while not ended.wait(0.05):
            bell.ring()
    finally:
        thread.join()
    bell.close()
    waiting.close()


def test_a_ring_before_the_wait_is_not_lost() -> None:
    waiting = consumer()
    bell = Doorbell(waiting, error_callback)
    bell.ring()
    begun = time.monotonic()
    waiting.consume(1, 20)
    assert time.monotonic() - begun < 10
    bell.close()
    waiting.close()


def test_after_close_a_ring_does_nothing() -> None:
    waiting = consumer()
    bell = Doorbell(waiting, error_callback)
    bell.close()
    waiting.close()
    bell.ring()
    assert not bell.works


@pytest.mark.parametrize("client", [object(), "text", [1, 2], 5])
def test_another_layout_is_not_believed(client: object) -> None:
    assert handle(client, error_callback) is None
    assert not Doorbell(client, error_callback).works
    assert not create_mock_topic(client, error_callback, "t", 1)
    Doorbell(client, error_callback).ring()


def test_another_callback_is_not_believed() -> None:
    other = consumer()
    assert handle(other, print) is None
    other.close()
