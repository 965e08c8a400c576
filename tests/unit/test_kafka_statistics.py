"""What is taken of librdkafka's statistics; the text is cut from a real one (2.11)."""

import json
from typing import Any

import msgspec
import pytest

from tailrace.kafka.statistics import Numbers, numbers


def broker(node: int, state: str = "UP", **more: Any) -> dict[str, Any]:
    told = {
        "nodeid": node,
        "state": state,
        "txerrs": 0,
        "rxerrs": 0,
        "req_timeouts": 0,
        "throttle": {"avg": 0, "min": 0},
    }
    return told | more


def partition(end: int, **more: Any) -> dict[str, Any]:
    told = {"fetchq_cnt": 0, "fetchq_size": 0, "ls_offset": end, "hi_offset": end, "consumer_lag": -1}
    return told | more


def test_what_is_taken() -> None:
    text = json.dumps(
        {
            "rx_bytes": 6295,
            "cgrp": {"state": "init"},
            "brokers": {
                "a:9092/1": broker(1, txerrs=1, rxerrs=2, throttle={"avg": 250}),
                "b:9092/2": broker(2, "DOWN", req_timeouts=3),
                "GroupCoordinator": broker(-1),
            },
            "topics": {
                "orders": {
                    "partitions": {
                        "0": partition(50, fetchq_cnt=3, fetchq_size=300),
                        "1": partition(-1001, fetchq_cnt=1, fetchq_size=100),
                        "-1": partition(7),
                    }
                }
            },
        }
    )
    assert numbers(text) == Numbers(
        received_bytes=6295,
        failed_requests=6,
        brokers_up=1,
        throttle_seconds=0.25,
        queued_records=4,
        queued_bytes=400,
        ends={"orders": {0: 50}},
    )


def test_a_consumer_that_has_just_begun() -> None:
    assert numbers('{"brokers":{},"topics":{}}') == Numbers()


@pytest.mark.parametrize("text", ["", "[]", '{"rx_bytes":"many"}'])
def test_what_is_no_statistics_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        numbers(text)
