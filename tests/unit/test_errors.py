"""errors.py: the codes of docs/protocol.md, section 5, and what the exceptions carry."""

from tailrace.errors import CommandError, ConfigError, ErrorCode

CODES = [
    "bad_request",
    "unknown_type",
    "id_in_use",
    "unknown_id",
    "unknown_topic",
    "forbidden",
    "unauthenticated",
    "too_many_subscriptions",
    "rate_limited",
    "too_large",
    "bad_position",
    "snapshot_unavailable",
    "publish_failed",
    "publish_timeout",
    "kafka_unavailable",
    "topic_deleted",
    "internal",
]


def test_error_codes_are_the_protocols() -> None:
    assert [str(code) for code in ErrorCode] == CODES


def test_a_command_error_carries_what_the_answer_needs() -> None:
    error = CommandError(ErrorCode.BAD_REQUEST, "no", id=7, command="ping")
    assert (error.code, error.message, error.id, error.command) == ("bad_request", "no", 7, "ping")
    assert str(error) == "no"


def test_a_config_error_lists_every_fault() -> None:
    error = ConfigError("one", "two")
    assert error.faults == ("one", "two")
    assert str(error) == "one\ntwo"
