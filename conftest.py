"""What holds for every test run: how hypothesis is set.

No deadline per example, since a busy machine would fail tests that are right. In CI the examples are the same each
time, so that a red run can be run again; elsewhere they differ, which finds more.
"""

import os

from hypothesis import settings

settings.register_profile("tailrace", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("tailrace")
