"""What the benchmarks read of processes and of the machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.harness import cpu

TICKS = cpu.CLOCK_TICKS_PER_SECOND


def test_own_clock_agrees_with_the_process_clock() -> None:
    before = time.process_time()
    assert before <= cpu.process_seconds(os.getpid()) <= time.process_time()


def test_gone_process_raises() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(OSError):
        cpu.process_seconds(ended.pid)


def test_family_counts_the_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in cpu.children(os.getpid())
        assert cpu.family_seconds(os.getpid()) >= cpu.process_seconds(child.pid) + 0.3 - 0.05
        child.communicate(b"\n")


def test_threads_that_end_meanwhile_have_no_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread listed is gone when it is asked: its folder holds no `children`."""
    for thread, held in {"1": "11 12", "2": None, "3": "13"}.items():
        (tmp_path / thread).mkdir()
        if held is not None:
            (tmp_path / thread / "children").write_text(held)
    monkeypatch.setattr(cpu, "Path", lambda _: tmp_path)
    assert sorted(cpu.children(1)) == [11, 12, 13]


def test_resident_memory_grows_with_what_is_touched() -> None:
    """In a process of its own: the allocator of one that has run for long may hand out pages it touched before."""
    size = 40_000_000
    reserve, touch = f"import mmap\nheld = mmap.mmap(-1, {size})\n", f"held.write(b'x' * {size})\n"
    code = f"{reserve}print(flush=True)\ninput()\n{touch}print(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        before = cpu.resident_bytes(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        assert cpu.resident_bytes(child.pid) - before > 35_000_000
        child.communicate(b"\n")


def test_machine_line_is_taken_apart() -> None:
    ticks = [1, 2, 3, 100, 100, 4, 5, 6, 7, 8]
    machine = cpu.read_machine("cpu  " + " ".join(str(number * TICKS) for number in ticks), 9.0)
    assert machine == cpu.Machine(busy_seconds=1 + 2 + 3 + 4 + 5, stolen_seconds=6, monotonic_seconds=9.0)


def test_strangers_are_what_is_neither_ours_nor_idle() -> None:
    before, after = cpu.Machine(10, 1, 100), cpu.Machine(16, 2, 104)
    assert cpu.foreign_share(before, after, ours_seconds=4, cpus=2) == pytest.approx((6 - 4 + 1) / 8)


def test_strangers_are_never_negative() -> None:
    before, after = cpu.Machine(10, 0, 100), cpu.Machine(11, 0, 104)
    assert cpu.foreign_share(before, after, ours_seconds=1.02, cpus=2) == 0
