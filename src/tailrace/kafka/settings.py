"""The settings of every librdkafka client: the gateway's defaults, the user's on top, what must not change last.

Rules: the user's settings pass through as they stand, except the keys of `REASONS`, whose value the promises of the
protocol hang on; naming one of those is a fault at configuration time, never overridden in silence. Callbacks and the
logger are not settings: each client adds its own.
"""

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, Producer

from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.trouble import trouble

Value = str | int | float | bool
Settings = dict[str, Value]

_COMMON: Settings = {
    "client.id": "tailrace",
    # The defaults wait up to 10 s between attempts: readiness has to follow the brokers within 10 s.
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 1_000,
    "socket.connection.setup.timeout.ms": 5_000,
    "socket.keepalive.enable": True,
    # Brokers close idle connections (10 min): normal, and not worth a line.
    "log.connection.close": False,
}

_CONSUMER: Settings = {
    # Per partition. 64 MiB by default: a paused or slow gateway would keep that much of every partition in memory.
    "queued.max.messages.kbytes": 4_096,
    # 1 s by default: how long a partition is left alone once its queue was full.
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 100,
    # A broker has one fetch of ours at a time, so a topic that opens waits for the one that finds nothing: up to
    # 0.5 s by default. 100 ms cost 0.17 % of a core with nothing to do, 500 ms 0.11 %, 50 ms 0.32 % (measured).
    "fetch.wait.max.ms": 100,
}

_LIVE: Settings = {
    # For the metrics: lag, queues, brokers. Of 1,000 partitions they are 0.7 MB of JSON, decoded in 1.3 ms (measured).
    "statistics.interval.ms": 5_000,
}

# Not the user's to set: what is wanted of catch-up is known block by block, and anything fetched beyond is for nothing.
_READER: Settings = {
    # The next fetch is sent when the last record of the one before is taken: by default 100,000 records ahead.
    "queued.min.messages": 1,
    "queued.max.messages.kbytes": 1_024,
    # A broker cuts off the last batch where this ends, and it is sent again; but what is left of a fetch when nobody
    # wants more is read for nothing too. 1,000 resumes among the last 10,000 records of 200 bytes received 1.2 times
    # their bytes with batches of 16 and 64 KiB, 1.5 times with 150 KB; with 256 KiB 1.2 and 2.2 times, with 1 MiB 1.4.
    "fetch.message.max.bytes": 512 * 1024,
    "fetch.queue.backoff.ms": 2,
    # Only a partition that is read to its end has empty fetches, and the end is told after one.
    "fetch.wait.max.ms": 10,
}
_READER_ALIASES = ("max.partition.fetch.bytes",)

_PRODUCER: Settings = {
    "linger.ms": 1,
    # A key's partition is the one that Kafka's Java clients choose; librdkafka's own default hashes otherwise.
    "partitioner": "murmur2_random",
    # 5 min by default: how long a partition that was added is not written to.
    "topic.metadata.refresh.interval.ms": 30_000,
}

