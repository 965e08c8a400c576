"""The C functions of librdkafka that its Python binding leaves out, called through ctypes.

Why: nothing in the binding ends a `consume()` that waits (other calls queue up behind it), so commands to the poll
thread would wait for its timeout, or the timeout be short: 10 ms cost 1 % of a core for nothing (measured). And the
mock cluster makes topics of a chosen number of partitions only in C.

The client's `rd_kafka_t *` is the first field of the binding's object, the error callback the second (its `Handle`,
so since 2015). The first is believed only when the second is the callback that we gave: under another layout nothing
is called, `Doorbell.works` is False, and the poll thread falls back to a short timeout.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import cimpl

ErrorCallback = Callable[[Any], None]

# The binding's own module: symbols are looked up in it and in the librdkafka it was linked with.
_library = ctypes.CDLL(cimpl.__file__)
_library_with_gil = ctypes.PyDLL(cimpl.__file__)


def c_function(name: str, result: Any, *arguments: Any, library: ctypes.CDLL = _library) -> Any:
    """A function of librdkafka by its C name and types."""
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function


_get_consumer_queue = c_function("rd_kafka_queue_get_consumer", ctypes.c_void_p, ctypes.c_void_p)
_get_main_queue = c_function("rd_kafka_queue_get_main", ctypes.c_void_p, ctypes.c_void_p)
_yield_queue = c_function("rd_kafka_queue_yield", None, ctypes.c_void_p)
# Takes a lock for as long as it takes to read a number: giving up the GIL for that may cost a wait for it.
_queue_length = c_function("rd_kafka_queue_length", ctypes.c_size_t, ctypes.c_void_p, library=_library_with_gil)
_destroy_queue = c_function("rd_kafka_queue_destroy", None, ctypes.c_void_p)
_mock_cluster = c_function("rd_kafka_handle_mock_cluster", ctypes.c_void_p, ctypes.c_void_p)
_mock_topic_create = c_function(
    "rd_kafka_mock_topic_create", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int
)


def librdkafka_version() -> str:
    """Of the library in use."""
    return cimpl.libversion()[0]


class Doorbell:
    """Ends the `consume()` that a consumer waits in (polls: the `poll()` of a producer), or the next one, from any
    thread (0.07 ms, measured)."""

    def __init__(self, client: object, error_callback: ErrorCallback, *, polls: bool = False) -> None:
        pointer = handle(client, error_callback)
        get_queue = _get_main_queue if polls else _get_consumer_queue
        self._lock = threading.Lock()
        self._queue: int | None = get_queue(pointer) if pointer else None

    @property
    def works(self) -> bool:
        return self._queue is not None

    @property
    def more(self) -> bool:
        """Whether something waits in the client's queue; True when that cannot be told. For the thread that closes."""
        return self._queue is None or _queue_length(self._queue) > 0

    def ring(self) -> None:
        """Lost on nobody: librdkafka remembers it until the next wait."""
        with self._lock:
            if self._queue is not None:
                _yield_queue(self._queue)

    def close(self) -> None:
        """Before the client is closed; `ring` does nothing from then on."""
        with self._lock:
            queue, self._queue = self._queue, None
            if queue is not None:
                _destroy_queue(queue)


def create_mock_topic(client: object, error_callback: ErrorCallback, name: str, partitions: int) -> bool:
    """Creates a topic in the mock cluster that lives in `client`; False when that is not possible or it is there."""
    pointer = handle(client, error_callback)
    cluster = _mock_cluster(pointer) if pointer else None
    return cluster is not None and _mock_topic_create(cluster, name.encode(), partitions, 1) == 0


def handle(client: object, error_callback: ErrorCallback) -> int | None:
    """The `rd_kafka_t *` of a client built with this very error callback; None when it is not where it should be."""
    fields = (ctypes.c_void_p * 2).from_address(id(client) + object.__basicsize__)
    return fields[0] if fields[1] == id(error_callback) else None
