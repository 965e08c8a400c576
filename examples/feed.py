"""Writes to the examples' topics: orders and prices as in `tailrace demo`, and notifications for three users.

    python examples/feed.py --kafka localhost:9092 [--topic orders ...] [--count N]

Creates topics that are missing. Runs until Ctrl-C, or until N records of each topic are written.
"""

import argparse
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tailrace.demo import FEEDS

USERS = ("alice", "bob", "carol")
NEWS = (
    "Your parcel is out for delivery",
    "Jonas replied to you",
    "Your invoice is ready",
    "Two items are back in stock",
)
SECONDS_BETWEEN_NEWS = 1.0


class Record(NamedTuple):
    key: bytes
    value: bytes | None
    delay_seconds: float


def notifications() -> Iterator[Record]:
    """Keyed by the user they are for: that is what the example's rule looks at."""
    for number in itertools.count(1):
        user = random.choice(USERS)
        text = json.dumps({"number": number, "for": user, "text": random.choice(NEWS)}).encode()
        yield Record(user.encode(), text, SECONDS_BETWEEN_NEWS)


def feeds() -> dict[str, Iterator[Record]]:
    """By topic."""
    now = time.time()
    known = {
        feed.topic: (Record(event.key, event.value, event.delay_seconds) for event in feed.events(seed=1, start=now))
        for feed in FEEDS
        if feed.topic != "chat"  # there people write
    }
    return known | {"notifications": notifications(), "chat": iter(())}


def create(kafka: str, topics: list[str]) -> None:
    """Those that are missing, with three partitions."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for topic, made in admin.create_topics([NewTopic(topic, 3) for topic in topics]).items():
        try:
            made.result(30)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise SystemExit(f"{topic} cannot be created: {error.args[0].str()}") from None


def write(producer: Producer, topic: str, records: Iterator[Record], count: int | None) -> None:
    for record in itertools.islice(records, count):
        if count is None:
            time.sleep(record.delay_seconds)
        producer.produce(topic, key=record.key, value=record.value)
        producer.poll(0)


def main() -> None:
    known = feeds()
    parser = argparse.ArgumentParser(description="Writes to the examples' topics.")
    parser.add_argument("--kafka", metavar="HOST:PORT", default="localhost:9092")
    parser.add_argument("--topic", action="append", choices=list(known), help="only this one; repeatable")
    parser.add_argument("--count", type=int, metavar="N", help="N records of each at once, then end")
    arguments = parser.parse_args()
    topics = arguments.topic or list(known)
    create(arguments.kafka, topics)
    producer = Producer({"bootstrap.servers": arguments.kafka, "linger.ms": 5})
    writers = [
        threading.Thread(target=write, args=(producer, topic, known[topic], arguments.count), daemon=True)
        for topic in topics
    ]
    print(f"writing to {', '.join(topics)}", flush=True)
    for writer in writers:
        writer.start()
    try:
        for writer in writers:
            writer.join()
        while arguments.count is None:  # a topic without a feed has nothing to wait for
            time.sleep(60)
    except KeyboardInterrupt:
        pass
    producer.flush(10)


if __name__ == "__main__":
    main()
