"""A hostile client in a process of its own, over and over, until it is killed.

    python -m benchmarks.harness.attacker HOST:PORT TOPIC NAME

NAME: one of tests/attacks.py. It prints a line when it begins. That an attack is refused, cut off or late is no
concern of this one: it begins anew.
"""

import contextlib
import sys

import trio
from tests.attacks import ATTACKS
from tests.gateway import Addressed

PAUSE_SECONDS = 0.01  # between two attacks, so that one that is turned away at once does not spin


async def attack(public: str, topic: str, name: str) -> None:
    """Without end."""
    gateway = Addressed()
    gateway.public = public
    print("begins", flush=True)
    while True:
        with contextlib.suppress(Exception):
            await ATTACKS[name](gateway, topic, 4)
        await trio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    trio.run(attack, *sys.argv[1:])
