"""From a thread into a bounded channel: order, the wait when it is full, the ends."""

import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tailrace.kafka.hand_off import HandOff


class Thread:
    """A thread that gives 0, 1, 2, ... and attends whenever it is woken, as the poll thread does; until cancelled."""

    def __init__(self, send: trio.MemorySendChannel[int], total: int) -> None:
        self._woken = threading.Event()
        self._hand_off = HandOff(send, self._woken.set)
        self._total = total
        self.given = 0

    async def run(self) -> None:
        await trio.to_thread.run_sync(self._work)

    def _work(self) -> None:
        for item in range(self._total):
            self._hand_off.attend()
            self._hand_off.give(item)
            self.given += 1
        while True:
            self._woken.wait(0.01)
            self._hand_off.attend()
            trio.from_thread.check_cancelled()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.001)


@pytest.mark.parametrize("capacity", [0, 1, 5])
async def test_everything_comes_in_order(capacity: int) -> None:
    send, receive = trio.open_memory_channel[int](capacity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Thread(send, 200).run)
        with trio.fail_after(10):
            assert [await receive.receive() for _ in range(200)] == list(range(200))
        nursery.cancel_scope.cancel()


async def test_the_thread_waits_while_the_channel_is_full() -> None:
    send, receive = trio.open_memory_channel[int](2)
    thread = Thread(send, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.run)
        await until(lambda: receive.statistics().tasks_waiting_send == 1)
        assert thread.given == 3, "two in the channel, one refused and waiting"
        assert [await receive.receive() for _ in range(100)] == list(range(100))
        nursery.cancel_scope.cancel()


async def test_the_last_item_does_not_wait_for_another() -> None:
    send, receive = trio.open_memory_channel[int](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Thread(send, 1).run)
        with trio.fail_after(2):
            await until(lambda: receive.statistics().tasks_waiting_send == 1)
            assert await receive.receive() == 0
        nursery.cancel_scope.cancel()


async def test_a_cancelled_run_ends_a_thread_that_waits_for_room() -> None:
    send, receive = trio.open_memory_channel[int](1)
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Thread(send, 100).run)
            await until(lambda: receive.statistics().tasks_waiting_send == 1)
            nursery.cancel_scope.cancel()


async def test_a_receiver_that_is_gone_is_an_error_in_the_thread() -> None:
    send, receive = trio.open_memory_channel[int](1)
    receive.close()
    with pytest.raises(trio.BrokenResourceError):
        await Thread(send, 3).run()


async def test_a_receiver_that_is_gone_at_shutdown_is_not() -> None:
    send, receive = trio.open_memory_channel[int](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Thread(send, 3).run)
        nursery.cancel_scope.cancel()
        receive.close()


async def test_the_thread_is_woken_for_an_item_that_was_refused_and_for_no_other() -> None:
    send, _receive = trio.open_memory_channel[int](1)
    woken: list[str] = []
    hand_off = HandOff(send, lambda: woken.append("woken"))

    async def give_and_look(item: int) -> list[str]:
        await trio.to_thread.run_sync(hand_off.give, item)
        await trio.testing.wait_all_tasks_blocked()
        return woken

    assert await give_and_look(1) == []
    assert await give_and_look(2) == ["woken"]
