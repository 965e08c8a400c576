"""Taking what a consumer has, without waiting for more: consume(N, t) would wait for N records all of t."""

from collections.abc import Callable

from confluent_kafka import Consumer, Message


def consume(
    consumer: Consumer, most: int, wait_seconds: float, more: Callable[[], bool] = lambda: True
) -> list[Message]:
    """What is there, or else the first to come within the time. The GIL is held for 8 us a record: hence `most`.

    more: whether anything is left behind the first. Each call gives up the GIL and has to get it back, for which a busy
    loop makes it wait half a millisecond and more.
    """
    messages = consumer.consume(1, wait_seconds)
    if messages and more():
        messages += consumer.consume(most - 1, 0)
    return messages
