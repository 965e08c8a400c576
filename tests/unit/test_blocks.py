"""Requests for blocks: shared, cached, cancelled, refused; the readers are tasks over a plain log."""

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from tests.plain_log import PlainLog, PlainReader
from tests.plain_record import PlainRecord
from trio.testing import MockClock, wait_all_tasks_blocked

from tailrace._fanout import JSON, VALUE, Stretch
from tailrace.config import Catchup
from tailrace.core.encode import Encoder
from tailrace.core.lane import Partition, Plan
from tailrace.errors import KafkaUnavailable, UnknownTopic
from tailrace.gateway import blocks as blocks_module
from tailrace.gateway.blocks import ANSWER_SECONDS, BELIEVED_SECONDS, Beyond, Blocks, Gone, Source
from tailrace.kafka.run import Arrived, Ended, Event, Failed, Run

ORDERS = Source("orders", 1, Encoder("orders"))
BLOCK_SECONDS = 0.01
DEADLINE_SECONDS = 300.0  # of the clock that jumps: a request that is never answered asks again for ever


class TaskReader(PlainReader):
    """The interface of `kafka.reader.Reader`, as a task; a block takes BLOCK_SECONDS."""

    logs: Mapping[Partition, PlainLog] = {}
    all: list["TaskReader"] = []

    def __init__(self, kafka: object, on_event: Callable[[Event], None], encoding: threading.Lock, *_: object) -> None:
        super().__init__(self.logs)
        self._on_event = on_event
        self._bell = trio.Event()
        self.read_bytes = self.read_records = 0
        self.all.append(self)

    def read(self, run: Run | None) -> None:
        self.wanted = run
        self._bell.set()

    async def run(self) -> None:
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            while (event := self.step()) is not None:
                await trio.sleep(BLOCK_SECONDS)
                if isinstance(event, Arrived | Ended) and event.block is not None:
                    self.read_records += event.block.next - event.block.start
                    self.read_bytes += 100 * (event.block.next - event.block.start)
                self._on_event(event)


@pytest.fixture
def log() -> PlainLog:
    """Partition 0 of `orders`."""
    return PlainLog(10_000)


@pytest.fixture(autouse=True)
def readers(monkeypatch: pytest.MonkeyPatch, log: PlainLog) -> list[TaskReader]:
    monkeypatch.setattr("tailrace.gateway.readers.Reader", TaskReader)
    logs = {Partition("orders", 1, number): PlainLog(10_000) for number in range(8)}
    TaskReader.logs = logs | {Partition("orders", 1, 0): log}
    TaskReader.all = []
    return TaskReader.all


@asynccontextmanager
async def running(catchup: Catchup | None = None) -> AsyncIterator[Blocks]:
    blocks = Blocks({}, catchup or Catchup())
    with trio.fail_after(DEADLINE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blocks.run)
            yield blocks
            nursery.cancel_scope.cancel()


async def both(*calls: Callable[[], Any]) -> list[Any]:
    """The results, called at the same time."""
    results: list[Any] = [None] * len(calls)

    async def one(at: int) -> None:
        results[at] = await calls[at]()

    async with trio.open_nursery() as nursery:
        for at in range(len(calls)):
            nursery.start_soon(one, at)
    return results


def at(blocks: Blocks, offset: int, format: int = VALUE, partition: int = 0) -> Callable[[], Any]:
    return lambda: blocks.get(ORDERS, partition, offset, format)


