"""The broker dies and comes back: readiness follows both ways, and reading goes on without loss."""

import trio
from tests.kafka_broker import Broker

from tailrace.kafka.batch import Batch
from tailrace.kafka.cluster import Cluster
from tailrace.kafka.hand_off import HandOff
from tailrace.kafka.health import Health
from tailrace.kafka.live import LiveConsumer

NOTICED_SECONDS = 60.0  # that it is 10 at most is shown on a clock that jumps, in tests/unit/test_kafka_health.py


async def becomes(health: Health, ready: bool) -> float:
    begun = trio.current_time()
    with trio.fail_after(NOTICED_SECONDS):
        while health.ready is not ready:  # noqa: ASYNC110
            await trio.sleep(0.02)
    return trio.current_time() - begun


async def test_a_killed_broker_and_its_return(own_kafka: Broker) -> None:
    settings = {"bootstrap.servers": own_kafka.bootstrap}
    topic = own_kafka.topic(2)
    health = Health(Cluster(settings))
    live = LiveConsumer(settings, on_error=health.note)
    receive = HandOff[Batch](4)
    offsets: dict[int, list[int]] = {0: [], 1: []}

    async def until(total: int) -> None:
        with trio.fail_after(NOTICED_SECONDS):
            while sum(map(len, offsets.values())) < total:
                for record in (await receive.receive()).records.get(topic, []):
                    offsets[record.partition()].append(record.offset())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        nursery.start_soon(live.run, receive)
        live.assign(topic, {0: 0, 1: 0})
        await becomes(health, True)
        for partition in (0, 1):
            own_kafka.produce(topic, [b"before"] * 50, partition)
        await until(100)

        own_kafka.kill()
        await becomes(health, False)
        assert health.reason.startswith("no broker answers")

        await trio.to_thread.run_sync(own_kafka.start)
        await becomes(health, True)
        for partition in (0, 1):
            own_kafka.produce(topic, [b"after"] * 50, partition)
        await until(200)
        nursery.cancel_scope.cancel()
    assert offsets == {0: list(range(100)), 1: list(range(100))}


async def test_a_broker_that_hangs_is_not_ready(own_kafka: Broker) -> None:
    health = Health(Cluster({"bootstrap.servers": own_kafka.bootstrap}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        await becomes(health, True)
        with own_kafka.frozen():
            await becomes(health, False)
        await becomes(health, True)
        nursery.cancel_scope.cancel()


async def test_a_gateway_that_starts_before_its_broker(own_kafka: Broker) -> None:
    topic = own_kafka.topic()
    own_kafka.produce(topic, [b"x"] * 10)
    own_kafka.stop()
    settings = {"bootstrap.servers": own_kafka.bootstrap}
    health, live = Health(Cluster(settings)), LiveConsumer(settings)
    receive = HandOff[Batch](4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(health.run)
        nursery.start_soon(live.run, receive)
        live.assign(topic, {0: 0})
        await trio.to_thread.run_sync(own_kafka.start)
        await becomes(health, True)
        with trio.fail_after(NOTICED_SECONDS):
            got = 0
            while got < 10:
                got += len((await receive.receive()).records.get(topic, []))
        nursery.cancel_scope.cancel()
