"""From a thread to a task: order, the wait when there is no room, the bell, the ends."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tailrace.kafka.hand_off import HandOff

SECONDS = 60


class Thread:
    """A thread that gives 0, 1, 2, ..."""

    def __init__(self, hand_off: HandOff[int], total: int) -> None:
        self._hand_off = hand_off
        self._total = total
        self.given = 0

    async def run(self) -> None:
        await trio.to_thread.run_sync(self._work)

    def _work(self) -> None:
        for item in range(self._total):
            self._hand_off.give(item)
            self.given += 1


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(SECONDS):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.001)


@pytest.mark.parametrize("room", [0, 1, 5])
async def test_everything_comes_in_order(room: int) -> None:
    hand_off = HandOff[int](room)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Thread(hand_off, 2000).run)
        with trio.fail_after(SECONDS):
            assert [await hand_off.receive() for _ in range(2000)] == list(range(2000))


async def test_the_thread_waits_while_there_is_no_room() -> None:
    hand_off = HandOff[int](2)
    thread = Thread(hand_off, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.run)
        await until(lambda: hand_off._thread_waits)
        assert thread.given == 2
        assert not hand_off.ready
        assert await hand_off.receive() == 0
        await until(lambda: thread.given == 3)
        assert [await hand_off.receive() for _ in range(99)] == list(range(1, 100))
        assert hand_off.ready


async def test_what_is_there_is_taken_without_waiting() -> None:
    hand_off = HandOff[int](3)
    await Thread(hand_off, 2).run()
    assert [hand_off.receive_nowait(), hand_off.receive_nowait()] == [0, 1]
    with pytest.raises(trio.WouldBlock):
        hand_off.receive_nowait()


async def test_nobody_waits_inside_the_channel() -> None:
    """So that the thread touches no more of it than a deque: `send_nowait` would else wake a task from the thread."""
    hand_off = HandOff[int](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_off.receive)
        await wait_all_tasks_blocked()
        assert hand_off._receive.statistics().tasks_waiting_receive == 0
        nursery.start_soon(Thread(hand_off, 3).run)
        await until(lambda: hand_off._thread_waits)
        assert hand_off._receive.statistics().tasks_waiting_send == 0
        hand_off.end()


async def test_a_receiver_that_waits_is_woken_and_only_such_a_one_is() -> None:
    hand_off = HandOff[int](3)
    await Thread(hand_off, 1).run()
    with pytest.raises(BlockingIOError):  # the bell was not rung
        os.eventfd_read(hand_off._bell)
    assert await hand_off.receive() == 0
    got: list[int] = []

    async def receive() -> None:
        got.append(await hand_off.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await Thread(hand_off, 1).run()
        await until(lambda: got == [0])


async def test_receiving_what_is_there_lets_others_run() -> None:
    hand_off = HandOff[int](1)
    hand_off.give(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await hand_off.receive()
    assert scope.cancelled_caught
    assert hand_off.receive_nowait() == 1


async def test_a_bell_for_what_was_taken_already_is_no_item() -> None:
    """It rings between the receiver's look and its wait: the item is taken at once, and the ring is left over."""
    hand_off = HandOff[int](1)
    hand_off._ring()
    with trio.move_on_after(0.05):
        await hand_off.receive()
        raise AssertionError
    hand_off.give(7)
    with trio.fail_after(SECONDS):
        assert await hand_off.receive() == 7


async def test_a_cancelled_receiver_loses_nothing() -> None:
    hand_off = HandOff[int](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_off.receive)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    hand_off.give(1)
    assert await hand_off.receive() == 1


async def test_the_end_comes_behind_what_is_there() -> None:
    hand_off = HandOff[int](2)
    hand_off.give(1)
    hand_off.end()
    assert await hand_off.receive() == 1
    with pytest.raises(trio.EndOfChannel):
        await hand_off.receive()


async def test_the_end_wakes_a_receiver_that_waits() -> None:
    hand_off = HandOff[int](1)
    with trio.fail_after(SECONDS), pytest.RaisesGroup(trio.EndOfChannel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_off.receive)
            await wait_all_tasks_blocked()
            hand_off.end()


async def test_the_end_releases_a_thread_that_waits_for_room() -> None:
    hand_off = HandOff[int](1)
    thread = threading.Thread(target=lambda: [hand_off.give(item) for item in range(5)])
    thread.start()
    await until(lambda: hand_off._thread_waits)
    hand_off.end()
    await trio.to_thread.run_sync(thread.join, SECONDS)
    assert not thread.is_alive()


def eventfd(descriptor: int) -> str | None:
    """Which one it is: its number may have been given to another file meanwhile, by any thread of the process."""
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line for line in lines if line.startswith("eventfd-id:")), None)


def test_the_descriptor_is_given_back() -> None:
    hand_off = HandOff[int](1)
    bell = hand_off._bell
    before = eventfd(bell)
    assert before is not None
    del hand_off
    assert eventfd(bell) != before


async def test_an_item_that_was_put_down_and_not_counted_yet() -> None:
    """The receiver comes between the thread's two steps: it waits, and is woken as ever."""
    hand_off = HandOff[int](2)
    hand_off._send.send_nowait(1)
    with pytest.raises(trio.WouldBlock):
        hand_off.receive_nowait()
    got: list[int] = []

    async def receive() -> None:
        got.append(await hand_off.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        hand_off._given += 1
        hand_off._ring()
        await until(lambda: got == [1])
