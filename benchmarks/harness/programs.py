"""Compiles the C programs of benchmarks/limit, once a process, and says where they are."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = ROOT / "benchmarks" / "limit"
OUT = ROOT / "build" / "limit"


class CannotCompile(Exception):
    """No compiler, or it failed; carries its output."""


@functools.cache
def program(name: str) -> Path:
    """The path of `gateway`, `sink`, `producer`, `sendloop` or `drain`, compiled when its sources changed."""
    if shutil.which("make") is None or shutil.which("gcc") is None:
        raise CannotCompile("make and gcc are needed to compile benchmarks/limit")
    make = ["make", "--silent", "-C", str(LIMIT), f"PYTHON={sys.executable}", f"OUT={OUT}", f"{OUT / name}"]
    done = subprocess.run(make, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompile(done.stdout + done.stderr)
    return OUT / name
