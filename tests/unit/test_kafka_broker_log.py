"""librdkafka's lines: rate-limited, counted, never above a warning."""

import logging

import structlog.testing

from tailrace.kafka.broker_log import QUIET_SECONDS, BrokerLog

PATTERN = "%s [%s] %s"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(log: BrokerLog, *kinds: str, text: str = "broker down") -> list[dict[str, object]]:
    with structlog.testing.capture_logs() as caught:
        for kind in kinds:
            log.log(logging.ERROR, PATTERN, kind, "rdkafka#consumer-1", text)
    return [dict(each) for each in caught]


def test_one_line_of_a_kind_and_the_rest_are_counted_in_the_next() -> None:
    clock = Clock()
    log = BrokerLog(clock)
    (first,) = lines(log, *["FAIL"] * 8)
    assert (first["kind"], first["text"]) == ("FAIL", "broker down")
    assert "suppressed" not in first
    clock.now += QUIET_SECONDS
    (second,) = lines(log, *["FAIL"] * 3)
    assert second["suppressed"] == 7


def test_kinds_do_not_silence_each_other() -> None:
    assert [each["kind"] for each in lines(BrokerLog(Clock()), "FAIL", "ERROR", "FAIL")] == ["FAIL", "ERROR"]


def test_a_brokers_trouble_is_a_warning() -> None:
    (line,) = lines(BrokerLog(Clock()), "FAIL")
    assert line["log_level"] == "warning"


def test_a_key_meant_for_another_kind_of_client_is_no_news() -> None:
    text = "Configuration property group.id is a consumer property and will be ignored by this producer instance"
    assert lines(BrokerLog(Clock()), "CONFWARN", text=text) == []


def test_the_mock_cluster_is_not_announced() -> None:
    assert lines(BrokerLog(Clock()), "MOCK", text="[thrd:app]: Mock cluster enabled") == []
