"""What holds for every test run: how hypothesis is set.

No deadline per example and no complaint that drawing them is slow, since a busy machine would fail tests that are
right. The examples are the same each time, so
that a red run can be run again, and nothing is red by the luck of the draw; the tests that explore at random are slow
ones (`make soak`), and `--hypothesis-profile=random` makes all of them explore.
"""

from hypothesis import HealthCheck, settings

_TIMED = [HealthCheck.too_slow]
settings.register_profile(
    "tailrace", deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=_TIMED
)
settings.register_profile("random", deadline=None, derandomize=False, print_blob=True, suppress_health_check=_TIMED)
settings.load_profile("tailrace")
