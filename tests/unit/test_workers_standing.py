"""What several workers are together: a table of cases."""

from typing import Any

import pytest

from tailrace.workers.standing import Standing, together


def worker(number: int, **fields: Any) -> Standing:
    return Standing(number, **({"pid": 100 + number} | fields))


def ready(number: int) -> Standing:
    return worker(number, told={"ready": True, "reason": ""}, settled=True)


def unready(number: int, reason: str, settled: bool = True) -> Standing:
    return worker(number, told={"ready": False, "reason": reason}, settled=settled)


def dead(number: int, looping: bool = False) -> Standing:
    return worker(number, pid=None, died="exit code 1", looping=looping)


@pytest.mark.parametrize(
    ("standings", "is_ready", "reason"),
    [
        ([ready(1), ready(2)], True, ""),
        ([ready(1), unready(2, "no broker")], False, "worker 2: no broker"),
        ([ready(1), dead(2)], True, ""),
        ([ready(1), worker(2)], True, ""),
        ([ready(1), unready(2, "not asked yet", settled=False)], True, ""),
        ([ready(1), unready(2, "draining")], True, ""),
        ([ready(1), dead(2, looping=True)], False, "worker 2: dies again and again: exit code 1"),
        ([worker(1), worker(2)], False, "worker 1: is starting"),
        ([dead(1), worker(2)], False, "worker 1: is being replaced: exit code 1"),
        ([unready(1, "no broker", settled=False), dead(2)], False, "worker 1: no broker"),
        ([unready(1, "draining"), dead(2)], False, "worker 1: draining"),
    ],
)
def test_together(standings: list[Standing], is_ready: bool, reason: str) -> None:
    found = together(standings, draining=False)
    assert (found.ready, found.reason) == (is_ready, reason)


def test_who_drains_is_not_ready() -> None:
    assert together([ready(1)], draining=True).reason == "draining"


def test_each_is_told_with_what_it_says_itself() -> None:
    more = worker(2, told={"ready": True, "reason": "", "partitions": ["orders/3"]}, settled=True)
    assert together([dead(1), more], draining=False).details == {
        "workers": [
            {"worker": 1, "pid": None, "ready": False, "reason": "is being replaced: exit code 1"},
            {"worker": 2, "pid": 102, "ready": True, "reason": "", "partitions": ["orders/3"]},
        ]
    }
