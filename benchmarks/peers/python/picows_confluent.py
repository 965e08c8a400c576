"""A gateway for speed in Python: confluent_kafka in a thread, picows sends. BOOTSTRAP TOPIC."""

import asyncio
import json
import sys
import threading
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import uvloop
from confluent_kafka import Consumer, Message, TopicPartition
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

groups: defaultdict[str | None, set[WSTransport]] = defaultdict(set)


class Client(WSListener):
    """One connection."""

    def __init__(self, request: WSUpgradeRequest) -> None:
        super().__init__()
        query = parse_qs(urlsplit(request.path.decode()).query)
        self.group = groups[query.get("key", [None])[0]]

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.group.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.group.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


def deliver(records: list[Message]) -> None:
    """In the loop: every record to every client."""
    for record in records:
        if record.error() is not None:
            continue
        value, key = record.value(), record.key()
        for transport in groups[None]:
            transport.send(WSMsgType.TEXT, value)
        if key is not None:
            for transport in groups[key.decode()]:
                transport.send(WSMsgType.TEXT, value)


def poll(consumer: Consumer, loop: asyncio.AbstractEventLoop) -> None:
    """In a thread: batches to the loop."""
    while True:
        first = consumer.consume(1, 1.0)
        if first:
            loop.call_soon_threadsafe(deliver, first + consumer.consume(500, 0))


async def main(bootstrap: str, topic: str) -> None:
    """Serve until SIGTERM."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "peer", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.assign([TopicPartition(topic, 0, end)])
    server = await ws_create_server(Client, "127.0.0.1", 0, backlog=4096)
    threading.Thread(target=poll, args=(consumer, asyncio.get_running_loop()), daemon=True).start()
    print(json.dumps({"event": "ready", "port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


uvloop.run(main(*sys.argv[1:]))
