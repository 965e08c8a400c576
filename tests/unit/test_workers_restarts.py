"""When a dead worker is replaced: at once, later, or with little hope."""

from tailrace.workers.restarts import GROWN_UP_SECONDS, LOOP_DEATHS, MOST_SECONDS, Restarts


def test_one_that_ran_long_is_replaced_at_once() -> None:
    restarts = Restarts()
    assert [restarts.died(GROWN_UP_SECONDS) for _ in range(20)] == [0.0] * 20
    assert not restarts.looping


def test_those_that_die_young_wait_twice_as_long_each_time() -> None:
    restarts = Restarts()
    pauses = [restarts.died(0.5) for _ in range(2000)]  # for a night; no overflow either
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert set(pauses[8:]) == {MOST_SECONDS}


def test_the_fifth_in_a_row_makes_a_loop() -> None:
    restarts = Restarts()
    seen = []
    for _ in range(LOOP_DEATHS):
        restarts.died(1.0)
        seen.append(restarts.looping)
    assert seen == [False] * (LOOP_DEATHS - 1) + [True]


def test_one_that_runs_for_a_minute_ends_the_loop() -> None:
    restarts = Restarts()
    for _ in range(LOOP_DEATHS):
        restarts.died(1.0)
    restarts.grew_up()
    assert not restarts.looping
    assert restarts.died(1.0) == 0.25
