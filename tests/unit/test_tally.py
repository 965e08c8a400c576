"""client.tally, client.latency and client.bench_report: what is found out about records, and what is said of it."""

import pytest
from msgspec import Raw, json

from tailrace.client.bench_report import Report, summary
from tailrace.client.latency import Histogram
from tailrace.client.tally import Message, Reader, Tally, stamped

NOW = 1_763_862_162_044_000_000


def record(offset: int, partition: int = 0, value: bytes = b"1", timestamp: int | None = None) -> Message:
    return Message("record", partition=partition, offset=offset, value=Raw(value), timestamp=timestamp)


def reader(tally: Tally, key: str | None = None, **positions: int) -> Reader:
    made = Reader(tally, key)
    made.begin({int(name[1:]): offset for name, offset in positions.items()})
    return made


def feed(one: Reader, *offsets: int, partition: int = 0) -> None:
    for offset in offsets:
        one.record(record(offset, partition), NOW)


def test_what_another_had_is_missing() -> None:
    tally = Tally()
    one, other = reader(tally, p0=5), reader(tally, p0=5)
    feed(one, 5, 6, 8, 9)
    feed(other, 5, 8, 9)
    assert (one.missing(None), other.missing(None)) == (0, 1)


def test_a_hole_that_all_have_is_none() -> None:
    tally = Tally()
    one, other = reader(tally, p0=0), reader(tally, p0=0)
    feed(one, 0, 3)
    feed(other, 0, 3)
    assert one.missing(None) + other.missing(None) == 0


def test_who_was_lost_first_is_found_when_the_others_come() -> None:
    tally = Tally()
    one, other = reader(tally, p0=0), reader(tally, p0=0)
    feed(one, 0, 2)
    feed(other, 0, 1, 2)
    assert (one.missing(None), other.missing(None)) == (1, 0)


def test_who_stopped_is_found_at_the_end_only() -> None:
    tally = Tally()
    one, silent = reader(tally, p0=0, p1=7), reader(tally, p0=0, p1=7)
    feed(one, 0, 1, 2)
    feed(one, 7, partition=1)
    assert silent.missing(None) == 0
    tally.end()
    assert silent.missing(None) == 4
    feed(one, 3)
    assert silent.missing(None) == 4


def test_who_came_later_wants_no_more_than_it_was_told() -> None:
    tally = Tally()
    one, late = reader(tally, p0=0), reader(tally, p0=2)
    feed(one, 0, 1, 2)
    feed(late, 2)
    tally.end()
    assert late.missing(None) == 0


def test_other_keys_are_no_measure() -> None:
    tally = Tally()
    one, other = reader(tally, "a", p0=0), reader(tally, "b", p0=0)
    feed(one, 0, 1)
    feed(other, 2)
    tally.end()
    assert one.missing(None) + other.missing(None) == 0


@pytest.mark.parametrize("offsets", [(1, 1), (2, 1)])
def test_what_does_not_rise_is_counted(offsets: tuple[int, int]) -> None:
    tally = Tally()
    feed(reader(tally, p0=0), *offsets)
    assert tally.disordered == 1


def test_partitions_are_apart() -> None:
    tally = Tally()
    one = reader(tally, p0=0, p1=0)
    feed(one, 5)
    feed(one, 5, partition=1)
    assert tally.disordered == 0


def test_of_its_own_records_all_that_were_acknowledged_are_wanted() -> None:
    tally = Tally("ab")
    keyed, whole = reader(tally, "k", p0=0), reader(tally, p0=0)
    mine = stamped("ab", NOW - 2_000_000, 200)
    assert len(mine) == 200
    for one in (keyed, whole):
        one.record(record(0, value=mine), NOW)
        one.record(record(1, value=b'{"run":"other"}'), NOW)
    assert (keyed.missing({"k": 2, "l": 1}), whole.missing({"k": 2, "l": 1})) == (1, 2)
    assert tally.latency.count == 2
    assert tally.latency.largest == 2_000_000


def test_without_a_run_the_latency_is_from_the_timestamp() -> None:
    tally = Tally()
    reader(tally).record(record(0, timestamp=NOW // 1_000_000 - 5), NOW)
    assert tally.latency.largest == 5_000_000


def test_what_is_counted_begins_anew_and_what_is_checked_does_not() -> None:
    tally = Tally()
    one, other = reader(tally, p0=0), reader(tally, p0=0)
    feed(one, 0, 1)
    feed(other, 1)
    tally.begin()
    assert (tally.records, tally.latency.count, other.missing(None)) == (0, 0, 1)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999, 1.0])
def test_percentiles_are_right_to_a_bucket(share: float) -> None:
    histogram = Histogram()
    for value in range(1, 100_001):
        histogram.add(value * 1000)
    assert histogram.percentile(share) == pytest.approx(share * 1e8, rel=0.016)


def test_a_histogram_of_nothing() -> None:
    assert Histogram().percentile(0.99) == 0


def test_a_negative_latency_counts_as_none() -> None:
    histogram = Histogram()
    histogram.add(-5)
    assert (histogram.count, histogram.percentile(1)) == (1, 0)


def report(tally: Tally, ready: int = 2, missing: int = 0, busy: float = 0.1) -> Report:
    return Report.of(
        tally,
        connections=2,
        ready=ready,
        connect_seconds=0.1,
        seconds=2.0,
        client_busy=busy,
        missing=missing,
        produced=None,
        failed=0,
    )


def test_of_no_record_no_latency_is_told() -> None:
    """Zeros would read as a very good one."""
    assert "latency      not measured: no record came" in summary(report(Tally())).splitlines()


def test_a_report_holds_when_all_is_there() -> None:
    assert report(Tally()).holds
    assert summary(report(Tally())).endswith("\nall there")


def test_a_report_does_not_hold_otherwise() -> None:
    disordered, gap, refused = Tally(), Tally(), Tally()
    disordered.disordered = 1
    gap.gaps.append("partition 0, from 5: retention")
    refused.refuse("closed with 4001 slow")
    found = [report(Tally(), ready=1), report(Tally(), missing=1), *map(report, (disordered, gap, refused))]
    assert not any(one.holds for one in found)
    assert "ended        1 connections: closed with 4001 slow" in summary(found[-1])
    assert "gap          partition 0, from 5: retention" in summary(found[-2])


def test_a_busy_client_says_so() -> None:
    assert "beware" in summary(report(Tally(), busy=0.9))
    assert "beware" not in summary(report(Tally(), busy=0.5))


def test_a_report_is_json() -> None:
    assert json.decode(json.encode(report(Tally())))["p99_ms"] == 0
