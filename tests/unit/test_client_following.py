"""client.following: what is kept, printed and told, and what the end of a connection means."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.client.following import Event, Following, Leave, Line, Over, Say, Told, Wait
from tailrace.client.target import read_target

STREAM = "ws://here/topics/orders"


def following(url: str = STREAM, chance: float = 1.0, **options: Any) -> Following:
    topic = "orders" if url.endswith("/ws") else None
    return Following(read_target(url, topic, **options), lambda: chance)


def hear(client: Following, type: str, **fields: Any) -> list[Event]:
    """A message, everything about it done."""
    fields = {name.rstrip("_"): value for name, value in fields.items()}
    events = client.receive(json.dumps({"type": type, "id": 1, **fields}))
    for event in events:
        client.had(event)
    return events


def subscribed(client: Following, positions: dict[int, int], topic_id: str | None = "t1") -> list[Event]:
    return hear(client, "subscribed", topic="orders", topic_id=topic_id, compacted=None, positions=positions)


def record(client: Following, offset: int, partition: int = 0) -> list[Event]:
    return hear(client, "record", topic="orders", partition=partition, offset=offset, value=1)


def gap(client: Following, next: int, partition: int = 0, **fields: Any) -> list[Event]:
    known = {"from_": 5, "to": 9, "reason": "retention"} | fields
    return hear(client, "gap", topic="orders", partition=partition, next=next, **known)


# --- what is kept (docs/protocol.md, 4.3) ---


def test_a_stream_continues_at_what_was_had() -> None:
    client = following(f"{STREAM}?from=last:3")
    assert client.url == f"{STREAM}?from=last:3"
    assert client.place is None
    subscribed(client, {0: 10, 1: 20})
    record(client, 14)
    hear(client, "position", positions={0: 12, 1: 31})
    assert client.url == f"{STREAM}?from=offsets:0=15,1=31"
    assert client.place == "offsets:0=15,1=31"


def test_a_subscription_is_asked_for_after_the_welcome_and_continues() -> None:
    client = following("ws://here/ws")
    [say] = hear(client, "welcome", server="x")
    assert isinstance(say, Say)
    assert json.loads(say.text)["from"] == "latest"
    subscribed(client, {0: 10})
    record(client, 10)
    [say] = hear(client, "welcome", server="x")
    assert isinstance(say, Say)
    assert json.loads(say.text)["from"] == {"offsets": {"0": 11}, "topic_id": "t1"}


def test_a_record_counts_only_once_it_is_printed() -> None:
    client = following()
    subscribed(client, {0: 10})
    [line] = client.receive('{"type":"record","partition":0,"offset":10,"value":1}')
    assert isinstance(line, Line)
    assert client.place == "offsets:0=10"
    client.had(line)
    assert client.place == "offsets:0=11"


def test_a_gap_is_told_and_may_go_back() -> None:
    client = following()
    subscribed(client, {0: 10})
    told, _ = gap(client, 5, from_=5, to=10, reason="truncated")
    assert told == Told("gap (truncated): partition 0, 5 to 9; goes on at 5")
    assert client.place == "offsets:0=5"


def test_a_gap_of_unknown_size_or_reason_is_told_as_it_came() -> None:
    client = following()
    subscribed(client, {0: 10})
    told, _ = gap(client, 3, from_=10, to=None, reason="novelty", weather="fine")
    assert told == Told("gap (novelty): partition 0, from 10 on; goes on at 3")


def test_a_recreated_topic_begins_a_new_vector() -> None:
    client = following()
    subscribed(client, {0: 10, 1: 20})
    gap(client, 0, from_=10, to=None, reason="topic_recreated", topic_id="t2")
    assert client.place == "offsets:0=0"


def test_a_topic_recreated_between_two_connections_is_found_by_its_id_on_a_stream() -> None:
    """The URL could not say of which topic the offsets were: they may all exist in the new one."""
    client = following()
    subscribed(client, {0: 10})
    [leave] = subscribed(client, {0: 10}, topic_id="t2")
    assert isinstance(leave, Leave)
    assert isinstance(client.left(leave), Wait)
    assert client.url == f"{STREAM}?from=earliest"
    subscribed(client, {0: 0}, topic_id="t2")
    assert client.place == "offsets:0=0"


@pytest.mark.parametrize("message", ['{"type":"novelty"}', '{"type":"live","id":0}', '{"type":"__init__"}', "{}"])
def test_what_it_does_not_know_is_ignored(message: str) -> None:
    assert following().receive(message) == []


@pytest.mark.parametrize("message", ["", "hello", "[1]", '{"type":"record"}', b"\xff", '{"type":[1]}'])
def test_what_is_no_message_ends_it(message: str | bytes) -> None:
    client = following()
    [leave] = client.receive(message)
    assert isinstance(leave, Leave)
    assert isinstance(client.left(leave), Over)


# --- how it ends ---


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 4000, 4001, 4499])
def test_codes_after_which_it_comes_back(code: int) -> None:
    assert following().lost(code, "why", 1) == Wait(0.5, f"closed with {code} why; trying again in 0.5 s")


@pytest.mark.parametrize("code", [1002, 1003, 1008, 4500, 4503, 4999])
def test_codes_after_which_it_does_not(code: int) -> None:
    assert following().lost(code, "why", 1) == Over(f"closed with {code} why", failed=True)


def test_a_normal_end_is_no_failure() -> None:
    assert following().lost(1000, "", 1) == Over("closed with 1000", failed=False)


def test_the_gateways_wish_is_obeyed_once() -> None:
    client = following()
    hear(client, "closing", code=4000, reason="shutdown", retry_after_ms=12_345)
    assert client.lost(4000, "shutdown", 1) == Wait(12.345, "closed with 4000 shutdown; trying again in 12.3 s")
    hear(client, "closing", code=4001, reason="slow", retry_after_ms=None)
    assert client.lost(4001, "slow", 1) == Wait(1.0, "closed with 4001 slow; trying again in 1.0 s")


def test_when_only_the_close_frame_got_lost_closing_says_what_it_was() -> None:
    client = following()
    hear(client, "closing", code=4500, reason="unauthenticated", retry_after_ms=None)
    assert client.lost(1006, "", 1) == Over("closed with 4500 unauthenticated")


def test_a_wish_of_the_last_connection_is_not_obeyed_in_the_next() -> None:
    client = following()
    hear(client, "closing", code=4000, reason="shutdown", retry_after_ms=60_000)
    client.lost(4000, "shutdown", 1)
    verdict = client.lost(1006, "", 1)
    assert verdict == Wait(1.0, "closed with 1006; trying again in 1.0 s")


def test_a_close_frame_goes_before_what_closing_said() -> None:
    client = following()
    hear(client, "closing", code=4000, reason="shutdown", retry_after_ms=1)
    assert client.lost(4500, "unauthenticated", 1) == Over("closed with 4500 unauthenticated")


def test_back_off_doubles_up_to_20_s_and_half_of_it_is_by_chance() -> None:
    for chance, share in ((0.0, 0.5), (1.0, 1.0)):
        client = following(chance=chance)
        waits = [client.unreachable("refused").seconds for _ in range(8)]
        assert waits == [share * seconds for seconds in (0.5, 1, 2, 4, 8, 16, 20, 20)]


def test_a_connection_that_lasted_starts_anew() -> None:
    client = following()
    for lasted, seconds in ((1, 0.5), (1, 1), (5.1, 0.5)):
        verdict = client.lost(1006, "", lasted)
        assert isinstance(verdict, Wait)
        assert verdict.seconds == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426, 301, 200])
def test_refusals_that_stay(status: int) -> None:
    assert following().refused(status, "no") == Over(f"refused with {status}: no")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_refusals_that_pass(status: int) -> None:
    verdict = following().refused(status, "not now", 7.0)
    assert verdict == Wait(7.0, f"refused with {status}: not now; trying again in 7.0 s")
    shorter = following().refused(status, "not now", 0.0)
    assert isinstance(shorter, Wait)
    assert shorter.seconds == 0.5


@pytest.mark.parametrize("type", ["error", "unsubscribed"])
@pytest.mark.parametrize(("code", "again"), [("kafka_unavailable", True), ("internal", True), ("topic_deleted", False)])
def test_what_the_gateway_refuses_or_ends(type: str, code: str, again: bool) -> None:
    client = following("ws://here/ws")
    [leave] = hear(client, type, code=code, message="why")
    assert leave == Leave(f"{code}: why", again)
    assert isinstance(client.left(leave), Wait if again else Over)


# --- all together: a log, and a gateway that goes away at any moment ---

STEPS = st.lists(st.sampled_from(["record 0", "record 1", "position", "break", "refuse"]), max_size=60)


@given(STEPS)
def test_each_offset_is_printed_once_wherever_connections_break(steps: list[str]) -> None:
    client = following("ws://here/ws", from_="earliest")
    printed: dict[int, list[int]] = {0: [], 1: []}
    next = _connected(client)
    for step in steps:
        if step == "break":
            client.lost(1006, "", 0)
            next = _connected(client)
        elif step == "refuse":
            [leave] = hear(client, "unsubscribed", code="internal", message="")
            assert isinstance(leave, Leave)
            client.left(leave)
            next = _connected(client)
        elif step == "position":
            hear(client, "position", positions=next)
        else:
            partition = int(step[-1])
            [line] = record(client, next[partition], partition)
            assert isinstance(line, Line)
            printed[line.partition].append(line.offset)
            next[partition] += 1
    assert all(offsets == list(range(len(offsets))) for offsets in printed.values())
    assert [len(offsets) for offsets in printed.values()] == [steps.count("record 0"), steps.count("record 1")]


def _connected(client: Following) -> dict[int, int]:
    """A gateway's answer to what the client asks: where it reads in each partition."""
    [say] = hear(client, "welcome")
    assert isinstance(say, Say)
    from_ = json.loads(say.text)["from"]
    named = from_["offsets"] if isinstance(from_, dict) else {}
    next = {partition: named.get(str(partition), 0) for partition in (0, 1)}
    subscribed(client, next)
    return next
