"""`tailrace demo`: the whole gateway with nothing to set up. Kafka runs in this process, its topics are fed with
synthetic live data, and the console page shows them.

The configuration is read as `serve` reads it, but Kafka and the topics are always the demo's own. It ends with the
gateway, on Ctrl-C or SIGTERM, with 0.
"""

import time
from argparse import Namespace
from functools import partial

import msgspec
import trio

from tailrace.cli import logs, options
from tailrace.config import Config, Shutdown, Topic
from tailrace.demo import FEEDS, Feed
from tailrace.gateway.server import Addresses, serve
from tailrace.kafka.embedded import EmbeddedKafka

SEED = 1  # the same market, shop and people every time
WRITABLE = "chat"  # clients may publish to it
DRAIN_SECONDS = 2.0  # whoever presses Ctrl-C on a demo wants it to be over
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # listening on all addresses: the one to open here


def run(arguments: Namespace) -> int:
    """Runs until it is stopped; returns 0. Raises OSError when an address cannot be listened on."""
    config = options.read(arguments)
    logs.configure(config.log)
    console = arguments.console is not False
    try:
        trio.run(partial(demo, config, console=console))
    except KeyboardInterrupt:
        pass  # before there was anything to drain
    except BaseExceptionGroup as group:
        cause = innermost(group)
        if not isinstance(cause, KeyboardInterrupt):
            raise cause from cause.__cause__
    return 0


async def demo(config: Config, *, console: bool) -> None:
    """Embedded Kafka, the gateway on it and the producers of its topics; ends when the gateway does."""
    async with EmbeddedKafka() as kafka:
        for feed in FEEDS:
            kafka.create(feed.topic, feed.partitions)
        config = demonstrating(config, kafka)
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(_gateway, config, console, nursery.cancel_scope)
            for feed in FEEDS:
                nursery.start_soon(produce, kafka, feed)
            print(greeting(addresses, console=console), flush=True)


def demonstrating(config: Config, kafka: EmbeddedKafka) -> Config:
    """The configuration with the demo's own Kafka and topics, and an end without waiting."""
    topics = {feed.topic: Topic(publish=feed.topic == WRITABLE) for feed in FEEDS}
    return msgspec.structs.replace(
        config, kafka=dict(kafka.settings), topics=topics, shutdown=Shutdown(timeout=DRAIN_SECONDS)
    )


async def produce(kafka: EmbeddedKafka, feed: Feed) -> None:
    """Writes a feed's events, each at its time, for ever. What was late does not make the rest late."""
    due = trio.current_time()
    for event in feed.events(SEED, time.time()):
        due += event.delay_seconds
        await trio.sleep_until(due)
        kafka.produce(event.topic, event.value, event.key, headers=event.headers)


def greeting(addresses: Addresses, *, console: bool) -> str:
    """What a person needs to know now, on stdout; everything else is in the log."""
    host, _, port = addresses.public.rpartition(":")
    address = f"{ANYWHERE.get(host, host)}:{port}"
    topics = ", ".join(feed.topic for feed in FEEDS)
    place = f"open     http://{address}/" if console else f"connect  ws://{address}/ws"
    stream = f"stream   ws://{address}/topics/{FEEDS[1].topic}?format=value"
    return f"\nTailrace demo, topics {topics}\n\n  {place}\n  {stream}\n\nCtrl-C ends it.\n"


def innermost(error: BaseException) -> BaseException:
    """What went wrong, out of the groups that nurseries wrap around a single failure."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _gateway(
    config: Config,
    console: bool,
    everything: trio.CancelScope,
    task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
) -> None:
    await serve(config, console=console, task_status=task_status)
    everything.cancel()
