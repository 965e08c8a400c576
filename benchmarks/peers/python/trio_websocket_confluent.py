"""A gateway as trio users write it: confluent_kafka in a thread, send_message for each client. BOOTSTRAP TOPIC."""

import json
import sys
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import trio
from confluent_kafka import Consumer, Message, TopicPartition
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

groups: defaultdict[str | None, set[WebSocketConnection]] = defaultdict(set)


async def handler(request: WebSocketRequest) -> None:
    """Wait until it is gone."""
    query = parse_qs(urlsplit(request.path).query)
    group = groups[query.get("key", [None])[0]]
    connection = await request.accept()
    group.add(connection)
    try:
        while True:
            await connection.get_message()
    except ConnectionClosed:
        group.discard(connection)


async def deliver(record: Message) -> None:
    """One record, to one client after the other."""
    text, key = record.value().decode(), record.key()
    clients = [*groups[None], *(groups[key.decode()] if key is not None else ())]
    for connection in clients:
        try:
            await connection.send_message(text)
        except ConnectionClosed:
            pass


def consume(consumer: Consumer) -> list[Message]:
    """In a thread: what there is, at least one unless a second passes."""
    first = consumer.consume(1, 1.0)
    return first + consumer.consume(500, 0) if first else []


async def main(bootstrap: str, topic: str) -> None:
    """Serve until SIGTERM."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "peer", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.assign([TopicPartition(topic, 0, end)])
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: serve_websocket(handler, "127.0.0.1", 0, None, task_status=task_status)
        )
        print(json.dumps({"event": "ready", "port": server.port}), flush=True)
        while True:
            for record in await trio.to_thread.run_sync(consume, consumer):
                if record.error() is None:
                    await deliver(record)


trio.run(main, *sys.argv[1:])
