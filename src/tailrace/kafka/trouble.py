"""What went wrong with Kafka: librdkafka's error, and a sentence for people.

Pure. One place knows which of its error codes mean "no broker", "bad credentials", "no such topic"; everything else
of the package asks here.
"""

from collections.abc import Iterable

import msgspec
from confluent_kafka import KafkaError, KafkaException

NO_SUCH_TOPIC = frozenset(
    {
        "UNKNOWN_TOPIC_OR_PART",
        "UNKNOWN_TOPIC_ID",
        "TOPIC_EXCEPTION",
        "TOPIC_AUTHORIZATION_FAILED",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
    }
)
"""Names that mean: the broker answered, and has no such topic or partition, or none that it shows us
(`TOPIC_EXCEPTION`: no topic can have that name).
"""

NOT_ALLOWED = frozenset({"CLUSTER_AUTHORIZATION_FAILED", "TOPIC_AUTHORIZATION_FAILED"})
NO_TOPIC = "there is no such topic"

_UNREACHABLE = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "REQUEST_TIMED_OUT"})

# Ordered: behind "no broker answers" there is often a cause that says more, and it wins.
_WORDS: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"}),
        "the broker refused our credentials",
    ),
    (frozenset({"_SSL"}), "TLS with the broker failed"),
    (frozenset({"_RESOLVE"}), "the broker's name cannot be resolved"),
    (NOT_ALLOWED, "our credentials are not allowed to"),
    (_UNREACHABLE, "no broker answers"),
)


class Trouble(msgspec.Struct, frozen=True):
    """One error of librdkafka: its `name` as in the C sources without the prefix, and its own `text`."""

    name: str
    text: str


def trouble(error: KafkaError | BaseException) -> Trouble:
    """The same for an error event and for an exception that carries one."""
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return Trouble(error.name(), error.str().strip())
    return Trouble(type(error).__name__, str(error))


def in_words(troubles: Iterable[Trouble]) -> str:
    """The one sentence that explains them best, with librdkafka's text of the newest that it rests on."""
    newest = {each.name: each for each in troubles}
    for names, words in _WORDS:
        if found := [each for each in newest.values() if each.name in names]:
            return f"{words} ({_most_telling(found).text})"
    return next((f"{each.name}: {each.text}" for each in newest.values()), "no answer yet")


def _most_telling(found: list[Trouble]) -> Trouble:
    """`_TRANSPORT` names the address and the system's error; the others only repeat that nobody answered."""
    return next((each for each in found if each.name == "_TRANSPORT"), found[-1])
