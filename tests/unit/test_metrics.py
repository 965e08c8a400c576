"""Snapshots of numbers: their text, several processes' as one, and the document that describes each of them."""

import re
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tailrace.core.histogram import Histogram
from tailrace.metrics.exposition import exposition
from tailrace.metrics.families import FAMILIES, Kind
from tailrace.metrics.snapshot import Snapshot, merged

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def shown(snapshot: Snapshot) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of the text form, by name and sorted labels."""
    families = text_string_to_metric_families(exposition(snapshot).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def full() -> Snapshot:
    """One sample of every family."""
    snapshot = Snapshot()
    for family in FAMILIES.values():
        if family.kind is Kind.HISTOGRAM:
            snapshot.put_histogram(family.name, Histogram([1.0, 2.0]), *family.labels)
        else:
            snapshot.put(family.name, 1, *family.labels)
    return snapshot


def test_every_family_is_shown_under_its_name_and_kind() -> None:
    families = {each.name: each for each in text_string_to_metric_families(exposition(full()).decode())}
    for family in FAMILIES.values():
        found = families[family.name.removesuffix("_total")]
        assert found.type == family.kind.value
        assert found.documentation == family.help
        assert found.samples


def test_names_say_what_they_are() -> None:
    for family in FAMILIES.values():
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert re.fullmatch(r"(tailrace|process)_[a-z_]+", family.name)


@pytest.mark.parametrize(
    "name",
    [
        "tailrace_connections",
        "tailrace_connections_closed_total",
        "tailrace_subscriptions",
        "tailrace_records_consumed_total",
        "tailrace_records_delivered_total",
        "tailrace_bytes_sent_total",
        "tailrace_consumer_lag_records",
        "tailrace_end_to_end_seconds",
        "tailrace_gaps_total",
        "tailrace_tail_bytes",
        "tailrace_catchup_bytes_total",
        "tailrace_draining",
        "tailrace_build_info",
    ],
)
def test_a_name_that_dashboards_rely_on_is_there(name: str) -> None:
    assert name in FAMILIES


def test_the_document_names_every_metric_with_its_kind_and_labels() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \|([^|]*)\|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert told == {family.name: (family.kind.value, family.labels) for family in FAMILIES.values()}
    assert [name for name, _, _ in rows] == list(FAMILIES), "in the order of families.py"


def test_a_histogram_is_cumulative() -> None:
    histogram = Histogram([0.1, 1.0])
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    snapshot = Snapshot()
    snapshot.put_histogram("tailrace_loop_delay_seconds", histogram)
    seen = shown(snapshot)
    assert [seen["tailrace_loop_delay_seconds_bucket", (("le", le),)] for le in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert seen["tailrace_loop_delay_seconds_count", ()] == 4
    assert seen["tailrace_loop_delay_seconds_sum", ()] == pytest.approx(7.65)


def test_a_label_is_escaped() -> None:
    snapshot = Snapshot()
    snapshot.put("tailrace_connections_closed_total", 1, "1000", 'a "word"\nforged 1')
    assert b"\nforged" not in exposition(snapshot)
    assert shown(snapshot) == {
        ("tailrace_connections_closed_total", (("code", "1000"), ("reason", 'a "word"\nforged 1'))): 1
    }


@pytest.mark.parametrize("labels", [(), ("orders", "live", "more")])
def test_wrong_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="tailrace_subscriptions has the labels"):
        Snapshot().put("tailrace_subscriptions", 1, *labels)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        Snapshot().put("tailrace_nonsense", 1)


# ------------------------------------------------------------------------------------------------- of several processes


def worker(deliveries: int, lag: int, seconds: float) -> Snapshot:
    """As a worker hands it to its parent: through bytes."""
    snapshot = Snapshot()
    snapshot.put("tailrace_records_delivered_total", deliveries, "orders")
    snapshot.put("tailrace_consumer_lag_records", lag, "orders", "0")
    histogram = Histogram([0.1, 1.0])
    histogram.observe(seconds, deliveries)
    snapshot.put_histogram("tailrace_end_to_end_seconds", histogram, "orders")
    return msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot)


def test_counters_add_up_and_what_all_see_is_the_most_of_it() -> None:
    whole = merged([worker(3, 10, 0.05), worker(4, 7, 0.5)])
    assert whole.value("tailrace_records_delivered_total", "orders") == 7
    assert whole.value("tailrace_consumer_lag_records", "orders", "0") == 10
    [delay] = whole.distributions["tailrace_end_to_end_seconds"]
    assert delay.counts == (3, 4, 0)
    assert delay.total == pytest.approx(0.15 + 2.0)


def test_a_series_that_only_one_process_has_is_kept() -> None:
    only = Snapshot()
    only.put("tailrace_gaps_total", 2, "prices", "slow")
    assert merged([worker(1, 0, 0.1), only]).value("tailrace_gaps_total", "prices", "slow") == 2


def test_merging_changes_none_of_them() -> None:
    one, other = worker(1, 0, 0.1), worker(2, 0, 0.1)
    merged([one, other])
    assert (one, other) == (worker(1, 0, 0.1), worker(2, 0, 0.1))


def test_the_merger_of_nothing_is_nothing() -> None:
    assert merged([]) == Snapshot()
