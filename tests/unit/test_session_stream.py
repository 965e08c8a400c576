"""stream: what a `/topics` client is told, in either format."""

import pytest

from tailrace.core.actions import Action, End, Send
from tailrace.core.lifecycle import LifecycleError
from tailrace.core.protocol import Closing, Format, Gap, Live, PositionMessage, Subscribed
from tailrace.core.stream import Stream
from tailrace.disconnect import GAP, SHUTDOWN, TOPIC_DELETED, UNSUPPORTED_DATA

HOLE = Gap(0, "orders", 0, 5, 9, 9, "retention")


def opened(stream: Stream, live: bool = True) -> list[Action]:
    return stream.opened("orders", "t1", None, {0: 5, 1: 5}, live)


def test_records_come_with_the_messages_of_id_0() -> None:
    stream = Stream(Format.RECORD)
    assert opened(stream) == [Send(Subscribed(0, "orders", "t1", None, {0: 5, 1: 5})), Send(Live(0))]
    assert stream.position({0: 5, 1: 6}) == [Send(PositionMessage(0, {1: 6}))]
    assert stream.position({0: 5, 1: 6}) == []
    assert stream.gap(HOLE, started=True) == [Send(HOLE)]
    assert stream.closing(TOPIC_DELETED, None, {0: 9, 1: 6}) == [
        Send(PositionMessage(0, {0: 9})),
        Send(Closing(4503, "topic_deleted", None)),
    ]


def test_live_is_told_once_with_what_moved_before() -> None:
    stream = Stream(Format.RECORD)
    assert len(opened(stream, live=False)) == 1
    assert stream.live({0: 9, 1: 5}) == [Send(PositionMessage(0, {0: 9})), Send(Live(0))]
    with pytest.raises(LifecycleError):
        stream.live({0: 9, 1: 5})


def test_values_come_alone() -> None:
    stream = Stream(Format.VALUE)
    assert opened(stream, live=False) == []
    assert stream.gap(HOLE, started=False) == []
    assert stream.live({0: 9, 1: 5}) == []
    assert stream.position({0: 10, 1: 5}) == []
    assert stream.closing(SHUTDOWN, 1500, {0: 11, 1: 5}) == []


def test_a_hole_after_the_first_value_ends_the_stream() -> None:
    stream = Stream(Format.VALUE)
    opened(stream)
    assert stream.gap(HOLE, started=True) == [End(GAP)]


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("data", ["", "hello", b"\x00"])
def test_a_stream_takes_no_messages(format: Format, data: str | bytes) -> None:
    stream = Stream(format)
    opened(stream)
    assert stream.receive(data) == [End(UNSUPPORTED_DATA)]
    stream.closing(UNSUPPORTED_DATA)
    assert stream.receive(data) == []


def test_closing_is_said_once() -> None:
    stream = Stream(Format.RECORD)
    assert stream.closing(SHUTDOWN, 5) == [Send(Closing(4000, "shutdown", 5))]
    assert stream.closing(SHUTDOWN, 5) == []
