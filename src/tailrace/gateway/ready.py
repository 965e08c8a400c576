"""`/readyz`: whether clients should be sent here, from what the parts know; and why not, in words.

Draining comes first, then Kafka as a whole, then the topics: one that cannot be read, or not all of it, is named in
`unreadable`, and is a reason only when nothing else flows, or always with `admin.ready = "all"`.
"""

from collections.abc import Mapping

from tailrace.gateway.parts import Parts
from tailrace.gateway.topics import Topics
from tailrace.http.admin import Readiness
from tailrace.kafka.survey import Readable, standing, unreadable


def readiness(parts: Parts) -> Readiness:
    """As of now, from answers that are at most some seconds old."""
    if parts.door.draining:
        return Readiness(False, "draining")
    if not parts.health.ready:
        return Readiness(False, parts.health.reason)
    topics = known(parts)
    reason = standing(topics, parts.topics.exposure.has_patterns, parts.config.admin.ready == "all")
    details = {"unreadable": faults} if (faults := unreadable(topics)) else {}
    return Readiness(not reason, reason, details)


def known(parts: Parts) -> Mapping[str, Readable]:
    """What the survey found, and of open topics also what a broker answered to reading them."""
    refused = {held.open.name: held.refused for held in parts.topics.held if held.refused}
    return {**parts.survey.topics, **{name: Readable(refused=why) for name, why in refused.items()}}


def wanted(topics: Topics) -> list[str]:
    """The topics that should be readable: those that are exposed by name, and those that are open."""
    return list(dict.fromkeys([*topics.exposure.names, *(topic.name for topic in topics.open)]))
