"""A snapshot of all metrics, from counters that the parts keep anyway: nothing is counted for a scrape's sake.

Rules: no look at a subscription (tails count their states), and the loop is given back after every few hundred
connections or topics; what does not need the loop (process numbers, the text) is done in a thread.
"""

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Mapping

import msgspec
import trio

from tailrace import __version__
from tailrace._fanout import sent_bytes
from tailrace.gateway.parts import Parts
from tailrace.gateway.topic import OpenTopic
from tailrace.http.admin import Route
from tailrace.http.answers import Answer
from tailrace.http.head import Head
from tailrace.kafka.native import librdkafka_version
from tailrace.metrics.exposition import CONTENT_TYPE, exposition
from tailrace.metrics.snapshot import Snapshot

CONNECTIONS_AT_ONCE = 500  # 0.1 ms
TOPICS_AT_ONCE = 50

_PAGE_BYTES = resource.getpagesize()


def metrics(parts: Parts) -> Route:
    """The route `/metrics`."""

    async def answer(head: Head) -> Answer:
        snapshot = await collect(parts)
        body = await trio.to_thread.run_sync(exposition, snapshot)
        return Answer(200, body, CONTENT_TYPE, (("Cache-Control", "no-store"),))

    return answer


def numbers(parts: Parts) -> Route:
    """The same as MessagePack, for a parent process that makes one text of several workers' (metrics.snapshot)."""

    async def answer(head: Head) -> Answer:
        return Answer(200, msgspec.msgpack.encode(await collect(parts)), "application/msgpack")

    return answer


async def collect(parts: Parts) -> Snapshot:
    """As of now, give or take the turns that the loop is given meanwhile."""
    snapshot = Snapshot()
    await _clients(parts, snapshot)
    await _topics(parts, snapshot)
    _publishing(parts, snapshot)
    _memory(parts, snapshot)
    _catchup(parts, snapshot)
    _kafka(parts, snapshot)
    snapshot.put("tailrace_draining", parts.door.draining)
    await trio.to_thread.run_sync(_process, snapshot)
    return snapshot


async def _clients(parts: Parts, snapshot: Snapshot) -> None:
    counts = parts.topics.counts
    snapshot.put("tailrace_connections", len(parts.door.connections))
    _labelled(snapshot, "tailrace_handshakes_total", counts.handshakes)
    _labelled(snapshot, "tailrace_handshakes_refused_total", counts.refused)
    _labelled(snapshot, "tailrace_commands_refused_total", counts.commands_refused)
    _labelled(snapshot, "tailrace_slow_actions_total", counts.slow)
    _labelled(snapshot, "tailrace_throttled_total", counts.throttled)
    admission = parts.door.admission.statistics()
    snapshot.put("tailrace_newcomers", admission.inside)
    _labelled(snapshot, "tailrace_newcomers_let_go_total", admission.let_go)
    for (code, reason), times in counts.closed.items():
        snapshot.put("tailrace_connections_closed_total", times, code, reason)
    snapshot.put("tailrace_auth_failures_total", counts.auth_failures)
    _tokens(parts, snapshot)
    snapshot.put("tailrace_bytes_sent_total", sent_bytes())
    snapshot.put_histogram("tailrace_loop_delay_seconds", counts.loop_delay)
    waiting = 0
    for number, connection in enumerate(list(parts.door.connections), 1):
        waiting += connection.outlet.line.waiting_bytes
        if number % CONNECTIONS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    snapshot.put("tailrace_waiting_bytes", waiting)


def _tokens(parts: Parts, snapshot: Snapshot) -> None:
    tokens = parts.door.gate.statistics().tokens
    if tokens is None:
        return
    outcomes = {"accepted": tokens.accepted, "unjudged": tokens.unjudged} | tokens.refused
    _labelled(snapshot, "tailrace_tokens_total", outcomes)
    failed = tokens.key_fetch_failures
    _labelled(snapshot, "tailrace_key_fetches_total", {"fetched": tokens.key_fetches - failed, "failed": failed})


def _labelled(snapshot: Snapshot, name: str, counted: Mapping[str, int]) -> None:
    for label, times in counted.items():
        snapshot.put(name, times, str(label))


def _publishing(parts: Parts, snapshot: Snapshot) -> None:
    publishing = parts.door.publishing
    statistics = publishing.statistics()
    for outcome in ("published", "failed", "timed_out", "too_late", "dropped"):
        snapshot.put("tailrace_publishes_total", getattr(statistics, outcome), outcome)
    snapshot.put_histogram("tailrace_publish_seconds", publishing.delay)
    snapshot.put("tailrace_publishes_waiting", statistics.on_their_way)
    snapshot.put("tailrace_publish_bytes", statistics.bytes)


