"""Leaders move between two real brokers: one is shot, comes back, and is elected again, and nobody misses a record.

Clients of every kind follow while a producer writes on, plain and in transactions; some are live, some catch up. In the
end each has exactly what Kafka's own log has.
"""

import random
from pathlib import Path

import pytest
import trio
from tests.integration.test_chaos import chaos, cut_off
from tests.kafka_pair import Pair

ROUNDS = 3


@pytest.mark.slow
async def test_nothing_is_lost(own_pair: Pair, tmp_path: Path) -> None:
    random.seed(4)
    async with chaos(own_pair, tmp_path, pace=500) as run:
        run.follow_with_those_who_stay()
        run.follow_with_ours(tmp_path)
        run.follow(cut_off, most=2000)  # catches up again and again
        for _ in range(ROUNDS):
            await run.until_all_move()
            await trio.to_thread.run_sync(own_pair.kill_the_second, run.topic)
            await run.until_all_move()
            await trio.to_thread.run_sync(own_pair.second.start)
            await trio.to_thread.run_sync(own_pair.elect_the_second, run.topic)
        await run.until_all_move()
        checked = await run.come_to_rest()
    print(f"{checked} deliveries checked")
    assert checked > 5_000
