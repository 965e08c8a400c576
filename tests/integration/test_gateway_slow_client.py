"""A client that does not read: what it costs is counted, and others notice nothing."""

import contextlib

import pytest
from tests.gateway import masked, running, until
from tests.kafka_broker import Broker

from tailrace.config import Limits, Tail

SIZE = 900_000  # what a producer sends at most, less its overhead
COUNT = 40
FOR_EVER = Limits(ping_interval=None, write_timeout=None)  # who does not read answers no ping, and is not to end


@pytest.mark.parametrize("path", ["/ws", "/topics/{topic}", "/topics/{topic}?format=value"])
async def test_one_does_not_read(kafka: Broker, path: str) -> None:
    """36 MB pass it by. It holds one frame at most of its own; the tail stays within its bound; the rest is Kafka's."""
    topic = kafka.topic()
    bound = 8_000_000
    async with (
        running(kafka, tail=Tail(max_bytes=bound), limits=FOR_EVER) as gateway,
        gateway.raw(path.format(topic=topic), buffer_bytes=4096) as raw,
    ):
        stalled = await gateway.only()
        if path == "/ws":
            await raw.message()
            await raw.send(masked(1, b'{"type":"subscribe","id":1,"topic":"%s"}' % topic.encode()))
            assert (await raw.message())["type"] == "subscribed"
        async with gateway.client() as other:
            await other.subscribe(topic)
            for count in range(COUNT):
                kafka.produce(topic, [b"x" * SIZE])
                await other.expect("record", offset=count)
                assert gateway.topics.tail_bytes <= bound
                assert stalled.outlet.line.waiting_bytes <= SIZE + 1000
            assert stalled.outlet.line.waiting_bytes > 0
            assert (await other.ask("ping", id=2))["type"] == "pong"
        assert stalled.ending is None


async def test_many_do_not_read(kafka: Broker) -> None:
    """They share the tail: fifty cost no more of it than one, and each no more than what is left of a frame."""
    topic = kafka.topic()
    size = 100_000
    async with (
        running(kafka, limits=FOR_EVER) as gateway,
        gateway.client() as other,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(50):
            await stack.enter_async_context(gateway.raw(f"/topics/{topic}?format=value", buffer_bytes=4096))
        await other.subscribe(topic)
        await until(lambda: len(gateway.door.connections) == 51)
        for _ in range(20):
            kafka.produce(topic, [b"x" * size] * 10)
            await other.records(10)
        assert gateway.topics.tail_bytes < 2 * 2 * 200 * size  # two formats, in blocks that are not all full
        waiting = sorted(each.outlet.line.waiting_bytes for each in gateway.door.connections)
        assert waiting[0] == 0
        assert waiting[1] > 0
        assert waiting[-1] <= size + 1000


async def test_a_round_comes_at_once_and_the_next_not_before_its_time(kafka: Broker) -> None:
    """A ticker that was quiet is shown without delay; behind that, an hour is an hour, also for another key."""
    topic = kafka.topic()
    async with running(kafka) as gateway, gateway.client() as client:
        await client.subscribe(topic, id=1, slow="latest", interval_ms=3_600_000)
        await client.subscribe(topic, id=2)
        kafka.produce(topic, [(b"a", b"1")])
        assert {(await client.expect("record", offset=0))["id"] for _ in range(2)} == {1, 2}
        kafka.produce(topic, [(b"b", b"2")])
        assert (await client.expect("record", offset=1))["id"] == 2
        kafka.produce(topic, [(b"a", b"3")])
        assert (await client.expect("record", offset=2))["id"] == 2
