"""gateway/allocator: arenas, counted in a process of its own, which has threads that live at the same time."""

import ctypes
import os
import subprocess
import sys

import pytest

from tailrace.gateway.allocator import ARENAS, limit_arenas

THREADS = 40  # above glibc's own limit on one core, 8; on two, 16
COUNT = f"""
import ctypes, os, tempfile, threading
{{first}}
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.fdopen.restype = ctypes.c_void_p
all_there = threading.Barrier({THREADS} + 1)

def take():
    assert library.malloc(2000)
    all_there.wait()
    all_there.wait()

threads = [threading.Thread(target=take) for _ in range({THREADS})]
for thread in threads:
    thread.start()
all_there.wait()
with tempfile.TemporaryFile() as told:
    stream = ctypes.c_void_p(library.fdopen(os.dup(told.fileno()), b"w"))
    library.malloc_info(0, stream)
    library.fclose(stream)
    told.seek(0)
    print(told.read().count(b"<heap nr="))
all_there.wait()
"""
PREPARE = "from tailrace.gateway.server import prepare_process; prepare_process(None)"

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc"
)


def arenas(first: str, **environment: str) -> int:
    """Of a process that does `first` and then has THREADS threads."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
    }
    command = [sys.executable, "-c", COUNT.format(first=first)]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_gateway_has_two() -> None:
    assert arenas(PREPARE) <= ARENAS


def test_it_would_have_more() -> None:
    assert arenas("") >= 8


@pytest.mark.parametrize(
    "environment",
    [{"MALLOC_ARENA_MAX": "5"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}],
    ids=["variable", "tunable"],
)
def test_who_sets_a_number_has_it(environment: dict[str, str]) -> None:
    assert arenas(PREPARE, **environment) == 5
    assert not limit_arenas(environment)
