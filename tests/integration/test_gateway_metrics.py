"""`/metrics` of a running gateway over a real Kafka: every number moves with what it stands for."""

import statistics
import time

import msgspec
import pytest
import trio
from tests.gateway import DEADLINE_SECONDS, Gateway, handshake, running, until
from tests.kafka_broker import Broker

from tailrace.config import Admin, Limits, Tail, Topic
from tailrace.gateway.collecting import collect
from tailrace.metrics.exposition import exposition
from tailrace.metrics.snapshot import Snapshot, merged


async def test_what_a_subscription_makes_of_the_numbers(kafka: Broker) -> None:
    topic = kafka.topic(2)
    async with running(kafka, kafka={"bootstrap.servers": kafka.bootstrap, "statistics.interval.ms": 100}) as gateway:
        async with gateway.client() as client:
            await client.subscribe(topic)
            kafka.produce(topic, [f'"{number}"' for number in range(10)])
            await client.records(10)
            seen = await until_seen(gateway, f'tailrace_consumer_lag_records{{partition="0",topic="{topic}"}}', 0)
            assert seen["tailrace_connections"] == 1
            assert seen['tailrace_handshakes_total{endpoint="ws"}'] == 1
            assert seen[f'tailrace_subscriptions{{state="live",topic="{topic}"}}'] == 1
            assert seen[f'tailrace_subscriptions{{state="catching_up",topic="{topic}"}}'] == 0
            assert seen[f'tailrace_records_consumed_total{{topic="{topic}"}}'] == 10
            assert seen[f'tailrace_records_delivered_total{{topic="{topic}"}}'] == 10
            assert (
                400 < seen[f'tailrace_record_bytes_sent_total{{topic="{topic}"}}'] < seen["tailrace_bytes_sent_total"]
            )
            assert seen[f'tailrace_end_to_end_seconds_count{{topic="{topic}"}}'] == 10
            assert 0 < seen[f'tailrace_end_to_end_seconds_sum{{topic="{topic}"}}'] / 10 < 30
            assert seen["tailrace_open_topics"] == 1
            assert seen["tailrace_kafka_brokers_up"] == 1
            assert seen["tailrace_kafka_received_bytes_total"] > 0
            assert seen["tailrace_tail_bytes"] > 0
            assert seen["tailrace_encode_seconds_total"] > 0
            assert seen["tailrace_fanout_seconds_total"] > 0
            assert seen["process_resident_memory_bytes"] > 1e7
            assert seen["tailrace_draining"] == 0
        await gateway.until_all_left()
        seen = await gateway.metrics()
        assert seen["tailrace_connections"] == 0
        assert seen['tailrace_connections_closed_total{code="1000",reason="closed by the client"}'] == 1
        assert seen[f'tailrace_subscriptions{{state="live",topic="{topic}"}}'] == 0
        assert seen[f'tailrace_records_delivered_total{{topic="{topic}"}}'] == 10


async def until_seen(gateway: Gateway, series: str, value: float) -> dict[str, float]:
    """The metrics, once this one is so: librdkafka's statistics of the moment between a fetch and the taking in tell of
    a lag that is gone by now, and may come behind others."""
    with trio.fail_after(DEADLINE_SECONDS):
        while (seen := await gateway.metrics()).get(series) != value:  # noqa: ASYNC110
            await trio.sleep(0.05)
    return seen


async def test_reading_back_and_refusals(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [str(number) for number in range(100)])
    async with running(kafka) as gateway, gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, from_="earliest")
        await client.expect("subscribed")
        await client.records(100)
        await client.expect("position")
        await client.expect("live")
        assert (await client.ask("subscribe", 2, topic="nobody-may"))["code"] == "unknown_topic"
        assert (await gateway.refused("/ws", origin="http://elsewhere.example")).status == 403
        seen = await gateway.metrics()
        assert seen["tailrace_catchup_records_total"] >= 100
        assert seen["tailrace_catchup_bytes_total"] > 0
        assert seen["tailrace_catchup_misses_total"] >= 1
        assert seen[f'tailrace_records_delivered_total{{topic="{topic}"}}'] == 100
        assert seen['tailrace_commands_refused_total{code="unknown_topic"}'] == 1
        assert seen['tailrace_handshakes_refused_total{code="forbidden"}'] == 1
        assert f'tailrace_end_to_end_seconds_count{{topic="{topic}"}}' in seen
        assert seen[f'tailrace_end_to_end_seconds_count{{topic="{topic}"}}'] == 0, "catching up has no delay"


async def test_gaps_are_counted_by_reason(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, ["1", "2", "3"])
    kafka.delete_records(topic, {0: 2})
    async with running(kafka) as gateway, gateway.client() as client:
        await client.send(type="subscribe", id=1, topic=topic, from_={"offsets": {"0": 0}})
        await client.expect("subscribed")
        await client.expect("gap", reason="retention")
        await client.expect("record", offset=2)
        seen = await gateway.metrics()
        assert seen[f'tailrace_gaps_total{{reason="retention",topic="{topic}"}}'] == 1