_FIXED_CONSUMER: Settings = {
    # Needed for syntax only: without subscribe() and commits no broker ever hears of it.
    "group.id": "tailrace",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # An offset that is gone becomes an error event instead of a silent jump.
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
_FIXED_ADMIN: Settings = {"allow.auto.create.topics": False}
_FIXED_PRODUCER: Settings = {
    "acks": "all",
    # A retry neither repeats a record nor changes the order.
    "enable.idempotence": True,
    "allow.auto.create.topics": False,
}
_NOWHERE: Settings = {"bootstrap.servers": ""}

_NO_GROUP = "the gateway reads without a consumer group"
_OFFSETS = "the gateway keeps its own offsets"
_ACKED = "a publish is answered only once the brokers hold it"
_TIMEOUT = "publish.timeout says how long a record is tried"
_CODE = "takes code, not a value"
REASONS: dict[str, str] = {
    "group.id": _NO_GROUP,
    "group.instance.id": _NO_GROUP,
    "group.protocol": _NO_GROUP,
    "group.remote.assignor": _NO_GROUP,
    "partition.assignment.strategy": _NO_GROUP,
    "enable.auto.commit": _OFFSETS,
    "auto.commit.enable": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "auto.offset.reset": "a hole in the log must be named, not jumped over",
    "isolation.level": "a record is shown only once it is committed",
    "enable.partition.eof": "the gateway follows control records by it",
    "allow.auto.create.topics": "asking for a topic must not create it",
    "acks": _ACKED,
    "request.required.acks": _ACKED,
    "delivery.report.only.error": _ACKED,
    "enable.idempotence": "a retry must neither repeat a record nor change the order",
    "message.timeout.ms": _TIMEOUT,
    "delivery.timeout.ms": _TIMEOUT,
    "transactional.id": "publishes are single records",
    "test.mock.num.brokers": "that is `tailrace demo`",
    "log.queue": "the gateway takes librdkafka's lines itself",
    "log_cb": _CODE,
    "logger": _CODE,
    "error_cb": _CODE,
    "stats_cb": _CODE,
    "throttle_cb": _CODE,
    "oauth_cb": _CODE,
    "on_commit": _CODE,
    "on_delivery": _CODE,
    "default.topic.config": "is deprecated: set the topic's settings directly",
}


def consumer(kafka: Mapping[str, Value]) -> Settings:
    """The settings of a consumer that is assigned partitions by hand and never commits."""
    return _layered(_COMMON | _CONSUMER | _LIVE, kafka, _FIXED_CONSUMER)


def reader(kafka: Mapping[str, Value]) -> Settings:
    """The settings of a consumer that reads stretches of the log back: how much it fetches ahead is the gateway's."""
    own = {key: value for key, value in kafka.items() if key not in _READER_ALIASES}
    return _layered(_COMMON | _CONSUMER, own, _READER | _FIXED_CONSUMER)


def admin(kafka: Mapping[str, Value]) -> Settings:
    """The settings of the client that asks for metadata, offsets and configurations."""
    return _layered(_COMMON, kafka, _FIXED_ADMIN)


def producer(kafka: Mapping[str, Value], timeout_seconds: float) -> Settings:
    """The settings of the producer behind `publish`: idempotent, acknowledged by every in-sync replica, a record given
    up after so many seconds."""
    return _layered(_COMMON | _PRODUCER, kafka, _FIXED_PRODUCER | {"message.timeout.ms": round(timeout_seconds * 1000)})


def faults(kafka: Mapping[str, Value], *, publishes: bool = False) -> tuple[str, ...]:
    """What is wrong with the user's settings, each line beginning with its key; contacts no broker.

    librdkafka itself is asked about names, values and files (certificates). It tells one fault at a time: it is asked
    again without the key that it named. publishes: as settings of a producer too, which it holds against one another.
    """
    found = [f'"{key}" cannot be set: {REASONS[key]}' for key in kafka if key in REASONS]
    left = {key: value for key, value in kafka.items() if key not in REASONS}
    while text := _fault(left, publishes):
        named = next((key for key in left if f'"{key}"' in text), None)
        if named is not None or not found:  # else it may be that a key is missed which only we took away
            found.append(text)
        if named is None:
            break
        del left[named]
    return tuple(found)


def _fault(kafka: Mapping[str, Value], publishes: bool) -> str:
    """The first that librdkafka finds; "" when there is none."""
    try:
        # Without brokers: the client is built, checked and closed, and connects to nobody.
        Consumer(_layered(_CONSUMER, kafka, _FIXED_CONSUMER | _NOWHERE), logger=BrokerLog()).close()
        if publishes:
            Producer(_layered(_PRODUCER, kafka, _FIXED_PRODUCER | _NOWHERE), logger=BrokerLog())
    except KafkaException as error:
        return trouble(error).text
    return ""


def _layered(defaults: Settings, kafka: Mapping[str, Value], fixed: Settings) -> Settings:
    return {key: _spelled(value) for key, value in {**defaults, **kafka, **fixed}.items()}


def _spelled(value: Value) -> Value:
    """librdkafka's spelling: the binding would write a bool as `True`."""
    return str(value).lower() if isinstance(value, bool) else value
