"""librdkafka's errors in words."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from tailrace.kafka.trouble import Trouble, in_words, trouble


def test_an_event_and_an_exception_read_the_same() -> None:
    error = KafkaError(KafkaError._TRANSPORT, "connection refused")
    assert trouble(error) == trouble(KafkaException(error)) == Trouble("_TRANSPORT", "connection refused")


def test_an_exception_without_an_error_keeps_its_text() -> None:
    assert trouble(KafkaException("odd")) == Trouble("KafkaException", "odd")


@pytest.mark.parametrize(
    ("names", "begins"),
    [
        (["_TRANSPORT"], "no broker answers ("),
        (["_TRANSPORT", "_ALL_BROKERS_DOWN"], "no broker answers ("),
        (["_TIMED_OUT"], "no broker answers ("),
        (["_ALL_BROKERS_DOWN", "_AUTHENTICATION", "_TRANSPORT"], "the broker refused our credentials ("),
        (["_RESOLVE", "_ALL_BROKERS_DOWN"], "the broker's name cannot be resolved ("),
        (["_SSL", "_ALL_BROKERS_DOWN"], "TLS with the broker failed ("),
        (["CLUSTER_AUTHORIZATION_FAILED"], "our credentials are not allowed to ("),
        (["_BAD_MSG"], "_BAD_MSG: text of _BAD_MSG"),
        ([], "no answer yet"),
    ],
)
def test_the_most_telling_error_explains(names: list[str], begins: str) -> None:
    assert in_words(Trouble(name, f"text of {name}") for name in names).startswith(begins)


def test_of_many_the_newest_text_of_the_address_is_shown() -> None:
    told = [
        Trouble("_TRANSPORT", "a:1 refused"),
        Trouble("_TRANSPORT", "b:2 refused"),
        Trouble("_ALL_BROKERS_DOWN", "2/2"),
    ]
    assert in_words(told) == "no broker answers (b:2 refused)"
