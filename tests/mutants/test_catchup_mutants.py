"""Would the model of catching up notice? Each mutant is the gateway with one fault put in; the model must find it.

As in test_mutants.py, with a copy of the whole package: a fault may be in the compiled core, which is built anew, or in
any module.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.mutants.test_mutants import FOUND, ROOT, SOURCE, build

CORE = "src/_fanout.pyx"
CHASE = "src/tailrace/gateway/chase.py"
READING = "src/tailrace/gateway/reading.py"
TENDING = "src/tailrace/gateway/tending.py"
TOPIC = "src/tailrace/gateway/topic.py"
RUNS = 400  # of the model, at most
MODEL = f"""
import sys
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
sys.path[:0] = [{str(ROOT)!r}]
import tailrace
from tests.unit.test_catchup_model import Catchup
assert tailrace.__file__.startswith(sys.argv[1]), tailrace.__file__
class Counted(Catchup):
    runs = 0
    def teardown(self):
        Counted.runs += 1
        super().teardown()
quick = settings(max_examples={RUNS}, stateful_step_count=50, deadline=None, derandomize=True, database=None,
                 phases=[Phase.generate], report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
try:
    run_state_machine_as_test(Counted, settings=quick)
except BaseException as fault:
    print("found in run", Counted.runs, repr(fault)[:300])
    sys.exit(3)
"""


class Fault(NamedTuple):
    """In `path`, `new` stands where `old` stood."""

    name: str
    path: str
    old: str
    new: str


FAULTS = [
    Fault("none", CORE, "", ""),
    Fault(
        "who is revoked counts as having had the block",
        CORE,
        "            drop(cursor, S_FALLEN)\n            (<Subscription>cursor.owner).stretch = None\n",
        "            cursor.floor[self.stretch.partition] = self.stretch.next\n"
        "            drop(cursor, S_FALLEN)\n            (<Subscription>cursor.owner).stretch = None\n",
    ),
    Fault(
        "a block that does not fit counts as sent",
        CORE,
        "wanted[0] = block.offset[stop] if stop < last else max(",
        "wanted[0] = max(",
    ),
    Fault(
        "a frame that was cut is sent again from the block",
        CORE,
        "                stop, hole = scratch.seq[k], False\n    wanted[0] = block.offset[stop]",
        "                stop, hole = scratch.seq[k], False\n"
        "    wanted[0] = block.offset[stop - (cursor.wire.rest_end > 0 and stop > start)]",
    ),
    Fault(
        "a block is read past the goal",
        CORE,
        "cursor.upto = stretch.stretch.next if upto is None else min(<int64_t>upto, stretch.stretch.next)",
        "cursor.upto = stretch.stretch.next",
    ),
    Fault(
        "who enters the tail forgets what it has",
        CORE,
        "        self.stretch = None\n        self._join(seq)\n",
        "        free(self.cursor.floor)\n        self.cursor.floor = NULL\n        self.cursor.floors = 0\n"
        "        self.stretch = None\n        self._join(seq)\n",
    ),
    Fault(
        "one partition is enough to enter the tail",
        CORE,
        "            if all(positions.get(p, 0) >= (block.vector[p]",
        "            if any(positions.get(p, 0) >= (block.vector[p]",
    ),
    Fault("eviction keeps no vector", CORE, "        (<Subscription>cursor.owner)._settle(cursor.seq)\n", ""),
    Fault(
        "at the end of the tail nobody looks for the goal",
        CORE,
        "    if cursor.goals_left and goal_check(cursor, cursor.tail.vector, cursor.tail.width):\n",
        "    if False:\n",
    ),
]


QUICK = [
    Fault(
        "what retention took is passed in silence",
        CHASE,
        "            self._reading.miss(verdict)\n            subscription.move",
        "            subscription.move",
    ),
    Fault(
        "the chase does not look for the goal",
        READING,
        "        if self._goal and self._subscription.pass_goals():\n",
        "        if False:\n",
    ),
    Fault(
        "a block that follows is sent from its beginning",
        CHASE,
        "                self._feed(stretch, request.offset)\n",
        "                self._reading.cursor.move(stretch.partition, stretch.start)\n"
        "                self._feed(stretch, stretch.start)\n",
    ),
    Fault(
        "a new log begins where the old one was left",
        TENDING,
        "        self._rebase(held, after, beginnings, lambda",
        "        self._rebase(held, after, held.open.positions, lambda",
    ),
    Fault(
        "control markers are no progress",
        TOPIC,
        "                tail.advance(partition, offset)\n",
        "                pass\n",
    ),
    Fault(
        "what is caught up apart comes from the tail too",
        READING,
        "        positions = positions | dict.fromkeys(self._apart, NOWHERE)\n",
        "",
    ),
    Fault(
        "what was apart is taken up at its goal",
        READING,
        "        positions = self._whole(self._subscription.close())\n        apart = self._apart.pop(partition)\n",
        "        positions = self._whole(self._subscription.close())\n        apart = self._apart.pop(partition)\n"
        "        positions[partition] += 1\n",
    ),
]
"""In a module that need not be built."""


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name.replace(" ", "-"))
def test_the_model_finds_at_once(fault: Fault, tmp_path: Path) -> None:
    find(fault, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_the_model_finds(fault: Fault, tmp_path: Path) -> None:
    find(fault, tmp_path)


@pytest.mark.parametrize("fault", FAULTS[1:], ids=lambda fault: fault.name.replace(" ", "-"))
def test_the_fault_fits_the_code(fault: Fault) -> None:
    assert source_of(fault).count(fault.old) == 1, "the code has changed: write this mutant anew"


def source_of(fault: Fault) -> str:
    """The core is one text, whatever files it lies in."""
    return SOURCE if fault.path == CORE else (ROOT / fault.path).read_text(encoding="utf-8")


def find(fault: Fault, tmp_path: Path) -> None:
    """The model is red with it."""
    source = source_of(fault)
    if fault.old:
        assert source.count(fault.old) == 1, "the code has changed: write this mutant anew"
    copy_with(fault.path, source.replace(fault.old, fault.new) if fault.old else source, tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", MODEL, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert ran.returncode in (FOUND if fault.old else (0,)), ran.stdout + ran.stderr
    print(ran.stdout)


def copy_with(path: str, source: str, target: Path) -> None:
    """The package in `target`, one of its sources replaced."""
    shutil.copytree(ROOT / "src" / "tailrace", target / "tailrace", ignore=shutil.ignore_patterns("__pycache__"))
    if path != CORE:
        (target / Path(path).relative_to("src")).write_text(source, encoding="utf-8")
        return
    (target / "core").mkdir()
    build(source, target / "core")
    for built in (target / "core" / "tailrace").glob("_fanout*"):
        shutil.copy(built, target / "tailrace" / built.name)
