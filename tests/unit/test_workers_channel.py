"""Messages between parent and worker, over memory streams."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from tailrace.config import Auth, Config, KafkaValue, Limits, Rule, Section, Topic
from tailrace.workers.channel import Channel
from tailrace.workers.messages import Again, Ask, FromParent, FromWorker, Listening, Start, Told, pack

KAFKA: dict[str, KafkaValue] = {"bootstrap.servers": "a:1", "fetch.wait.max.ms": 5, "socket.keepalive.enable": True}
CONFIG = Config(
    kafka=KAFKA,
    topics={"orders.*": Topic(replay=False), "b": Topic(replay=86400.0), "c": Topic(value="text", publish=True)},
    limits=Limits(max_fragments=None, ping_interval=3.0),
    auth=Auth(mode="jwt", secret="s", algorithms=("HS256",)),
    rules=(Rule(topics=("a",), allow=("subscribe",), claims={"role": ["x", 1]}, keys=("${claims.tenant}",)),),
)


@pytest.mark.parametrize(
    ("message", "type_"),
    [
        (Start(3, CONFIG, (4, 5)), FromParent),
        (Again(CONFIG), FromParent),
        (Ask(1, "/connections?limit=5"), FromParent),
        (Listening(), FromWorker),
        (Told(1, 200, b"\x00{}", "application/json"), FromWorker),
    ],
)
async def test_a_message_arrives_as_it_was_sent(message: Any, type_: Any) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await Channel(ours, FromParent).send(message)
    assert await Channel(theirs, type_).receive() == message


async def test_many_at_once_stay_whole() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    sender: Channel[Any] = Channel(ours, FromParent)
    receiver: Channel[Told] = Channel(theirs, FromWorker)
    messages = [Told(number, 200, bytes([number]) * number * 1000, "a/b") for number in range(20)]
    async with trio.open_nursery() as nursery:
        for message in messages:
            nursery.start_soon(sender.send, message)
        found = [await receiver.receive() for _ in messages]
    assert sorted(found, key=lambda told: told.id if told else -1) == messages


async def close(stream: trio.abc.Stream) -> None:
    await stream.aclose()


async def close_within_a_message(stream: trio.abc.Stream) -> None:
    await stream.send_all(pack(Ask(1, "/readyz"))[:-1])
    await stream.aclose()


async def close_within_a_length(stream: trio.abc.Stream) -> None:
    await stream.send_all(b"\0\0")
    await stream.aclose()


@pytest.mark.parametrize("leave", [close, close_within_a_message, close_within_a_length])
async def test_the_other_ends_end(leave: Callable[[trio.abc.Stream], Any]) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await leave(theirs)
    assert await Channel(ours, FromParent).receive() is None


async def test_sending_to_nobody_is_no_error() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    await Channel(ours, FromParent).send(Listening())
    await ours.aclose()
    await Channel(ours, FromParent).send(Listening())


def test_every_section_survives_the_way() -> None:
    """A field of a type that MessagePack does not bring back would make workers differ from their configuration."""
    for section in Section.__subclasses__():
        if not msgspec.structs.fields(section)[0].required:
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(section()), type=section) == section()
