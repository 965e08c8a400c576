"""The parts of a running gateway that tell of it: for metrics, `/connections`, readiness, reloading, and tests."""

import msgspec

from tailrace.config import Config
from tailrace.gateway.blocks import Blocks
from tailrace.gateway.door import Door
from tailrace.gateway.lag import Lag
from tailrace.gateway.topics import Topics
from tailrace.kafka.health import Health
from tailrace.kafka.survey import Survey


class Statistics(msgspec.Struct, frozen=True):
    """A moment of the gateway. What is bounded stands beside its bound (`_limit`), both in bytes."""

    connections: int
    subscriptions: int
    topics: int
    tail_bytes: int
    tail_limit: int
    cache_bytes: int
    cache_limit: int
    snapshot_bytes: int
    snapshot_limit: int
    backlog_bytes: int
    draining: bool
    ready: bool


class Parts(msgspec.Struct, frozen=True, eq=False):
    """See the module. config: as of the start; what was reloaded since is asked of the parts."""

    config: Config
    door: Door
    topics: Topics
    blocks: Blocks
    health: Health
    survey: Survey
    lag: Lag

    def statistics(self) -> Statistics:
        """As of now; costs some microseconds for each open topic."""
        snapshots = self.topics.snapshots.statistics()
        catchup = self.config.catchup
        return Statistics(
            connections=len(self.door.connections),
            subscriptions=sum(len(held.readings) for held in self.topics.held),
            topics=len(self.topics.open),
            tail_bytes=self.topics.tail_bytes,
            tail_limit=self.config.tail.max_bytes,
            cache_bytes=self.blocks.statistics().memory_bytes,
            cache_limit=catchup.cache_bytes,
            snapshot_bytes=snapshots.memory_bytes + snapshots.stretch_bytes,
            snapshot_limit=catchup.snapshot_bytes,
            backlog_bytes=sum(topic.backlog_bytes for topic in self.topics.open),
            draining=self.door.draining,
            ready=self.health.ready,
        )
