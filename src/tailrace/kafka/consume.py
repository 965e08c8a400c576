"""Taking what a consumer has, without waiting for more: consume(N, t) would wait for N records all of t."""

from confluent_kafka import Consumer, Message


def consume(consumer: Consumer, most: int, wait_seconds: float) -> list[Message]:
    """What is there, or else the first to come within the time. The GIL is held for 8 us a record: hence `most`."""
    first = consumer.consume(1, wait_seconds)
    return first + consumer.consume(most - 1, 0) if first else first
