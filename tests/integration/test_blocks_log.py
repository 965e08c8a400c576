"""Blocks of a real log: everything in it once, whatever compaction, transactions and retention left of it."""

import random
import socket

import pytest
import trio
from tests.kafka_broker import Broker
from tests.plain_client import read_frames
from tests.reading_back import Back, reading_back

from tailrace._fanout import JSON, MSGPACK, VALUE, Line, Stretch, Subscription, Tail
from tailrace.config import Catchup
from tailrace.gateway.blocks import Beyond, Gone


def fill(kafka: Broker, topic: str, count: int, partition: int = 0, size_bytes: int = 20) -> None:
    kafka.produce(topic, [b"%0*d" % (size_bytes, each) for each in range(count)], partition)


@pytest.mark.parametrize("format", [JSON, MSGPACK, VALUE])
async def test_a_partition_is_read_whole_in_every_format(kafka: Broker, format: int) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 5_000)
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        assert await back.replay(0, 5_000, format=format) == 5_000
        assert (await back.get(5_000, format=format)).records == 0


async def test_partitions_are_read_at_the_same_time(kafka: Broker) -> None:
    topic = kafka.topic(10)
    for partition in range(10):
        fill(kafka, topic, 1_000 + partition, partition)
    async with reading_back(kafka.bootstrap, Catchup(readers=3)) as blocks:
        back, counted = Back(blocks, topic), {}

        async def count(partition: int) -> None:
            counted[partition] = await back.replay(0, 1_000 + partition, partition)

        async with trio.open_nursery() as nursery:
            for partition in range(10):
                nursery.start_soon(count, partition)
        assert counted == {partition: 1_000 + partition for partition in range(10)}


async def test_requests_all_over_a_partition_get_their_blocks(kafka: Broker) -> None:
    """Many seeks in a row: records of the place before must not be taken for those of the next."""
    topic = kafka.topic()
    fill(kafka, topic, 60_000)
    async with reading_back(kafka.bootstrap, Catchup(cache_bytes=1, readers=2)) as blocks:
        back, chance = Back(blocks, topic), random.Random(1)

        async def ask() -> None:
            for _ in range(25):
                offset = chance.randrange(60_000)
                block = await back.get(offset)
                assert block.records == block.next - block.start

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask)


async def test_what_is_in_a_block_can_be_sent(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 100)
    async with reading_back(kafka.bootstrap) as blocks:
        block = await Back(blocks, topic).get(40)
    assert sent(block, 40) == [b"%020d" % each for each in range(40, 100)]


def sent(block: Stretch, start: int) -> list[bytes]:
    """The payloads that a client with this place is sent."""
    gateway, client = socket.socketpair()
    with gateway, client:
        gateway.setblocking(False)
        line, tail = Line(gateway.fileno()), Tail(VALUE, [block.next])
        cursor = Subscription(line, tail, 0, seq=tail.end, floor={0: start}, away=True)
        cursor.feed(block)
        line.flush(1_000_000)
        gateway.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(65_536), b""))
    frames, rest = read_frames(received)
    assert not rest
    return [frame.payload for frame in frames]


async def test_records_that_are_appended_while_it_is_read_follow(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 100)
    async with reading_back(kafka.bootstrap) as blocks:
        back, offset = Back(blocks, topic), 0
        for end in range(100, 2_100, 100):
            while offset < end:
                block = await back.get(offset)
                assert block.records == block.next - block.start
                offset = block.next
            assert (await back.get(offset)).records == 0
            fill(kafka, topic, 100)


async def test_aborted_records_and_control_markers_are_covered_and_not_shown(kafka: Broker) -> None:
    topic = kafka.topic()
    with kafka.transaction() as transaction:
        transaction.produce(topic, [b"kept"] * 3)
    with kafka.transaction(abort=True) as transaction:
        transaction.produce(topic, [b"aborted"] * 3_000)
    fill(kafka, topic, 5)
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        assert await back.replay(0, 3 + 1 + 3_000 + 1 + 5) == 8
        # No further: an abort is answered before its marker is written, so the five may stand in front of that.
        assert (await back.get(2_000)).next >= 3_004, "from the midst of the aborted ones"


async def test_a_log_that_ends_in_aborted_records_is_read_to_its_end(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 5)
    with kafka.transaction(abort=True) as transaction:
        transaction.produce(topic, [b"aborted"] * 10)
    async with reading_back(kafka.bootstrap) as blocks:
        block = await Back(blocks, topic).get(0)
        assert (block.next, block.records) == (16, 5)


async def test_an_open_transaction_is_the_end(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 5)
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        with kafka.transaction() as transaction:
            transaction.produce(topic, [b"x"] * 10)
            assert (await back.get(0)).next == 5
            for offset in (5, 10, 15):  # at the last stable offset, above it, at the end of the log
                assert (await back.get(offset)).next == offset
            with pytest.raises(Beyond):
                await back.get(16)
        assert await back.replay(5, 16) == 10


async def test_an_empty_partition_has_an_end(kafka: Broker) -> None:
    topic = kafka.topic()
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        assert (await back.get(0)).next == 0
        with pytest.raises(Beyond) as beyond:
            await back.get(7)
        assert beyond.value.end == 0


async def test_below_the_beginning_is_gone(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 3_000)
    kafka.delete_records(topic, {0: 1_500})
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        with pytest.raises(Gone) as gone:
            await back.get(1_499)
        assert gone.value.beginning == 1_500
        assert (await back.get(1_700)).start == 1_500, "alignment does not ask for what is gone"


async def test_retention_while_it_is_read_is_told(kafka: Broker) -> None:
    topic = kafka.topic()
    fill(kafka, topic, 50_000)
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        block = await back.get(0)
        kafka.delete_records(topic, {0: 40_000})
        with pytest.raises(Gone) as gone:
            await back.replay(block.next, 40_000)
        assert gone.value.beginning == 40_000


async def test_a_compacted_log_is_covered_without_its_gaps(kafka: Broker) -> None:
    topic = kafka.topic(
        cleanup_policy="compact", segment_bytes="1048576", min_cleanable_dirty_ratio="0.01", max_compaction_lag_ms="100"
    )
    for _ in range(4):
        kafka.produce(topic, [("same", b"x" * 1_000)] * 1_500)
    kafka.produce(topic, [("other", b"y")])
    async with reading_back(kafka.bootstrap, Catchup(cache_bytes=1)) as blocks:
        back = Back(blocks, topic)
        with trio.fail_after(120):
            while await back.replay(0, 6_001) > 3_000:  # noqa: ASYNC110  the cleaner tells nobody
                await trio.sleep(0.2)
        for offset in (1, 1_023, 2_000):
            assert (await back.get(offset)).next > offset


async def test_headers_keys_and_tombstones_are_encoded(kafka: Broker) -> None:
    topic = kafka.topic()
    kafka.produce(topic, [{"key": b"\xff", "value": None, "headers": [("h", b"\xfe")]}, ("k", b'{"a":1}')])
    async with reading_back(kafka.bootstrap) as blocks:
        back = Back(blocks, topic)
        for format in (JSON, MSGPACK, VALUE):
            assert (await back.get(0, format=format)).records == 2
