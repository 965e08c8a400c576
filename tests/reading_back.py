"""The gateway's blocks on a broker, without the rest of the gateway."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from tailrace._fanout import VALUE, Stretch
from tailrace.config import Catchup
from tailrace.core.encode import Encoder
from tailrace.gateway.blocks import Blocks, Source

DEADLINE_SECONDS = 60.0


class Back:
    """Blocks of one topic. `sent` by what the test produced, so that a block's length can be checked."""

    def __init__(self, blocks: Blocks, topic: str, value: str = "auto") -> None:
        self.blocks = blocks
        self.source = Source(topic, 1, Encoder(topic, value))

    async def get(self, offset: int, partition: int = 0, format: int = VALUE) -> Stretch:
        with trio.fail_after(DEADLINE_SECONDS):
            block = await self.blocks.get(self.source, partition, offset, format)
        assert block.partition == partition
        assert block.format == format
        assert block.start <= offset < block.next or block.start == offset == block.next
        return block

    async def replay(self, start: int, end: int, partition: int = 0, format: int = VALUE) -> int:
        """Block after block; how many records they hold from the first block's start on."""
        records, offset = 0, start
        while offset < end:
            block = await self.get(offset, partition, format)
            assert block.next > offset, "the end came early"
            records += block.records
            offset = block.next
        return records


@asynccontextmanager
async def reading_back(
    bootstrap: str,
    catchup: Catchup | None = None,
    on_statistics: Callable[[str], None] | None = None,
    **kafka: str | int | float | bool,
) -> AsyncIterator[Blocks]:
    """Cancelled at the end of the block, and their threads joined."""
    settings = {**kafka, "bootstrap.servers": bootstrap}
    blocks = Blocks(settings, catchup or Catchup(), on_statistics=on_statistics)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocks.run)
        yield blocks
        nursery.cancel_scope.cancel()