async def test_records_too_large_are_counted_as_gaps(kafka: Broker) -> None:
    """The alert on lost records looks at gaps: what is above the limit is as lost as what retention took."""
    topic = kafka.topic()
    limits = Limits(max_record_bytes=1_000)
    async with running(kafka, limits=limits) as gateway, gateway.client() as client:
        await client.subscribe(topic)
        kafka.produce(topic, ["1", "x" * 2_000])
        await client.expect("record", offset=0)
        await client.expect("gap", reason="too_large")
        seen = await gateway.metrics()
        assert seen[f'tailrace_gaps_total{{reason="too_large",topic="{topic}"}}'] == 1
        assert seen[f'tailrace_records_too_large_total{{topic="{topic}"}}'] == 1


async def test_a_counter_outlives_its_tail(kafka: Broker) -> None:
    """Opened again, a topic goes on counting where it was."""
    topic = kafka.topic()
    async with running(kafka) as gateway:
        for expected in (1, 2):
            async with gateway.client() as client:
                await client.subscribe(topic)
                kafka.produce(topic, ["1"])
                await client.records(1)
            await gateway.until_all_left()
            await until(lambda: not gateway.users(topic), "the end of the subscription")
            gateway.topics.shut(gateway.topics.held[0])
            seen = await gateway.metrics()
            assert seen[f'tailrace_records_delivered_total{{topic="{topic}"}}'] == expected
            assert seen["tailrace_open_topics"] == 0


async def test_topics_of_a_pattern_do_not_make_series_without_end(kafka: Broker) -> None:
    names = [kafka.topic() for _ in range(4)]
    async with (
        running(kafka, admin=Admin(address="127.0.0.1:0", metrics_topics=2)) as gateway,
        gateway.client() as client,
    ):
        for id, name in enumerate(names, 1):
            await client.subscribe(name, id)
        seen = await gateway.metrics()
        series = [name for name in seen if name.startswith("tailrace_records_consumed_total")]
        assert len(series) == 3
        assert seen['tailrace_subscriptions{state="live",topic="(other)"}'] == 2


async def test_slow_clients_are_counted(kafka: Broker) -> None:
    topic = kafka.topic()
    tight = {"limits": Limits(slow_bytes=1000), "tail": Tail(max_bytes=1 << 22)}
    async with running(kafka, **tight) as gateway:
        stream = await gateway.socket(buffer_bytes=4096)
        async with stream:
            await stream.send_all(handshake(f"/topics/{topic}?slow=close"))
            await gateway.only()
            kafka.produce(topic, ["x" * 100_000] * 30)
            await until(lambda: gateway.topics.counts.slow["close"], "the policy")
            await until(lambda: ("4001", "slow") in gateway.topics.counts.closed, "the close")
            assert (await gateway.metrics())['tailrace_slow_actions_total{policy="close"}'] >= 1


async def test_the_gateways_own_statistics(kafka: Broker) -> None:
    topic = kafka.topic()
    async with running(kafka, topics={"topic-*": Topic()}) as gateway, gateway.client() as client:
        await client.subscribe(topic)
        await client.subscribe(topic, 2)
        await gateway.until_ready()  # asked by a client of its own
        seen = gateway.parts.statistics()
        assert (seen.connections, seen.subscriptions, seen.topics) == (1, 2, 1)
        assert seen.tail_bytes <= seen.tail_limit
        assert (seen.cache_bytes, seen.snapshot_bytes, seen.backlog_bytes) == (0, 0, 0)
        assert (seen.draining, seen.ready) == (False, True)


async def test_the_numbers_of_a_worker(kafka: Broker) -> None:
    """What a parent merges with those of the others."""
    topic = kafka.topic()
    async with running(kafka) as gateway, gateway.client() as client:
        await client.subscribe(topic)
        answer = await gateway.get("/metrics/numbers", admin=True)
        told = msgspec.msgpack.decode(answer.body, type=Snapshot)
        assert told.value("tailrace_connections") == 1
        assert merged([told, told]).value("tailrace_subscriptions", topic, "live") == 2


@pytest.mark.benchmark
async def test_what_a_scrape_costs(kafka: Broker) -> None:
    """5,000 connections with a subscription each: every 5 s under 1 % of a core is 50 ms of CPU time."""
    topic = kafka.topic()
    async with running(kafka) as gateway, trio.open_nursery() as nursery:
        sockets = [await _subscribed(gateway, topic) for _ in range(5000)]
        costs = []
        for _ in range(10):
            begin = time.process_time()
            exposition(await collect(gateway.parts))
            costs.append(time.process_time() - begin)
        print(f"a scrape with 5,000 connections: {statistics.median(costs) * 1000:.1f} ms of CPU time")
        assert statistics.median(costs) < 0.05
        for each in sockets:
            await trio.aclose_forcefully(each)
        nursery.cancel_scope.cancel()


async def _subscribed(gateway: Gateway, topic: str) -> trio.SocketStream:
    stream = await gateway.socket()
    await stream.send_all(handshake(f"/topics/{topic}"))
    await stream.receive_some(4096)
    return stream
