"""Two real brokers that are one cluster, for leaders that move: the first is its controller too, and is never stopped.

Of a topic each broker has every partition; the second leads all but the last one, until it is killed, and again when
it is back and was elected.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.kafka_broker import Broker, _Silent

FIRST, SECOND = 1, 2
_REQUEST_SECONDS = 60.0
# With one replica of its state a writer of transactions would have to wait for the broker that was killed.
_REPLICATED = {"transaction.state.log.replication.factor": "2", "offsets.topic.replication.factor": "2"}


class Pair:
    """What a test asks of a `Broker`, of two. `bootstrap` names both."""

    def __init__(self, folder: Path) -> None:
        folders = [folder / "first", folder / "second"]
        for each in folders:
            each.mkdir()
        self.first = Broker(folders[0], _REPLICATED)
        try:
            self.second = _Second(folders[1], self.first)
        except BaseException:
            self.first.kill()
            raise
        self.bootstrap = f"{self.first.bootstrap},{self.second.bootstrap}"
        self._admin = AdminClient({"bootstrap.servers": self.first.bootstrap}, logger=_Silent())
        self._wait_for = self.first._wait_for
        self._wait_for(lambda: len(self._admin.list_topics(timeout=_REQUEST_SECONDS).brokers) == 2, "two brokers")

    def kill(self) -> None:
        """Both, for good."""
        self.second.kill()
        self.first.kill()

    def topic(self, partitions: int) -> str:
        """A new one, which both brokers have."""
        name, replicas = f"topic-{uuid.uuid4().hex[:6]}", [[SECOND, FIRST]] * (partitions - 1) + [[FIRST, SECOND]]
        new = NewTopic(name, partitions, replica_assignment=replicas)
        self._admin.create_topics([new])[name].result(_REQUEST_SECONDS)
        self._until_led_by(name, [SECOND] * (partitions - 1) + [FIRST])
        return name

    def kill_the_second(self, topic: str) -> None:
        """SIGKILL; the first leads everything when it returns."""
        self.second.kill()
        self._until_led_by(topic, [FIRST] * len(self.leaders(topic)))

    def elect_the_second(self, topic: str) -> None:
        """It leads again what it led at first, in good order: it has been started, and has caught up."""
        partitions = len(self.leaders(topic))
        self._until_led_by(topic, [SECOND] * (partitions - 1) + [FIRST], elect=True)

    def leaders(self, topic: str) -> list[int]:
        """Of every partition, as the first broker has it."""
        found = self._admin.list_topics(topic, timeout=_REQUEST_SECONDS).topics[topic].partitions
        return [found[partition].leader for partition in sorted(found)]

    def _until_led_by(self, topic: str, leaders: list[int], elect: bool = False) -> None:
        def led() -> bool:
            if elect:
                self._elect(topic, len(leaders))
            return self.leaders(topic) == leaders

        self._wait_for(led, f"{leaders} as leaders of {topic}")

    def _elect(self, topic: str, partitions: int) -> None:
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        try:
            self._admin.elect_leaders(ElectionType.PREFERRED, places).result(_REQUEST_SECONDS)
        except KafkaException:
            pass  # it is not in sync yet, or leads already


class _Second(Broker):
    """A broker that is no controller; over restarts its addresses stay."""

    def __init__(self, folder: Path, first: Broker) -> None:
        self._first = first
        super().__init__(folder, _REPLICATED, first.cluster_id)

    def _write_settings(self, more: Mapping[str, str]) -> None:
        listeners = f"PLAINTEXT://{self.bootstrap},SASL_PLAINTEXT://{self.sasl_bootstrap}"
        mine: dict[str, Any] = {
            "process.roles": "broker",
            "node.id": str(SECOND),
            "listeners": listeners,
            "controller.quorum.voters": f"{FIRST}@{self._first.controller}",
        }
        super()._write_settings({**more, **mine})
