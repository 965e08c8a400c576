"""kafka/scan: what a consumer says, sorted to ranges; the consumer is a list of what it will say."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from confluent_kafka import KafkaError, TopicPartition

from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.kafka import scan as scanning
from tailrace.kafka.scan import Range, Truncated, scan


class Record:
    def __init__(self, partition: int | None, offset: int, error: int | None = None) -> None:
        self.partition, self.offset = (lambda: partition), (lambda: offset)
        self.error = lambda: None if error is None else KafkaError(error)


def end(partition: int, offset: int) -> Record:
    return Record(partition, offset, KafkaError._PARTITION_EOF)


class ToldConsumer:
    """Says `says`, one list at each call, then nothing. bounds: of every partition."""

    says: list[list[Record]] = []
    bounds: dict[int, tuple[int, int]] = {}

    def __init__(self, *_: Any, **__: Any) -> None:
        self.diary: list[Any] = []
        self.closed = False
        made.append(self)

    def consume(self, count: int, timeout: float) -> list[Any]:
        said = self.says.pop(0) if self.says else []
        self.says[:0] = [said[count:]] if said[count:] else []
        return said[:count]

    def assign(self, places: list[TopicPartition]) -> None:
        self.diary.append({place.partition: place.offset for place in places})

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        self.diary.append([place.partition for place in places])

    def unassign(self) -> None: ...

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int] | None:
        return self.bounds.get(place.partition)

    def close(self) -> None:
        self.closed = True


made: list[ToldConsumer] = []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[ToldConsumer]:
    made.clear()
    ToldConsumer.says, ToldConsumer.bounds = [], {}
    monkeypatch.setattr(scanning, "Consumer", ToldConsumer)
    return ToldConsumer


async def taken(*ranges: Range, take: Callable[[int, Any], None] = lambda *_: None) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}

    def sort(partition: int, records: Any) -> None:
        take(partition, records)
        found.setdefault(partition, []).extend(record.offset() for record in records)

    try:
        await scan({}, "t", ranges, sort)
    finally:
        assert all(consumer.closed for consumer in made)
    return found


async def test_no_consumer_is_made_for_nothing(told: type[ToldConsumer]) -> None:
    assert await taken() == await taken(Range(0, 5, 5)) == {}
    assert made == []


async def test_partitions_are_sorted_and_let_go_as_they_end(told: type[ToldConsumer]) -> None:
    told.says = [[Record(0, 3), Record(1, 8), Record(0, 4)], [Record(1, 9), Record(0, 5)], [Record(1, 10)]]
    assert await taken(Range(0, 3, 5), Range(1, 8, 11)) == {0: [3, 4], 1: [8, 9, 10]}
    assert made[0].diary == [{0: 3, 1: 8}, [0], [1]]


async def test_a_record_behind_the_end_tells_that_it_is_reached(told: type[ToldConsumer]) -> None:
    told.says = [[Record(0, 3), Record(0, 90), Record(0, 91)]]
    assert await taken(Range(0, 3, 50)) == {0: [3]}


async def test_the_partitions_own_end_tells_it_where_no_record_does(told: type[ToldConsumer]) -> None:
    told.says = [[Record(0, 3), end(0, 50)]]
    assert await taken(Range(0, 3, 50)) == {0: [3]}


async def test_an_end_told_too_early_is_not_believed(told: type[ToldConsumer]) -> None:
    told.says, told.bounds = [[Record(0, 3), end(0, 4)], [Record(0, 4), Record(0, 5)]], {0: (0, 6)}
    assert await taken(Range(0, 3, 6)) == {0: [3, 4, 5]}


async def test_a_log_that_ends_before_the_end_is_truncated(told: type[ToldConsumer]) -> None:
    told.says, told.bounds = [[Record(0, 3), end(0, 4)]], {0: (0, 5)}
    with pytest.raises(Truncated):
        await taken(Range(0, 3, 6))


async def test_what_is_gone_at_the_beginning_is_passed_over(told: type[ToldConsumer]) -> None:
    gone = Record(0, 3, KafkaError._AUTO_OFFSET_RESET)
    told.says, told.bounds = [[Record(1, 0), gone], [Record(0, 7), Record(1, 0), Record(1, 1)]], {0: (7, 8)}
    assert await taken(Range(0, 3, 8), Range(1, 0, 2)) == {0: [7], 1: [0, 1]}, "what comes again counts once"
    assert made[0].diary[:2] == [{0: 3, 1: 0}, {0: 7, 1: 0}]


async def test_all_of_it_may_be_gone(told: type[ToldConsumer]) -> None:
    told.says, told.bounds = [[Record(0, 3, KafkaError._AUTO_OFFSET_RESET)]], {0: (8, 9)}
    assert await taken(Range(0, 3, 8)) == {}


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, UnknownTopic),
        (KafkaError._UNKNOWN_PARTITION, UnknownTopic),
        (KafkaError.REQUEST_TIMED_OUT, KafkaUnavailable),
    ],
)
@pytest.mark.parametrize("partition", [0, None])
async def test_other_errors_end_it(
    told: type[ToldConsumer], code: int, raised: type[Exception], partition: int | None
) -> None:
    told.says = [[Record(partition, 0, code)]]
    with pytest.raises(raised):
        await taken(Range(0, 3, 8))


async def test_silence_ends_it(told: type[ToldConsumer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(KafkaUnavailable, match="nothing could be read of t"):
        await taken(Range(0, 3, 8))


async def test_what_take_raises_ends_it(told: type[ToldConsumer]) -> None:
    def refuse(*_: Any) -> None:
        raise MemoryError

    told.says = [[Record(0, 3)]]
    with pytest.raises(MemoryError):
        await taken(Range(0, 3, 8), take=refuse)


async def test_a_few_partitions_at_a_time(told: type[ToldConsumer]) -> None:
    count = scanning.PARTITIONS + 2
    told.says = [[Record(each, 0)] for each in range(count)]
    assert await taken(*(Range(each, 0, 1) for each in range(count))) == {each: [0] for each in range(count)}
    assigned = [entry for entry in made[0].diary if isinstance(entry, dict)]
    assert [len(entry) for entry in assigned] == [scanning.PARTITIONS, 2]


async def test_who_is_cancelled_has_no_thread_left(told: type[ToldConsumer], monkeypatch: pytest.MonkeyPatch) -> None:
    polled = trio.Event()
    token = trio.lowlevel.current_trio_token()
    threads = trio.to_thread.current_default_thread_limiter()

    def consume(self: ToldConsumer, count: int, timeout: float) -> list[Any]:
        token.run_sync_soon(polled.set)
        return []

    monkeypatch.setattr(told, "consume", consume)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taken, Range(0, 3, 8))
        await polled.wait()
        assert threads.borrowed_tokens == 1
        nursery.cancel_scope.cancel()
    assert made[0].closed
    assert threads.borrowed_tokens == 0
