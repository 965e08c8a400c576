"""A leak of the binding's, mended: it keeps a reference to the id of every topic that it describes.

Open topics are looked at every 2 s; an id takes 112 bytes, which for 1,000 topics are 5 GB a day (confluent-kafka
2.16.1, measured). Only the reference that nobody can have is dropped: an id has one holder, its description, and a
binding without the fault leaves none to drop.
"""

import ctypes
import sys
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Uuid


class _Described:
    """An id that is held once."""

    def __init__(self) -> None:
        self.topic_id = Uuid(0, 0)


def _references(described: Any) -> int:
    return sys.getrefcount(described.topic_id)


_HELD_ONCE = _references(_Described())
_drop = ctypes.pythonapi.Py_DecRef  # with the GIL held
_drop.argtypes, _drop.restype = [ctypes.py_object], None


def release_topic_id(answered: Future[Any]) -> None:
    """For `add_done_callback` of a topic's description: before anybody else has looked at it."""
    if answered.cancelled() or answered.exception() is not None:
        return
    described = answered.result()
    if type(described.topic_id) is Uuid and _references(described) == _HELD_ONCE + 1:
        _drop(described.topic_id)
