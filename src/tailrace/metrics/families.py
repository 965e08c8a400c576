"""Every metric there is: its name is a promise to dashboards, its text what `/metrics` and docs/metrics.md say of it.

Rules: names that end in `_total` only rise while a process lives; sizes are bytes, times seconds. Labels are few:
topics (bounded by `admin.metrics_topics`), and words of the code; never a client, a subject, a key.
"""

from enum import Enum
from typing import Final

import msgspec


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """What several processes' values of the same series come to."""

    SUM = "sum"
    MOST = "most"  # they all see the same thing, each at its own moment


class Family(msgspec.Struct, frozen=True):
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM


def _counter(name: str, help: str, *labels: str) -> Family:
    return Family(f"tailrace_{name}", Kind.COUNTER, help, labels)


def _gauge(name: str, help: str, *labels: str, merge: Merge = Merge.SUM) -> Family:
    return Family(f"tailrace_{name}", Kind.GAUGE, help, labels, merge)


def _histogram(name: str, help: str, *labels: str) -> Family:
    return Family(f"tailrace_{name}", Kind.HISTOGRAM, help, labels)


_CLIENTS: Final = (
    _gauge("connections", "WebSocket connections that are open"),
    _counter("handshakes_total", "Handshakes answered with 101", "endpoint"),
    _counter("handshakes_refused_total", "Requests on the public listener answered with an error", "code"),
    _counter("connections_closed_total", "Connections that ended", "code", "reason"),
    _counter("commands_refused_total", "Commands answered with an error", "code"),
    _gauge("newcomers", "Connections that were accepted, and neither let in nor answered"),
    _counter("newcomers_let_go_total", "Newcomers closed unheard, since they kept the gateway waiting", "reason"),
    _counter("throttled_total", "Times a client that was too fast was left unread for a while", "what"),
    _counter("auth_failures_total", "Credentials missing, not good, or not in time, wherever they came"),
    _counter("tokens_total", "Tokens judged: accepted, unjudged for want of keys, or refused, by reason", "outcome"),
    _counter("key_fetches_total", "Fetches of the keys at auth.jwks_url", "outcome"),
    _counter("bytes_sent_total", "Bytes sent on WebSocket connections, answers to handshakes too"),
    _gauge("waiting_bytes", "Bytes committed to connections that the kernel has not taken"),
)
_TOPICS: Final = (
    _gauge("open_topics", "Topics that are being read"),
    _gauge("subscriptions", "Subscriptions: live, behind (in memory), catching_up (read back)", "topic", "state"),
    _counter("records_consumed_total", "Records taken from Kafka at the live end", "topic"),
    _counter("records_delivered_total", "Records sent, counted for each subscription", "topic"),
    _counter("record_bytes_sent_total", "Bytes of records sent, with their frames", "topic"),
    _histogram("end_to_end_seconds", "From a record's timestamp to the socket of a live subscriber", "topic"),
    _gauge(
        "consumer_lag_records",
        "Committed offsets of a partition that are not in memory yet",
        "topic",
        "partition",
        merge=Merge.MOST,
    ),
    _counter("gaps_total", "Gaps told to subscriptions", "topic", "reason"),
    _counter("fallen_behind_total", "Subscriptions that fell out of memory and were read back", "topic"),
    _counter(
        "slow_actions_total", "Slow subscriptions that skipped to the end, or whose connection was closed", "policy"
    ),
    _counter("records_not_json_total", 'Values that were not JSON in a topic with value = "json"', "topic"),
    _counter("records_too_large_total", "Records above limits.max_record_bytes, once for each format", "topic"),
)
_PUBLISHING: Final = (
    _counter("publishes_total", "Publishes, by how they ended", "outcome"),
    _histogram("publish_seconds", "From a publish that was read to Kafka's acknowledgement"),
    _gauge("publishes_waiting", "Publishes that were read and that Kafka has not reported on"),
    _gauge("publish_bytes", "Memory of records on their way to Kafka"),
)
_MEMORY: Final = (
    _gauge("tail_bytes", "Memory of recent records, all topics"),
    _gauge("tail_limit_bytes", "tail.max_bytes"),
    _gauge("backlog_bytes", "Values that wait to be encoded"),
    _gauge("catchup_cache_bytes", "Memory of blocks read back"),
    _gauge("snapshot_bytes", "Memory of snapshots"),
)
_CATCHUP: Final = (
    _counter("catchup_hits_total", "Blocks that were in the cache when a subscription wanted them"),
    _counter("catchup_misses_total", "Blocks that were not, and were waited for"),
    _counter("catchup_bytes_total", "Bytes of values read back from Kafka"),
    _counter("catchup_records_total", "Records read back from Kafka"),
    _gauge("catchup_waiting", "Subscriptions that wait for a block"),
    _counter("snapshot_scans_total", "Times a topic was read for a snapshot"),
    _counter("snapshot_records_total", "Records read for snapshots"),
)
_LOOP: Final = (
    _counter("encode_seconds_total", "Time of the event loop for encoding records"),
    _counter("fanout_seconds_total", "Time of the event loop for sending them to live subscribers"),
    _histogram("loop_delay_seconds", "How late the event loop came to a timer"),
)
_KAFKA: Final = (
    _gauge("kafka_ready", "1 while a broker answers", merge=Merge.MOST),
    _gauge("kafka_unreadable_partitions", "Partitions of wanted topics without a leader", merge=Merge.MOST),
    _gauge("kafka_brokers_up", "Brokers the live consumer is connected to", merge=Merge.MOST),
    _gauge("kafka_throttle_seconds", "How long brokers held our requests back for a quota", merge=Merge.MOST),
    _counter("kafka_received_bytes_total", "Bytes the live consumer received from brokers"),
    _counter("kafka_request_errors_total", "Requests of the live consumer that failed or timed out"),
    _gauge("kafka_queued_records", "Records in librdkafka's queues at the live end"),
    _gauge("kafka_queued_bytes", "Bytes in them"),
)
_PROCESS: Final = (
    _gauge("draining", "1 from SIGTERM on", merge=Merge.MOST),
    _gauge("build_info", "Always 1", "version", "python", "librdkafka", merge=Merge.MOST),
    Family("process_cpu_seconds_total", Kind.COUNTER, "User and system time"),
    Family("process_resident_memory_bytes", Kind.GAUGE, "Resident memory"),
    Family("process_open_fds", Kind.GAUGE, "Open file descriptors"),
    Family("process_max_fds", Kind.GAUGE, "The limit of open file descriptors", merge=Merge.MOST),
)

_PARTS: Final = (_CLIENTS, _TOPICS, _PUBLISHING, _MEMORY, _CATCHUP, _LOOP, _KAFKA, _PROCESS)
FAMILIES: Final[dict[str, Family]] = {family.name: family for part in _PARTS for family in part}
"""By name, in the order of the document."""
