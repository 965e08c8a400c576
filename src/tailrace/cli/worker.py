"""`python -m tailrace.cli.worker`: what `serve --workers` starts. Its parent tells it everything over standard input.

Not a command for people: without a parent there it fails.
"""

import sys

import structlog
import trio

from tailrace.cli import logs
from tailrace.workers.messages import Start
from tailrace.workers.worker import Worker, channel_to_parent, die_with_parent


def main() -> int:
    """Exit code 0 after a drain, or when the parent has gone before it said anything."""
    die_with_parent()
    trio.run(run)
    return 0


async def run() -> None:
    """Wait for `Start`, and be that worker; every line of its log has its number."""
    channel = channel_to_parent()
    start = await channel.receive()
    if isinstance(start, Start):
        logs.configure(start.config.log)
        structlog.contextvars.bind_contextvars(worker=start.number)
        await Worker(channel, start).run()


if __name__ == "__main__":
    sys.exit(main())
