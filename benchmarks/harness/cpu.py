"""CPU time and memory of processes, and of everybody else on the machine.

CPU seconds of a process come from its CPU clock (clock_getcpuclockid(3)): nanoseconds, all threads, ended ones too,
where /proc/PID/stat counts hundredths. Linux only.
"""

import contextlib
import os
import time
from pathlib import Path

import msgspec

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count() or 1


class Machine(msgspec.Struct, frozen=True):
    """CPU seconds of the whole machine since boot: by its processes, and taken away by the hypervisor."""

    busy_seconds: float
    stolen_seconds: float
    monotonic_seconds: float


def process_seconds(pid: int) -> float:
    """User and system seconds of a living process. Raises OSError when it is gone."""
    return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of that process, as clock_getcpuclockid makes it


def family_seconds(pid: int) -> float:
    """The same for a process and all its living descendants (workers)."""
    return process_seconds(pid) + sum(family_seconds(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """The living children of every thread of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended since it was listed
            found += map(int, (task / "children").read_text().split())
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; from smaps_rollup, because the counters of statm lag by some hundred pages."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no Rss in /proc/{pid}/smaps_rollup")


def machine() -> Machine:
    """The machine's counters now."""
    first_line = Path("/proc/stat").read_text().partition("\n")[0]
    return read_machine(first_line, time.monotonic())


def read_machine(line: str, monotonic_seconds: float) -> Machine:
    """Takes the `cpu` line of proc(5) apart: user nice system idle iowait irq softirq steal guest guest_nice."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(ticks) / CLOCK_TICKS_PER_SECOND for ticks in line.split()[1:9]
    )
    return Machine(user + nice + system + irq + softirq, steal, monotonic_seconds)


def foreign_share(before: Machine, after: Machine, ours_seconds: float, cpus: int = CPUS) -> float:
    """The share of the machine (0 to 1) that neither we nor the broker used: neighbours, and what the host took."""
    window_seconds = (after.monotonic_seconds - before.monotonic_seconds) * cpus
    busy = after.busy_seconds - before.busy_seconds - ours_seconds
    stolen = after.stolen_seconds - before.stolen_seconds
    return max(0.0, busy + stolen) / window_seconds if window_seconds else 0.0
