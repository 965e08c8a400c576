"""A gateway as asyncio users write it: aiokafka reads the topic, websockets.broadcast sends it. BOOTSTRAP TOPIC."""

import asyncio
import json
import sys
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

from aiokafka import AIOKafkaConsumer, TopicPartition
from websockets.asyncio.server import ServerConnection, broadcast, serve

groups: defaultdict[str | None, set[ServerConnection]] = defaultdict(set)


async def handler(connection: ServerConnection) -> None:
    """Wait until it is gone."""
    query = parse_qs(urlsplit(connection.request.path).query)
    group = groups[query.get("key", [None])[0]]
    group.add(connection)
    try:
        await connection.wait_closed()
    finally:
        group.discard(connection)


async def main(bootstrap: str, topic: str) -> None:
    """Serve until SIGTERM."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
    await consumer.start()
    partitions = [TopicPartition(topic, 0)]
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    for partition, offset in ends.items():
        consumer.seek(partition, offset)
    async with serve(handler, "127.0.0.1", 0, backlog=4096, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"event": "ready", "port": port}), flush=True)
        async for record in consumer:
            text = record.value.decode()
            broadcast(groups[None], text)
            if record.key is not None:
                broadcast(groups[record.key.decode()], text)


asyncio.run(main(*sys.argv[1:]))