async def _topics(parts: Parts, snapshot: Snapshot) -> None:
    counts = parts.topics.counts
    now: dict[str, Counter[str]] = {}
    for number, topic in enumerate(parts.topics.open, 1):
        _add_tails(topic, now.setdefault(counts.label(topic.name), Counter()))
        if number % TOPICS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    snapshot.put("tailrace_open_topics", len(parts.topics.open))
    for number, label in enumerate(list(counts.topics), 1):
        _topic(snapshot, parts, label, now.get(label, Counter()))
        if number % TOPICS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    for (topic_name, partition), lag in parts.lag.partitions.items():
        if topic_name in counts.topics:
            snapshot.put("tailrace_consumer_lag_records", lag, topic_name, str(partition))
    snapshot.put("tailrace_encode_seconds_total", sum(each.encode_seconds for each in counts.topics.values()))
    snapshot.put("tailrace_fanout_seconds_total", sum(each.fanout_seconds for each in counts.topics.values()))


def _add_tails(topic: OpenTopic, into: Counter[str]) -> None:
    for tail in topic.tails.values():
        into.update(tail.statistics())
    into.update(topic.faults)


def _topic(snapshot: Snapshot, parts: Parts, label: str, now: Counter[str]) -> None:
    """now: what the tails that are open say, all of this label together."""
    traffic = parts.topics.counts.topics[label]
    snapshot.put("tailrace_subscriptions", now["live"] + now["resting"], label, "live")
    snapshot.put("tailrace_subscriptions", now["behind"] - now["resting"], label, "behind")
    snapshot.put("tailrace_subscriptions", now["reading"] + now["dropped"], label, "catching_up")
    snapshot.put("tailrace_records_consumed_total", traffic.consumed, label)
    snapshot.put("tailrace_records_delivered_total", traffic.delivered + now["delivered"], label)
    snapshot.put("tailrace_record_bytes_sent_total", traffic.record_bytes + now["sent_bytes"], label)
    snapshot.put("tailrace_fallen_behind_total", traffic.fallen, label)
    snapshot.put("tailrace_records_not_json_total", traffic.not_json + now["not_json"], label)
    too_large = traffic.too_large + now["too_large"]
    snapshot.put("tailrace_records_too_large_total", too_large, label)
    snapshot.put_histogram("tailrace_end_to_end_seconds", traffic.delay, label)
    for reason, times in traffic.gaps.items():
        snapshot.put("tailrace_gaps_total", times, label, reason)
    if too_large:  # such a gap stands in the blocks that all subscribers share: nobody counts who gets it
        snapshot.put("tailrace_gaps_total", too_large, label, "too_large")


def _memory(parts: Parts, snapshot: Snapshot) -> None:
    seen = parts.statistics()
    snapshot.put("tailrace_tail_bytes", seen.tail_bytes)
    snapshot.put("tailrace_tail_limit_bytes", seen.tail_limit)
    snapshot.put("tailrace_backlog_bytes", seen.backlog_bytes)
    snapshot.put("tailrace_catchup_cache_bytes", seen.cache_bytes)
    snapshot.put("tailrace_snapshot_bytes", seen.snapshot_bytes)


def _catchup(parts: Parts, snapshot: Snapshot) -> None:
    blocks, snapshots = parts.blocks.statistics(), parts.topics.snapshots.statistics()
    snapshot.put("tailrace_catchup_hits_total", blocks.hits)
    snapshot.put("tailrace_catchup_misses_total", blocks.misses)
    snapshot.put("tailrace_catchup_bytes_total", blocks.read_bytes)
    snapshot.put("tailrace_catchup_records_total", blocks.read_records)
    snapshot.put("tailrace_catchup_waiting", blocks.waiting)
    snapshot.put("tailrace_snapshot_scans_total", snapshots.scans)
    snapshot.put("tailrace_snapshot_records_total", snapshots.read_records)


def _kafka(parts: Parts, snapshot: Snapshot) -> None:
    told = parts.lag.kafka
    snapshot.put("tailrace_kafka_ready", parts.health.ready)
    snapshot.put("tailrace_kafka_unreadable_partitions", parts.survey.leaderless)
    snapshot.put("tailrace_kafka_brokers_up", told.brokers_up)
    snapshot.put("tailrace_kafka_throttle_seconds", told.throttle_seconds)
    snapshot.put("tailrace_kafka_received_bytes_total", told.received_bytes)
    snapshot.put("tailrace_kafka_request_errors_total", told.failed_requests)
    snapshot.put("tailrace_kafka_queued_records", told.queued_records)
    snapshot.put("tailrace_kafka_queued_bytes", told.queued_bytes)


def _process(snapshot: Snapshot) -> None:
    """In a thread: a process with a hundred thousand descriptors takes a while to count them."""
    snapshot.put("tailrace_build_info", 1, __version__, platform.python_version(), librdkafka_version())
    snapshot.put("process_cpu_seconds_total", time.process_time())
    with open("/proc/self/statm", encoding="ascii") as statm:
        snapshot.put("process_resident_memory_bytes", int(statm.read().split()[1]) * _PAGE_BYTES)
    snapshot.put("process_open_fds", len(os.listdir("/proc/self/fd")))
    snapshot.put("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
