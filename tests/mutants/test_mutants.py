"""Would the tests notice? Each mutant is the compiled core with one fault put in; the model must find every one.

A mutant is a piece of src/_fanout.pyx or its parts and what stands there instead; the piece must occur exactly once, so
that a mutant whose code has changed fails at once and is written anew. Everything is built in a temporary directory.
The first is no mutant: the model must be green on the code as it stands.
"""

import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.core_source import core_source

ROOT = Path(__file__).parents[2]
SOURCE = core_source()
RUNS = 400  # of the model, at most; most mutants are found in the first twenty
MODEL = f"""
import signal, sys
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
sys.path[:0] = [{str(ROOT)!r}]
from tailrace import _fanout
from tests.unit.test_fanout_model import Fanout
assert _fanout.__file__.startswith(sys.argv[1]), _fanout.__file__
_fanout.send_together(1)
class Watched(Fanout):
    @invariant()
    def it_moves(self):
        signal.alarm(60)
quick = settings(max_examples={RUNS}, stateful_step_count=50, deadline=None, derandomize=True, database=None,
                 phases=[Phase.generate], report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
try:
    run_state_machine_as_test(Watched, settings=quick)
except BaseException as fault:
    print("found:", repr(fault)[:300])
    sys.exit(3)
"""
FOUND = (3, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGALRM)  # a check failed; crashing and hanging are as red


class Mutant(NamedTuple):
    """`new` stands where `old` stood."""

    name: str
    old: str
    new: str


