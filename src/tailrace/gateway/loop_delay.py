"""How late the event loop comes to a timer: what every ping, command and record waits for at least."""

import trio

from tailrace.core.histogram import Histogram

LOOK_SECONDS = 0.5  # a wake-up costs up to 0.3 ms on a busy machine (measured): 0.06 % of a core


async def watch_loop(histogram: Histogram) -> None:
    """Until cancelled."""
    while True:
        due = trio.current_time() + LOOK_SECONDS
        await trio.sleep_until(due)
        histogram.observe(trio.current_time() - due)
