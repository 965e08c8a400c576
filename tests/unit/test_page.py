"""tailrace.gateway.page: which topics the console offers, when it looks for them, what is kept without an answer."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing

from tailrace.config import Auth, Config, Rule, Topic
from tailrace.errors import KafkaUnavailable
from tailrace.gateway.door import Door
from tailrace.gateway.gate import MOST_OFFERED, Gate, Offer
from tailrace.gateway.page import INTERVAL_SECONDS, RETRY_SECONDS, Page
from tailrace.http.head import Head

SECRET = "a-secret-of-at-least-32-characters"


class Names:
    """A cluster's answers, one after the other, the last one for ever; None: none."""

    def __init__(self, *answers: set[str] | None) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def topics(self) -> frozenset[str]:
        self.asked.append(trio.current_time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise KafkaUnavailable("no broker answers")
        return frozenset(answer)


def topics_of(door: Any) -> list[str]:
    page = door.page.answer(Head("GET", "/", "/", "1.1", (), b"")).body
    config = page.partition(b'id="tailrace-config">')[2].partition(b"</script>")[0]
    return list(msgspec.json.decode(config)["topics"])


def page_of(config: Config, names: Names) -> tuple[Page, Gate, Callable[[], list[str]]]:
    door, gate = SimpleNamespace(page=None), Gate(config)
    page = Page(cast("Door", door), gate, names)
    return page, gate, lambda: topics_of(door)


EVERY = Config(topics={"orders": Topic(), "app.*": Topic(publish=True)})


async def test_patterns_are_looked_up_and_again(autojump_clock: trio.testing.MockClock) -> None:
    names = Names({"app.b", "app.a", "other", "__hidden"}, {"app.c"})
    page, _, shown = page_of(EVERY, names)
    assert shown() == ["orders"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(page.run)
        await trio.testing.wait_all_tasks_blocked()
        assert shown() == ["orders", "app.a", "app.b"]
        await trio.sleep(INTERVAL_SECONDS + 1)
        assert shown() == ["orders", "app.c"]
        nursery.cancel_scope.cancel()
    assert len(names.asked) == 2


async def test_what_was_known_is_kept_while_no_broker_answers(autojump_clock: trio.testing.MockClock) -> None:
    names = Names(None, None, {"app.a"}, None)
    page, _, shown = page_of(EVERY, names)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(page.run)
        await trio.sleep(2 * RETRY_SECONDS + INTERVAL_SECONDS + 1)
        nursery.cancel_scope.cancel()
    assert [round(later - earlier) for earlier, later in zip(names.asked, names.asked[1:], strict=False)] == [2, 2, 30]
    assert shown() == ["orders", "app.a"]


@pytest.mark.parametrize(
    "config",
    [
        Config(topics={"orders": Topic()}),
        Config(topics=EVERY.topics, auth=Auth(mode="jwt", algorithms=("HS256",), secret=SECRET)),
    ],
    ids=["no pattern", "tokens"],
)
async def test_nobody_asks_where_nothing_would_be_told(config: Config, autojump_clock: trio.testing.MockClock) -> None:
    names = Names({"app.a"})
    page, _, _ = page_of(config, names)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(page.run)
        await trio.sleep(INTERVAL_SECONDS)
        nursery.cancel_scope.cancel()
    assert names.asked == []


async def test_a_pattern_that_a_reload_brings_is_looked_up_at_once(autojump_clock: trio.testing.MockClock) -> None:
    page, gate, shown = page_of(Config(topics={"orders": Topic()}), Names({"app.a"}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(page.run)
        await trio.testing.wait_all_tasks_blocked()
        gate.access.exposure.replace({"app.*": Topic()})
        page.reload()
        assert shown() == []
        await trio.testing.wait_all_tasks_blocked()
        assert shown() == ["app.a"]
        nursery.cancel_scope.cancel()


def test_only_what_a_stranger_may_know_is_offered() -> None:
    rules = (Rule(topics=("app.secret",), allow=()), Rule(topics=("app.read",), allow=("subscribe",)))
    gate = Gate(msgspec.structs.replace(EVERY, rules=rules))
    offer = gate.offer({"app.secret", "app.read", "app.both", "elsewhere"})
    assert offer == Offer(("orders", "app.both", "app.read"), ("app.both",), unlisted=True)


def test_an_offer_is_bounded() -> None:
    assert len(Gate(EVERY).offer({f"app.{number}" for number in range(2 * MOST_OFFERED)}).topics) == MOST_OFFERED