MUTANTS = [
    Mutant("none", "", ""),
    Mutant("the floor is not looked at", "and not below_floor(cursor, p, block.offset[i])", ""),
    Mutant(
        "the floor is kept out of positions",
        "max(vector[p] if p < tail.width else 0, self.cursor.floor[p] if p < self.cursor.floors else 0)",
        "vector[p] if p < tail.width else 0",
    ),
    Mutant(
        "the floor is forgotten one record early",
        "cursor.tail.vector[p] < cursor.floor[p]",
        "cursor.tail.vector[p] + 1 < cursor.floor[p]",
    ),
    Mutant("the rest of a cut frame is forgotten", "            rest_add(cursor.wire, data + at, ends[i] - at)\n", ""),
    Mutant(
        "a cut frame is sent again whole",
        "            i += 1\n    cursor.delivered",
        "            pass\n    cursor.delivered",
    ),
    Mutant(
        "one frame too few is patched",
        "for i in range(start, stop):\n        slot_write",
        "for i in range(start + 1, stop):\n        slot_write",
    ),
    Mutant("a patched range counts as longer than it is", "block.patched_to = stop", "block.patched_to = stop + 1"),
    Mutant(
        "any patched id counts as the right one",
        "stop <= block.patched_to and same_slot(block.slot, slot)",
        "stop <= block.patched_to",
    ),
    Mutant(
        "a pass is not repeated when there is more",
        "cdef bint again = group.pass_end < tail.end",
        "cdef bint again = False",
    ),
    Mutant("a key's pass is not repeated", "again = group.pending_count > 0", "again = False"),
    Mutant("a pass counts for all that was appended", "group.first = group.pass_end\n", "group.first = tail.end\n"),
    Mutant(
        "a place is the end though its group is due",
        "cursor.group.first if linked(&cursor.group.due) else cursor.tail.end",
        "cursor.tail.end",
    ),
    Mutant(
        "a place does not know what was had in this pass",
        "return cursor.seq if cursor.seq > offered else offered",
        "return offered",
    ),
    Mutant("eviction keeps no vector", "        (<Subscription>cursor.owner)._settle(cursor.seq)\n", ""),
    Mutant("eviction spares who is live in a pass", "if self._oldest_due() < seq:", "if False:"),
    Mutant(
        "eviction drops one too few",
        "            if cursor.seq < seq:\n                self._fall",
        "            if cursor.seq < seq - 1:\n                self._fall",
    ),
    Mutant("lanes close up in the middle of a pass", "if lane.gaps and not self.group.passing:", "if lane.gaps:"),
    Mutant(
        "records do not wait for a writer that is there",
        "if not cursor.wire.direct or cursor.wire.woken or cursor.wire.error:",
        "if not cursor.wire.direct or cursor.wire.error:",
    ),
    Mutant("a posted frame does not wait for what waits", "if not rest_size(wire) and wire.direct:", "if wire.direct:"),
    Mutant("the writer ends while something waits", "    if rest_size(wire):\n        return R_BLOCKED\n", ""),
    Mutant(
        "nobody is woken who falls behind",
        "    wake(cursor.tail, cursor.wire)\n\n\ncdef void drop",
        "\n\ncdef void drop",
    ),
    Mutant("nobody is told who is dropped", "    cursor.wire.dropped += 1\n", ""),
    Mutant(
        "a hole is passed over",
        "                    stop.hole = True\n                    return block.first + i\n",
        "                    continue\n",
    ),
    Mutant("a hole is no reason to walk", "        or cursor.tail.last_hole >= cursor.seq\n", ""),
    Mutant(
        "keys are not looked at",
        "if wants(cursor, block.key[i]) and not below_floor(cursor, p,",
        "if not below_floor(cursor, p,",
    ),
    Mutant(
        "what was offered with others counts as taken",
        "wire_took(cursor.wire, offer.took, offer_size(offer))",
        "wire_took(cursor.wire, offer_size(offer), offer_size(offer))",
    ),
    Mutant("one offer has all results", "offers[cqe.user_data].took = cqe.result", "offers[0].took = cqe.result"),
    Mutant(
        "what was made together is sent again", "        if i >= made or offer.took == -EINTR:\n", "        if True:\n"
    ),
    Mutant(
        "offers of one id wait for those of the next",
        "            offers_send()\n        group.lane_at += 1\n",
        "            pass\n        group.lane_at += 1\n",
    ),
    Mutant(
        "offers outlast the turn",
        "                offers_send()\n                return False\n",
        "                return False\n",
    ),
    Mutant(
        "who is behind in blocks is offered the newest only",
        "    if cursor.seq < block.first:\n        return 0\n",
        "    if cursor.seq < block.first:\n        cursor.seq = block.first\n",
    ),
    Mutant("None is not a key", "found = self.groups.get(key)", "found = self.groups.get(key or b'')"),
    Mutant(
        "a partition's beginning is not known",
        "memcpy(out, tail.base, 8 * tail.width)",
        "memcpy(out, tail.vector, 8 * tail.width)",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS[1:], ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_mutant_fits_the_code(mutant: Mutant) -> None:
    assert SOURCE.count(mutant.old) == 1, "the code has changed: write this mutant anew"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_model_finds(mutant: Mutant, tmp_path: Path) -> None:
    build(SOURCE.replace(mutant.old, mutant.new, 1), tmp_path)
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", MODEL, str(tmp_path)]
    ran = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False
    )
    expected = FOUND if mutant.old else (0,)
    assert ran.returncode in expected, ran.stdout + ran.stderr


def build(source: str, target: Path) -> None:
    """The package in `target`, with the core built from this source; unoptimised, since that is quicker to build."""
    package = target / "tailrace"
    package.mkdir()
    (package / "__init__.py").touch()
    (target / "_fanout.pyx").write_text(source, encoding="utf-8")
    run(
        "cython",
        "-3",
        "-I",
        str(ROOT / "src"),  # what it includes
        str(target / "_fanout.pyx"),
        "--module-name",
        "tailrace._fanout",
        "-o",
        str(target / "_fanout.c"),
    )
    include = sysconfig.get_path("include")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiler = ["gcc", "-shared", "-fPIC", "-O0", "-w", "-fno-strict-aliasing", f"-I{include}"]
    subprocess.run([*compiler, str(target / "_fanout.c"), "-o", str(package / f"_fanout{suffix}")], check=True)


def run(*command: str) -> None:
    """A command line that Python brings along."""
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
