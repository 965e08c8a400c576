"""When Python looks for garbage among objects that have come to stay: not while a fleet arrives.

By itself it looks through all of them once a quarter more have come: 0.6 s with 6,600 connections, in which nobody is
served; and a fleet that reconnects is just that, 200 objects for each and none of them garbage (measured). What can be
garbage among old objects is of connections that have ended, some 80 objects each. So only young objects are looked
through as they come, and all of them once as many connections have ended as are open; or once more objects have stayed
than the open ones explain, whatever left them.
"""

import gc
from collections.abc import Callable

import trio

LOOK_SECONDS = 1.0
LEAST_ENDED = 256  # 3 MB
OBJECTS = 400  # of an open connection, twice what was seen
SPARE_OBJECTS = 500_000  # 50 MB
NEVER = 1_000_000_000  # passes over younger objects between two over older ones


def due(ended: int, open: int, stayed: int) -> bool:
    """Whether to look through all objects. ended: connections, stayed: objects, since that was done last; open:
    connections, now."""
    return ended >= max(LEAST_ENDED, open) or stayed > OBJECTS * open + SPARE_OBJECTS


async def collect_old(
    ended: Callable[[], int], open: Callable[[], int], collect: Callable[[], object] = gc.collect
) -> None:
    """Until cancelled; then Python's own thresholds are back. ended, open: connections that have ended since the
    start, and that there are."""
    young_objects, *others = gc.get_threshold()
    gc.set_threshold(young_objects, NEVER)
    try:
        before = ended()
        while True:
            await trio.sleep(LOOK_SECONDS)
            _, passes, _ = gc.get_count()
            if due(ended() - before, open(), passes * young_objects):
                before = ended()
                collect()
    finally:
        gc.set_threshold(young_objects, *others)
