"""`chat`: people talking in rooms, keyed by the room.

Conversations are short scripts cast with different people each time; several run at once in different rooms, and a line
takes as long as it takes to type. Some lines get a reaction.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from random import Random

import msgspec

from tailrace.demo.event import Event, rfc3339

TALKS_PER_SECOND = 0.35
SECONDS_PER_CHARACTER = 0.045
REACTION_SHARE = 0.15

PEOPLE = ("mara", "jonas", "aoife", "tomas", "camille", "ewa", "luca", "sanne", "nikos", "ines", "eero", "petra")
CLIENTS = (b"web", b"ios", b"android", b"desktop")
REACTIONS = ("👍", "🎉", "😄", "🙏", "👀", "🚀")

# (room, lines); a line is (speaker, text), speakers are cast when the talk begins.
Talk = tuple[str, tuple[tuple[int, str], ...]]
TALKS: tuple[Talk, ...] = (
    ("deploys", ((0, "shipping checkout {n}.{m} to eu-west now"), (1, "go, dashboards are open"),
                 (0, "10 % done, error rate flat"), (0, "all green ✅"), (1, "nice and boring, as it should be"))),
    ("deploys", ((0, "rolling back search {n}.{m}, p99 went from 80 to 240 ms"), (1, "the new synonyms?"),
                 (0, "looks like it. back to normal already"), (2, "I'll look at the query plan after lunch"))),
    ("deploys", ((0, "can I merge the schema change today?"), (1, "is it backwards compatible?"),
                 (0, "yes, only adds a nullable column"), (1, "then please do"))),
    ("on-call", ((0, "disk on kafka-{m} is at {n} %"), (1, "retention of the clickstream topic, again"),
                 (0, "lowered it to three days, falling now"), (1, "thank you! closing the alert"))),
    ("on-call", ((0, "payment provider answers slowly, {n}00 ms"), (1, "their status page says nothing"),
                 (0, "it does now"), (2, "support knows, banner is up"), (0, "recovered"))),
    ("on-call", ((0, "handing over: quiet night, one flapping probe"), (1, "got it, enjoy the sleep"))),
    ("lunch", ((0, "ramen or the Greek place?"), (1, "Greek!"), (2, "Greek"), (0, "12:15 at the door then"))),
    ("lunch", ((0, "somebody left {m} croissants in the kitchen"), (1, "left, past tense, is correct"), (2, "😇"))),
    ("support", ((0, "customer asks why tracking shows two parcels"), (1, "split shipment, the lamp comes from Gdańsk"),
                 (0, "ah. telling them, thanks"))),
    ("support", ((0, "three people with declined cards in ten minutes"), (1, "same bank?"), (0, "same bank"),
                 (1, "then it is theirs, I'll put a note in the FAQ"))),
    ("support", ((0, "ORD-{n}{n}{n} arrived with a broken mug"), (1, "replacement is on its way"),
                 (0, "they sent a photo of the cat that did it"), (1, "we need that photo"))),
    ("general", ((0, "welcome our new colleague 👋"), (1, "welcome!"), (2, "hello hello"), (3, "happy to be here!"))),
    ("general", ((0, "demo at four, bring questions"), (1, "will it be recorded?"), (0, "yes, link follows"))),
    ("general", ((0, "who has the key to bike room {m}?"), (1, "me, on my desk, next to the plant"), (0, "thanks!"))),
)  # fmt: skip


def chat(seed: int, start: float) -> Iterator[Event]:
    """Yield the rooms' messages for ever; `start` is epoch seconds."""
    rng = Random(f"chat {seed}")
    numbers = count(1)
    ties = count()
    scripts: list[Talk] = []  # all of them, in some order, before one comes again
    due: list[tuple[float, int, str, list[tuple[str, str]]]] = [(start, next(ties), "", [])]
    before = start
    while True:
        now, _, room, lines = heapq.heappop(due)
        if not lines:
            scripts = scripts or rng.sample(TALKS, len(TALKS))
            room, lines = _cast(rng, scripts.pop())
            heapq.heappush(due, (now + rng.expovariate(TALKS_PER_SECOND), next(ties), "", []))
        user, text = lines.pop(0)
        yield _message(rng, next(numbers), room, user, text, now, now - before)
        before = now
        if lines:
            typing = 0.8 + len(lines[0][1]) * SECONDS_PER_CHARACTER * rng.uniform(0.7, 1.8)
            heapq.heappush(due, (now + typing, next(ties), room, lines))


def _cast(rng: Random, talk: Talk) -> tuple[str, list[tuple[str, str]]]:
    """Choose the people in a talk and its numbers: the room and the (user, text) lines."""
    room, script = talk
    people = rng.sample(PEOPLE, 4)
    n, m = rng.randrange(71, 96), rng.randrange(2, 9)
    return room, [(people[speaker], text.format(n=n, m=m)) for speaker, text in script]


def _message(rng: Random, number: int, room: str, user: str, text: str, now: float, delay: float) -> Event:
    message: dict[str, object] = {"user": user, "text": text, "room": room, "id": f"m-{number:06d}"}
    if rng.random() < REACTION_SHARE:
        message["reactions"] = {rng.choice(REACTIONS): rng.randrange(1, 6)}
    message["sent_at"] = rfc3339(now)
    headers = (("client", rng.choice(CLIENTS)), ("user", user.encode()))
    return Event("chat", room.encode(), msgspec.json.encode(message), headers, delay)
