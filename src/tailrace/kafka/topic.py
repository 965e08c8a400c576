"""What is known of a topic, and what became of it between two looks. Pure."""

from collections.abc import Iterable, Mapping

import msgspec


class TopicDescription(msgspec.Struct, frozen=True):
    """A topic as it stood when asked. `topic_id` changes when it is deleted and created again; None: not told.

    `compacted`: whether `cleanup.policy` includes compact; None: not allowed to know, or not told.
    """

    name: str
    topic_id: str | None
    partitions: tuple[int, ...]
    compacted: bool | None = None


class Change(msgspec.Struct, frozen=True):
    """What became of a topic; `after` None: it is gone. `compacted` stands in `after` as it did before."""

    before: TopicDescription
    after: TopicDescription | None

    @property
    def recreated(self) -> bool:
        """Deleted and created again: the same offsets are other records now."""
        return self.after is not None and self.after.topic_id != self.before.topic_id

    @property
    def added(self) -> tuple[int, ...]:
        """The partitions that are new; all of them when the topic was recreated."""
        old = () if self.recreated else self.before.partitions
        return () if self.after is None else tuple(each for each in self.after.partitions if each not in old)


def changes(before: Iterable[TopicDescription], after: Mapping[str, TopicDescription | None]) -> list[Change]:
    """One `Change` for each topic that is not as it was; `after` is keyed by name, None for a topic that is gone."""
    found = (Change(old, _with_policy_of(old, after[old.name])) for old in before)
    return [each for each in found if each.after != each.before]


def _with_policy_of(old: TopicDescription, new: TopicDescription | None) -> TopicDescription | None:
    return new and msgspec.structs.replace(new, compacted=old.compacted)
