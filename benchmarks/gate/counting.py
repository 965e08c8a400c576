"""Counts of the core's inner paths, taken by callgrind: paths.py in a process of its own, one dump a path.

What is counted is everything a path executes: the compiled core, the interpreter that calls it, the C library. The
kernel is not in it, so the system calls are counted beside it. Hashes of keys have a secret of the process, which moves
some paths by 0.3 %; nothing else differs between two runs.
"""

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks.gate.paths import PATHS
from benchmarks.harness.programs import ROOT, program

SCRIPT = Path(__file__).with_name("paths.py")
PATHS_MODULE = "benchmarks.gate.paths"
_NAME = re.compile(r"^desc: Trigger: Client Request: (.*)$")
_CALLGRIND = ["--tool=callgrind", "--instr-atstart=no", "--collect-systime=yes", "--quiet"]


class CannotCount(Exception):
    """No valgrind, or the paths do not run; says what to do."""


class Count(msgspec.Struct, frozen=True):
    """Of one unit of a path (a record, a delivery): instructions, and system calls."""

    unit: str
    instructions: float
    calls: float


class Counts(msgspec.Struct, frozen=True):
    """All paths, and the toolchain that they hold for."""

    toolchain: dict[str, str]
    paths: dict[str, Count]


def count(core: Path | None = None) -> Counts:
    """Runs every path under callgrind, of the core as installed or another build of it. Raises CannotCount."""
    if shutil.which("valgrind") is None:
        raise CannotCount("valgrind is needed to count instructions: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="tailrace-gate-") as folder:
        compiled = [sys.executable, "-c", f"import {PATHS_MODULE}"]
        subprocess.run(compiled, env=environment(folder), cwd=folder, capture_output=True, check=False)
        command = ["valgrind", *_CALLGRIND, f"--callgrind-out-file={folder}/out", sys.executable, str(SCRIPT)]
        command += [str(program("mark.so")), *([] if core is None else [str(core)])]
        done = subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotCount(f"the paths do not run under callgrind:\n{done.stderr[-2000:]}")
        dumps = dict(totals(path.read_text(errors="replace")) for path in Path(folder).glob("out.*"))
    return Counts(toolchain(), {name: of_unit(name, dumps[name]) for name in PATHS})


def environment(folder: str) -> dict[str, str]:
    """What the counted process sees of the environment: nothing that differs between machines.

    The threshold keeps large blocks out of the heap: in it, whether a block that grows is copied depends on the
    neighbours it happens to have, which moved a path by 7 %. Grown by mremap(2), it never is. Only a hole in the heap
    is taken first, and compiling a module leaves such: so all are compiled before, into `folder`, whatever a checkout
    has cached. That moved two paths by 4 and 15 %.
    """
    fixed = {"PYTHONHASHSEED": "0", "MALLOC_MMAP_THRESHOLD_": "65536", "LC_ALL": "C", "PYTHONPYCACHEPREFIX": folder}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **fixed}


def of_unit(name: str, sums: tuple[int, int]) -> Count:
    """What a dump says, for one unit of its path."""
    unit, units, _ = PATHS[name]
    return Count(unit, round(sums[0] / units, 2), round(sums[1] / units, 4))


def totals(dump: str) -> tuple[str, tuple[int, int]]:
    """The mark's name, and the instructions and system calls of its dump."""
    name = next(_matches(_NAME, dump.splitlines()))
    line = next(line for line in dump.splitlines() if line.startswith("totals:"))
    instructions, *system = (int(number) for number in line.split()[1:])
    return name, (instructions, system[0] if system else 0)


def _matches(pattern: re.Pattern[str], lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if found := pattern.match(line):
            yield found[1]


@functools.cache
def toolchain() -> dict[str, str]:
    """What decides how many instructions the same source takes. The extension names its own compiler and Cython."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = [name for name in ("--enable-optimizations", "--with-lto") if name in options]
    return {
        "machine": platform.machine(),
        "avx2": "yes" if "avx2" in Path("/proc/cpuinfo").read_text() else "no",  # which memcpy is taken
        "python": " ".join([platform.python_version(), platform.python_compiler(), *optimised]),
        "libc": "-".join(platform.libc_ver()),
        "msgspec": version("msgspec"),
        **compiled_by(),
    }


def compiled_by() -> dict[str, str]:
    """Cython and gcc that made the extension in use, from its own text (`.comment` and the generated C's banner)."""
    from tailrace import _fanout

    binary = Path(_fanout.__file__).read_bytes()
    compiler = re.search(rb"GCC: \(.*?\) ([0-9.]+)", binary)
    generated = ROOT / "build" / "cython" / "src" / "_fanout.c"
    banner = generated.read_text(errors="replace")[:200] if generated.exists() else ""
    cython = re.search(r"Generated by Cython ([0-9.]+)", banner)
    return {"gcc": compiler[1].decode() if compiler else "unknown", "cython": cython[1] if cython else "unknown"}
