"""What librdkafka's mock cluster can be made to do (rdkafka_mock.h), for tests that want it in trouble.

A partition without a leader crashes it in a fetch: only what nobody reads may lose its leader, else turn a broker off.
"""

import ctypes

from tailrace.kafka.embedded import EmbeddedKafka
from tailrace.kafka.native import c_function, handle

_cluster_of = c_function("rd_kafka_handle_mock_cluster", ctypes.c_void_p, ctypes.c_void_p)
_set_leader = c_function(
    "rd_kafka_mock_partition_set_leader",
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int32,
    ctypes.c_int32,
)
_set_up, _set_down = (
    c_function(f"rd_kafka_mock_broker_set_{state}", ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)
    for state in ("up", "down")
)
_push_errors = c_function(
    "rd_kafka_mock_push_request_errors_array",
    None,
    ctypes.c_void_p,
    ctypes.c_int16,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_int),
)


def set_leader(kafka: EmbeddedKafka, topic: str, partition: int, broker: int | None) -> None:
    """Let this broker lead the partition; None: there is none."""
    assert _set_leader(_cluster(kafka), topic.encode(), partition, -1 if broker is None else broker) == 0


def turn(kafka: EmbeddedKafka, broker: int, *, up: bool) -> None:
    """A broker on or off."""
    assert (_set_up if up else _set_down)(_cluster(kafka), broker) == 0


def push_errors(kafka: EmbeddedKafka, request: int, *errors: int) -> None:
    """The next requests of this kind, as Kafka's protocol numbers them, fail with these."""
    _push_errors(_cluster(kafka), request, len(errors), (ctypes.c_int * len(errors))(*errors))


def _cluster(kafka: EmbeddedKafka) -> int:
    found: int = _cluster_of(handle(kafka._running(), kafka._error_callback))
    assert found
    return found
