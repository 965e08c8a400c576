"""kafka/topic_ids: the one reference too many is dropped, and none but that."""

import ctypes
import sys
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, Uuid

from tailrace.kafka.topic_ids import release_topic_id

_keep = ctypes.pythonapi.Py_IncRef
_keep.argtypes, _keep.restype = [ctypes.py_object], None


class Described:
    def __init__(self, topic_id: Any) -> None:
        self.topic_id = topic_id


def answered(described: Described) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(described)
    return future


def references(described: Described) -> int:
    return sys.getrefcount(described.topic_id)


def test_an_id_that_is_kept_by_nobody_is_let_go() -> None:
    described = Described(Uuid(1, 2))
    sound = references(described)
    _keep(described.topic_id)
    release_topic_id(answered(described))
    assert references(described) == sound


def test_what_is_no_id_of_the_bindings_stays() -> None:
    """A fake's, or another version's: held here too, which looks like the fault."""
    topic_id = "".join(["x"] * 99)
    described = Described(topic_id)
    before = references(described)
    release_topic_id(answered(described))
    assert references(described) == before


def test_an_id_without_a_fault_stays() -> None:
    described = Described(Uuid(1, 2))
    before = references(described)
    release_topic_id(answered(described))
    assert references(described) == before
    assert described.topic_id.get_least_significant_bits() == 2


def test_no_description_is_no_fault() -> None:
    failed: Future[Any] = Future()
    failed.set_exception(KafkaException("no such topic"))
    release_topic_id(failed)
    gone: Future[Any] = Future()
    gone.cancel()
    release_topic_id(gone)
