"""The least a gateway of this shape does: `python shape.py BOOTSTRAP TOPIC`; what the C gateway is to C, to this shape.

A thread that polls Kafka, a hand-off into trio, one task that sends each record to whoever asked for its key. No
positions, no resume, no limits, nobody is waited for: a byte that the kernel refuses is an error. What of Tailrace's
distance from the C gateway are the two threads, the hand-off and trio's round can be read off it.
"""

import json
import os
import sys
import threading
from collections import defaultdict
from functools import partial
from urllib.parse import parse_qs, urlsplit

import trio
from confluent_kafka import Consumer, Message, TopicPartition
from wsproto.utilities import generate_accept_token

from tailrace.gateway.server import SWITCH_SECONDS
from tailrace.kafka.hand_off import HandOff

Groups = defaultdict[bytes | None, set[int]]  # descriptors, by the key they asked for
MAX_RECORDS = 500
ROOM = 8  # batches


async def serve(groups: Groups, stream: trio.SocketStream) -> None:
    """Until the client is gone. Its request comes in one piece."""
    request = (await stream.receive_some()).decode()
    query = parse_qs(urlsplit(request.split()[1]).query)
    token = next(line for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")).split()[1]
    group, descriptor = groups[query["key"][0].encode()], stream.socket.fileno()
    write(
        descriptor,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + generate_accept_token(token.encode()) + b"\r\n\r\n",
    )
    group.add(descriptor)  # in the same step
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    finally:
        group.discard(descriptor)


def poll(consumer: Consumer, batches: HandOff[list[Message]]) -> None:
    """The thread."""
    while True:
        first = consumer.consume(1, 1.0)
        if first:
            batches.give(first + consumer.consume(MAX_RECORDS - 1, 0))


def write(descriptor: int, data: bytes) -> None:
    """All of it at once."""
    if os.write(descriptor, data) < len(data):
        raise BlockingIOError("the kernel took a part only")


def frame(value: bytes) -> bytes:
    """Of up to 64 KiB."""
    length = bytes([len(value)]) if len(value) < 126 else b"\x7e" + len(value).to_bytes(2, "big")
    return b"\x81" + length + value


async def fan_out(groups: Groups, batches: HandOff[list[Message]]) -> None:
    """The task."""
    while True:
        for record in await batches.receive():
            if record.error() is None:
                framed = frame(record.value() or b"")
                for descriptor in groups[record.key()]:
                    write(descriptor, framed)


async def main(bootstrap: str, topic: str) -> None:
    """Serve until SIGTERM."""
    sys.setswitchinterval(SWITCH_SECONDS)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "shape", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.assign([TopicPartition(topic, 0, end)])
    groups: Groups = defaultdict(set)
    batches: HandOff[list[Message]] = HandOff(ROOM)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, partial(serve, groups), listeners)
        nursery.start_soon(fan_out, groups, batches)
        threading.Thread(target=poll, args=(consumer, batches), daemon=True).start()
        print(json.dumps({"event": "ready", "port": listeners[0].socket.getsockname()[1]}), flush=True)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
