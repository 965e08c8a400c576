"""A record as `confluent_kafka.Message` has it, as far as the gateway reads one."""

from typing import Any

TIMESTAMP = (1, 1_763_862_162_044)  # the producer's, in epoch milliseconds


class PlainRecord:
    def __init__(
        self, partition: int, offset: int, value: bytes | None = b"1", key: bytes | None = None, topic: str = "orders"
    ) -> None:
        self._partition, self._offset, self._value, self._key, self._topic = partition, offset, value, key, topic

    def __len__(self) -> int:
        return len(self._value or b"")

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Any:
        return None

    def set_headers(self, headers: Any) -> None: ...