async def test_requests_for_one_block_share_one_reading(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        found = await both(*(at(blocks, offset) for offset in range(0, 1_000, 10)))
        assert len(set(map(id, found))) == 1
        assert (found[0].start, found[0].next, found[0].records) == (0, 1_024, 1_024)
        seen = blocks.statistics()
        assert (seen.hits, seen.misses, seen.waiting, seen.read_records) == (0, 100, 0, 1_024)


async def test_a_block_once_read_is_there(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        first = await blocks.get(ORDERS, 0, 5, VALUE)
        begun = trio.current_time()
        assert await blocks.get(ORDERS, 0, 1_000, VALUE) is first
        assert trio.current_time() == begun
        seen = blocks.statistics()
        assert (seen.hits, seen.misses) == (1, 1)
        assert seen.memory_bytes > first.memory_bytes


async def test_whoever_reads_on_finds_the_next_block_there(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        offset, waits = 0, []
        while offset < 9_000:
            begun = trio.current_time()
            offset = (await blocks.get(ORDERS, 0, offset, VALUE)).next
            waits.append(trio.current_time() - begun)
            await trio.sleep(2 * BLOCK_SECONDS)
        assert waits[0] > 0
        assert waits[1:] == [0] * len(waits[1:])


async def test_requests_before_the_readers_run_are_served(autojump_clock: MockClock) -> None:
    blocks = Blocks({}, Catchup())
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            assert (await blocks.get(ORDERS, 0, 0, VALUE)).records == 1_024
            nursery.cancel_scope.cancel()

        await wait_all_tasks_blocked()
        nursery.start_soon(blocks.run)


async def test_formats_are_different_blocks(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        value, json = await both(at(blocks, 0, VALUE), at(blocks, 0, JSON))
        assert (value.format, json.format) == (VALUE, JSON)
        assert blocks.statistics().read_records == 1_024


async def test_who_is_cancelled_is_no_longer_wanted(autojump_clock: MockClock, readers: list[TaskReader]) -> None:
    async with running() as blocks:
        with trio.move_on_after(1.5 * BLOCK_SECONDS):
            await both(*(at(blocks, offset) for offset in range(0, 10_000, 100)))
        await trio.sleep(1)
        assert blocks.statistics().waiting == 0
        assert sum(len(reader.blocks) for reader in readers) <= 3
        assert (await blocks.get(ORDERS, 0, 9_000, VALUE)).start == 8_192


async def test_at_the_end_there_is_an_empty_block(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        block = await blocks.get(ORDERS, 0, 10_000, JSON)
        assert (block.start, block.next, block.records, block.format) == (10_000, 10_000, 0, JSON)
        assert (await blocks.get(ORDERS, 0, 9_999, JSON)).next == 10_000


async def test_what_retention_took_is_gone(autojump_clock: MockClock, log: PlainLog) -> None:
    log.retain(5_000)
    async with running() as blocks:
        with pytest.raises(Gone) as gone:
            await blocks.get(ORDERS, 0, 4_999, VALUE)
        assert gone.value.beginning == 5_000
        assert (await blocks.get(ORDERS, 0, 5_000, VALUE)).start == 5_000


async def test_what_the_log_never_had_is_beyond(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        with pytest.raises(Beyond) as beyond:
            await blocks.get(ORDERS, 0, 10_001, VALUE)
        assert beyond.value.end == 10_000


def failing(log: PlainLog, unknown: bool = False) -> None:
    run: Any = None
    log.failing = Failed(run, "nobody is there", unknown)


async def test_without_an_answer_it_is_unavailable_and_the_others_are_served(
    autojump_clock: MockClock, log: PlainLog
) -> None:
    failing(log)
    async with running(Catchup(readers=1)) as blocks:
        begun = trio.current_time()
        with pytest.raises(KafkaUnavailable, match="nobody is there"):
            await blocks.get(ORDERS, 0, 0, VALUE)
        assert trio.current_time() - begun == ANSWER_SECONDS


async def test_it_is_unavailable_although_other_partitions_are_read_all_the_time(
    autojump_clock: MockClock, log: PlainLog
) -> None:
    failing(log)
    async with running(Catchup(readers=1, cache_bytes=1)) as blocks, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def replay() -> None:
            while True:
                for offset in range(0, 10_000, 1_024):
                    await blocks.get(ORDERS, 1, offset, VALUE)
                    await trio.sleep(0.5)

        with pytest.raises(KafkaUnavailable, match="nobody is there"):
            await blocks.get(ORDERS, 0, 0, VALUE)
        nursery.cancel_scope.cancel()


async def test_a_reader_that_says_nothing_is_unavailable_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskReader, "step", lambda self: None)
    async with running() as blocks:
        with pytest.raises(KafkaUnavailable, match="no broker answers"):
            await blocks.get(ORDERS, 0, 0, VALUE)


async def test_an_impatient_request_fails_at_once_and_asks_again_five_seconds_later(
    autojump_clock: MockClock, log: PlainLog, readers: list[TaskReader]
) -> None:
    """Others need not wait for a partition that is known not to answer, and it is not asked again for each of them."""
    failing(log)
    async with running(Catchup(readers=1)) as blocks:
        asked = []
        for pause in (0, 0, BELIEVED_SECONDS - 1, 2):
            await trio.sleep(pause)
            begun, seeks = trio.current_time(), readers[0].seeks
            with pytest.raises(KafkaUnavailable, match="nobody is there"):
                await blocks.get(ORDERS, 0, 0, VALUE, patient=False)
            asked.append(readers[0].seeks - seeks)
            assert trio.current_time() - begun < 2 * BLOCK_SECONDS
        assert asked == [1, 0, 0, 1]
        log.failing = None
        await trio.sleep(BELIEVED_SECONDS)
        assert (await blocks.get(ORDERS, 0, 0, VALUE, patient=False)).start == 0


async def test_a_topic_is_unknown_only_after_a_while(autojump_clock: MockClock, log: PlainLog) -> None:
    failing(log, unknown=True)
    async with running() as blocks:
        begun = trio.current_time()
        with pytest.raises(UnknownTopic):
            await blocks.get(ORDERS, 0, 0, VALUE)
        assert 4.5 <= trio.current_time() - begun <= 6


async def test_trouble_is_told_once_and_its_end_too(autojump_clock: MockClock, log: PlainLog) -> None:
    failing(log)
    with capture_logs() as lines:
        async with running() as blocks, trio.open_nursery() as nursery:
            nursery.start_soon(at(blocks, 0))
            await trio.sleep(3)
            log.failing = None
    assert [line["event"] for line in lines] == ["cannot read back", "reading back again"]


async def test_a_forgotten_topic_fails_its_requests_and_revokes_its_blocks(
    autojump_clock: MockClock,
) -> None:
    async with running() as blocks:
        await blocks.get(ORDERS, 0, 0, VALUE)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                with pytest.raises(UnknownTopic):
                    await blocks.get(ORDERS, 0, 8_000, VALUE)

            await trio.sleep(BLOCK_SECONDS / 2)
            blocks.forget("orders")
        await trio.sleep(1)  # what is under way comes too late
        seen = blocks.statistics()
        assert (seen.blocks, seen.memory_bytes, seen.waiting) == (0, 0, 0)
        assert seen.readers == ("", "", "", "")
        again = Source("orders", 2, ORDERS.encoder)
        TaskReader.logs[Partition("orders", 2, 0)] = PlainLog(5)
        assert (await blocks.get(again, 0, 0, VALUE)).next == 5


async def test_a_ceiling_holds_for_all_readers_together(autojump_clock: MockClock) -> None:
    async with running(Catchup(bytes_per_second=102_400)) as blocks:  # a block of the readers here

        async def replay(partition: int) -> None:
            offset = 0
            while offset < 10_000:
                offset = (await blocks.get(ORDERS, partition, offset, VALUE)).next

        begun = trio.current_time()
        await both(*(lambda partition=each: replay(partition) for each in range(4)))
        assert 35 <= trio.current_time() - begun <= 42
        assert blocks.statistics().read_bytes == 4_000_000


async def test_who_is_held_back_by_the_ceiling_is_not_refused(autojump_clock: MockClock) -> None:
    async with running(Catchup(bytes_per_second=2_560)) as blocks:
        await blocks.get(ORDERS, 0, 0, VALUE)
        begun = trio.current_time()
        assert (await blocks.get(ORDERS, 1, 0, VALUE)).records == 1_024
        assert trio.current_time() - begun > 3 * ANSWER_SECONDS


async def test_memory_is_bounded_and_who_reads_an_evicted_block_is_told(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []

    class Outlet:
        def __init__(self, start: int) -> None:
            self.start = start

        def wake(self) -> None:
            woken.append(self.start)

    class Watched(Stretch):
        def revoke(self) -> list[Any]:
            return [Outlet(self.start)]

    monkeypatch.setattr("tailrace.core.cutting.Stretch", Watched)
    async with running(Catchup(cache_bytes=100_000)) as blocks:
        for offset in range(0, 9_000, 1_024):
            block = await blocks.get(ORDERS, 0, offset, VALUE)
            assert blocks.statistics().memory_bytes <= max(100_000, block.memory_bytes + 1_000)
        assert woken == sorted(woken)
        assert woken[0] == 0


async def test_a_block_evicted_before_its_reader_ran_is_kept_again(log: PlainLog) -> None:
    """What somebody reads counts as memory."""
    blocks, found = Blocks({}, Catchup(cache_bytes=1)), []
    run = Run(Partition("orders", 1, 0), 0, Plan(4_096, 1024, frozenset({VALUE})), ORDERS.encoder)
    reader = PlainReader(TaskReader.logs)
    reader.wanted = run
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            found.append(await blocks.get(ORDERS, 0, 0, VALUE))

        await wait_all_tasks_blocked()
        for event in (reader.step(), reader.step()):
            assert event is not None
            blocks.happened(None, event)
    assert found[0].start == 0
    assert await blocks.get(ORDERS, 0, 0, VALUE) is found[0]
    assert blocks.statistics().blocks == 1


async def test_what_a_replaced_run_tells_moves_nobody(autojump_clock: MockClock, readers: list[TaskReader]) -> None:
    async with running(Catchup(readers=1)) as blocks:
        with trio.move_on_after(BLOCK_SECONDS / 2):
            await blocks.get(ORDERS, 0, 9_990, VALUE)  # the end of the log is on its way
        assert (await blocks.get(ORDERS, 0, 0, VALUE)).start == 0
        await trio.sleep(1)
        assert readers[0].seeks == 2


async def test_what_the_readers_count_is_added_to_the_encoder(autojump_clock: MockClock) -> None:
    source = Source("orders", 1, Encoder("orders", "json", max_record_bytes=10))
    async with running() as blocks:
        await blocks.get(source, 0, 0, JSON)
        assert source.encoder.too_large == 1_024
        await blocks.get(source, 0, 0, JSON)
        assert source.encoder.too_large == 1_024


async def test_a_record_that_cannot_be_encoded_is_logged(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainRecord, "timestamp", None)
    with capture_logs() as lines:
        async with running() as blocks:
            assert (await blocks.get(ORDERS, 0, 0, JSON)).records == 1_024
    first = next(line for line in lines if line["log_level"] == "error")
    assert (first["event"], first["offset"]) == ("a record could not be encoded", 0)


async def test_a_crash_of_a_reader_comes_out_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Event | None:
        raise ZeroDivisionError

    monkeypatch.setattr(TaskReader, "step", broken)
    with pytest.raises(ExceptionGroup) as crash:
        async with running() as blocks:
            await blocks.get(ORDERS, 0, 0, VALUE)
    assert crash.group_contains(ZeroDivisionError, depth=None)


def test_what_all_readers_have_under_way_fits_into_half_the_cache() -> None:
    windows = {size: blocks_module._window(Catchup(cache_bytes=size)) for size in (1, 4 * 2**20, 8 * 2**20, 64 * 2**20)}
    assert windows == {1: 1, 4 * 2**20: 2, 8 * 2**20: 4, 64 * 2**20: 4}
    assert blocks_module._window(Catchup(bytes_per_second=1)) == 1


# ------------------------------------------------------------------------------------ asked for without a task


async def told_of(answers: list[Any], count: int = 1) -> None:
    while len(answers) < count:  # noqa: ASYNC110  the clock jumps
        await trio.sleep(BLOCK_SECONDS)


async def test_who_asks_is_told_when_the_block_comes(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        answers: list[Any] = []
        blocks.ask(ORDERS, 0, 5, VALUE, answers.append)
        assert (answers, blocks.statistics().waiting, blocks.statistics().misses) == ([], 1, 1)
        await told_of(answers)
        block = answers[0].unwrap()
        assert (block.start, blocks.statistics().waiting) == (0, 0)
        assert blocks.found(ORDERS, 0, 5, VALUE) is block
        await trio.sleep(2 * ANSWER_SECONDS)
        assert len(answers) == 1


async def test_who_is_told_may_ask_for_the_next(autojump_clock: MockClock) -> None:
    async with running() as blocks:
        ends: list[int] = []

        def told(answer: Any) -> None:
            ends.append(answer.unwrap().next)
            blocks.ask(ORDERS, 0, ends[-1], VALUE, told) if ends[-1] < 10_000 else None

        blocks.ask(ORDERS, 0, 0, VALUE, told)
        await told_of(ends, 10)
        assert ends == [*range(1_024, 10_000, 1_024), 10_000]


async def test_who_has_withdrawn_is_not_told_nor_wanted(autojump_clock: MockClock, readers: list[TaskReader]) -> None:
    async with running() as blocks:
        answers: list[Any] = []
        requests = [blocks.ask(ORDERS, 0, offset, VALUE, answers.append) for offset in range(0, 10_000, 1_024)]
        for request in requests[1:]:
            blocks.withdraw(request)
            blocks.withdraw(request)
        await trio.sleep(1)
        assert (len(answers), blocks.statistics().waiting) == (1, 0)
        assert sum(len(reader.blocks) for reader in readers) <= 2
        blocks.withdraw(requests[0])


async def test_who_is_withdrawn_by_another_that_is_told_is_not_told(autojump_clock: MockClock) -> None:
    """Of two that wait for the same block: being told, one closes the other."""
    async with running() as blocks:
        answers: list[int] = []

        def told(number: int) -> Callable[[object], None]:
            def tell(_: object) -> None:
                answers.append(number)
                blocks.withdraw(requests[1 - number])

            return tell

        requests = [blocks.ask(ORDERS, 0, 5, VALUE, told(number)) for number in range(2)]
        await trio.sleep(1)
        assert len(answers) == 1


async def test_who_asks_in_vain_is_told_as_soon_as_it_is_known(autojump_clock: MockClock, log: PlainLog) -> None:
    failing(log)
    async with running(Catchup(readers=1)) as blocks:
        begun, answers = trio.current_time(), list[Any]()
        blocks.ask(ORDERS, 0, 0, VALUE, answers.append)
        await told_of(answers)
        assert trio.current_time() - begun < ANSWER_SECONDS
        with pytest.raises(KafkaUnavailable, match="nobody is there"):
            answers[0].unwrap()
        with pytest.raises(KafkaUnavailable, match="nobody is there"):
            blocks.ask(ORDERS, 0, 0, VALUE, answers.append)
        assert blocks.statistics().waiting == 0


async def test_each_waits_its_own_time(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One task looks after all of them."""
    monkeypatch.setattr(TaskReader, "step", lambda self: None)
    async with running() as blocks:
        begun, told = trio.current_time(), list[float]()
        for pause in (0, 3, 4):
            await trio.sleep(pause)
            blocks.ask(ORDERS, 0, 0, VALUE, lambda _: told.append(trio.current_time() - begun))
        await trio.sleep(2 * ANSWER_SECONDS)
        blocks.ask(ORDERS, 0, 0, VALUE, lambda _: told.append(trio.current_time() - begun))
        await trio.sleep(2 * ANSWER_SECONDS)
        assert [round(each, 6) for each in told] == [10, 13, 17, 37]
