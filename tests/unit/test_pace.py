"""How fast a client may talk, by a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.pace import (
    COMMANDS_BURST_SECONDS,
    INCOMING_BURST_SECONDS,
    LASTING_SECONDS,
    SCAN_TICK_SECONDS,
    SCANNED_BLOCKS_PER_SECOND,
    SCANNED_BURST_SECONDS,
    Bucket,
    CommandPace,
    Incoming,
    IncomingRates,
    ScanPace,
)

steps = st.lists(st.tuples(st.integers(0, 500), st.floats(0, 5)), max_size=60)


@given(st.integers(1, 1000), st.floats(0.1, 20), steps)
def test_who_waits_as_told_keeps_to_the_rate(rate: int, burst_seconds: float, steps: list[tuple[int, float]]) -> None:
    """In every stretch of time at most the burst, the rate, and the last thing that was read."""
    bucket, now, taken = Bucket(rate, burst_seconds, 0.0), 0.0, []
    for count, pause in steps:
        now += pause
        taken.append((now, count))
        now += bucket.take(count, now)
    for begin in range(len(taken)):
        total = sum(count for _, count in taken[begin:-1])
        stretch = taken[-1][0] - taken[begin][0] if taken else 0.0
        assert total <= rate * (burst_seconds + stretch) * (1 + 1e-9) + 1e-6


@given(st.integers(1, 1000), steps)
def test_who_keeps_to_the_rate_never_waits(rate: int, steps: list[tuple[int, float]]) -> None:
    bucket, now = Bucket(rate, 1.0, 0.0), 0.0
    for count, _ in steps:
        count = min(count, rate)
        now += count / rate
        assert bucket.take(count, now) < 1e-6


@given(steps)
def test_no_bound(steps: list[tuple[int, float]]) -> None:
    bucket = Bucket(None, 1.0, 0.0)
    assert not any(bucket.take(count * 1000, at) for count, at in steps)


def flood(pace: CommandPace, begin: float, end: float) -> tuple[int, int, float]:
    """As many as are read: those looked at, those refused, and when it ended."""
    now, looked_at, refused = begin, 0, 0
    while now < end:
        now += pace.take(now)
        refused += pace.lasts(now)
        looked_at += not pace.lasts(now)
    return looked_at, refused, now


def test_a_burst_then_the_rate_then_refused() -> None:
    pace = CommandPace(100, 0.0)
    assert not any(pace.take(0.0) for _ in range(round(100 * COMMANDS_BURST_SECONDS)))
    assert pace.take(0.0) == pytest.approx(0.01)
    looked_at, refused, now = flood(pace, 0.01, LASTING_SECONDS - 0.1)
    assert looked_at == pytest.approx(990, abs=5)
    assert refused == 0
    looked_at, refused, now = flood(pace, now, 20.0)
    assert looked_at == pytest.approx(10, abs=5)
    assert refused == pytest.approx(1000, abs=5)
    now += 0.05  # a pause: it is heard again
    assert pace.take(now) == 0
    assert not pace.lasts(now)


def test_a_client_at_its_rate_is_never_refused() -> None:
    pace = CommandPace(100, 0.0)
    for number in range(10_000):
        now = number / 99
        pace.take(now)
        assert not pace.lasts(now)


def test_no_bound_for_commands() -> None:
    pace = CommandPace(None, 0.0)
    assert flood(pace, 0.0, 0.0) == (0, 0, 0.0)
    assert not any(pace.take(0.0) or pace.lasts(0.0) for _ in range(10_000))


def test_frames_and_bytes_each_have_their_bound() -> None:
    incoming = Incoming(IncomingRates(10, 1000), 0.0)
    burst = round(10 * INCOMING_BURST_SECONDS)
    assert incoming.take(burst, 100, 0.0) == 0
    assert incoming.take(burst + 5, 110, 0.0) == pytest.approx(0.5)
    assert incoming.take(burst + 5, 110, 1.0) == 0
    assert incoming.take(burst + 5, 110 + 4000, 2.0) == pytest.approx(2.0)
    assert Incoming(IncomingRates(None, None), 0.0).take(10**9, 10**12, 0.0) == 0


def scan(records: int, delivered: int) -> tuple[int, list[float]]:
    """Five seconds of it, by one who waits as told: how many blocks, and when it went on after a wait."""
    pace, now, blocks, woken = ScanPace(0.0), 0.0, 0, []
    while now < 5:
        blocks += 1
        if wait := pace.take(records, delivered, now):
            now += wait
            woken.append(now)
        elif delivered and records == delivered:  # at a pace of its own, or five seconds would never pass
            now += 0.001
    return blocks, woken


@pytest.mark.parametrize(("records", "delivered", "share"), [(1024, 0, 1.0), (0, 0, 1.0), (1024, 512, 0.5)])
def test_what_is_looked_through_in_vain_has_a_rate(records: int, delivered: int, share: float) -> None:
    """By the share of the records that was not wanted; a block without any is looked through too."""
    blocks, woken = scan(records, delivered)
    assert blocks * share == pytest.approx(SCANNED_BLOCKS_PER_SECOND * (SCANNED_BURST_SECONDS + 5), rel=0.02)
    ticks = [at / SCAN_TICK_SECONDS for at in woken]
    assert ticks == pytest.approx([round(tick) for tick in ticks]), "the loop is woken between"


def test_what_is_wanted_is_read_without_a_wait() -> None:
    """All of a block; more than its records come when partitions that catch up apart are sent meanwhile."""
    assert scan(1024, 1024) == (5000, [])
    assert not any(ScanPace(0.0).take(1, 2, 0.0) for _ in range(10_000))
