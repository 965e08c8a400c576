"""Would the gate notice? The core is built with a fan-out that is 10 % slower, and counted as `make check-bench` does.

Slower means more instructions for each send, about a tenth of what a delivery takes in user space; the kernel's share,
which is most of a delivery's time, is not even in that, so the whole fan-out is slower by 2 % at most. The core as it
stands, built in the same way, must pass.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from benchmarks.check import BASELINE
from benchmarks.gate.counting import Counts, count
from benchmarks.gate.verdict import compare
from msgspec import json
from tests.core_source import core_source

ROOT = Path(__file__).parents[2]
SOURCE = core_source()
SEND = 'ssize_t c_send "send"(int fd,'
SLOWER = '''cdef extern from *:
    """
    #include <sys/socket.h>
    static volatile int spent;
    __attribute__((noinline)) static ssize_t slower_send(int fd, const void *data, size_t size, int flags)
    {
        for (int i = 0; i < 6; i++)
            spent++;
        return send(fd, data, size, flags);
    }
    """

'''


def test_the_slower_send_fits_the_code() -> None:
    assert SOURCE.count(SEND) == 1, "the code has changed: write this mutant anew"


@pytest.mark.slow
def test_the_gate_finds_a_fan_out_that_is_slower_by_a_tenth(tmp_path: Path) -> None:
    baseline = counted(build(SOURCE, tmp_path / "plain"))
    slower = counted(build(slowed(SOURCE), tmp_path / "slower"))
    change = slower.paths["publish, one record"].instructions / baseline.paths["publish, one record"].instructions - 1
    assert 0.05 < change < 0.15
    verdict = compare(baseline, slower)
    assert not verdict.holds
    assert "publish, one record" in [finding.text.partition(":")[0] for finding in verdict.findings if finding.fails]


@pytest.mark.slow
def test_the_gate_lets_the_core_pass_as_it_stands(tmp_path: Path) -> None:
    verdict = compare(json.decode(BASELINE.read_bytes(), type=Counts), counted(build(SOURCE, tmp_path)))
    assert verdict.holds, [finding.text for finding in verdict.findings]


def slowed(source: str) -> str:
    """The same with a send that spends more."""
    place = source.index("cdef extern from")
    changed = source.replace(SEND, SEND.replace('"send"', '"slower_send"'))
    return changed[:place] + SLOWER + changed[place:]


def counted(core: Path) -> Counts:
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind")
    return count(core)


def build(source: str, folder: Path) -> Path:
    """The core, compiled as setup.py does it."""
    folder.mkdir(exist_ok=True)
    written, generated = folder / "_fanout.pyx", folder / "_fanout.c"
    written.write_text(source, encoding="utf-8")
    cython = [sys.executable, "-m", "cython", "-3", str(written), "--module-name", "tailrace._fanout"]
    subprocess.run([*cython, "-o", str(generated)], check=True, stdout=subprocess.DEVNULL)
    built = folder / f"_fanout{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags = re.findall(r"extra_compile_args=\[(.*?)\]", (ROOT / "setup.py").read_text())[0].replace('"', "").split(", ")
    python = (sysconfig.get_config_var("CFLAGS") or "").split()
    compiler = ["gcc", "-shared", "-fPIC", *python, "-w", *flags, f"-I{sysconfig.get_path('include')}"]
    subprocess.run([*compiler, str(generated), "-o", str(built)], check=True)
    return built
