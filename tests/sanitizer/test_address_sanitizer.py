"""The compiled modules' own tests once more, built with AddressSanitizer: a read or write past a block ends the run.

The extensions are built unoptimised into a copy of the package in a temporary directory; the tests run in a Python
that has the sanitizer's library loaded first. That it would be seen is tested with a planted overrun.
"""

import functools
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.core_source import core_source

ROOT = Path(__file__).parents[2]
SECONDS = 600
TESTS = ("test_fanout.py", "test_fanout_readback.py", "test_fanout_model.py", "test_json.py", "test_append.py")
PLANTED = """
    cdef char* planted = <char*>malloc(8)
    planted[8 + (0 if planted == NULL else len(frames) * 0)] = 1
"""

Built = tuple[Path, dict[str, str]]


def library() -> str:
    """The compiler's own; skips without one, but not in CI."""
    found = (
        shutil.which("gcc")
        and subprocess.run(
            ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    if not found or not Path(found).is_file():
        if os.environ.get("CI"):
            pytest.fail("gcc with libasan is required when CI=true", pytrace=False)
        pytest.skip("no gcc with libasan")
    return str(Path(found).resolve())


def build(folder: Path, plant: str = "") -> Built:
    """A copy of the package with sanitized extensions, and the environment that finds it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LD_PRELOAD": library(),
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONMALLOC": "malloc",  # or small objects lie in pools that the sanitizer sees as one piece
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=66",  # Python leaks at its end by design
    }
    shutil.copytree(
        ROOT / "src" / "tailrace", folder / "tailrace", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    for file in sorted((ROOT / "src").glob("*.pyx")):
        name, source = file.stem, core_source(file.name)
        if plant and name != "_fanout":
            continue
        if plant:
            place = "        cdef Wire* wire = &self.wire\n        cdef size_t size = PyBytes_GET_SIZE(frames)"
            assert source.count(place) == 1
            source = source.replace(place, plant.replace("\n    ", "\n        ") + place)
        (folder / f"{name}.pyx").write_text(source, encoding="utf-8")
        compile(folder, name)
    return folder, environment


def compile(folder: Path, name: str) -> None:
    cython = [
        sys.executable,
        "-m",
        "cython",
        "-3",
        f"{name}.pyx",
        "--module-name",
        f"tailrace.{name}",
        "-o",
        f"{name}.c",
    ]
    subprocess.run(cython, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    flags = ["-O1", "-g", "-w", "-fno-omit-frame-pointer", "-fno-strict-aliasing", "-fsanitize=address"]
    target = folder / "tailrace" / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = f"-I{sysconfig.get_path('include')}"
    subprocess.run(["gcc", "-shared", "-fPIC", *flags, include, f"{name}.c", "-o", str(target)], cwd=folder, check=True)


@functools.cache
def in_order() -> tuple[str, ...]:
    """A command that has memory laid out the same way each time, where that is allowed: kernels that shuffle it much
    now and then put something where the sanitizer keeps its books."""
    command = ("setarch", platform.machine(), "-R")
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return ()
    return command if allowed else ()


def run(built: Built, *arguments: str) -> subprocess.CompletedProcess[str]:
    _, environment = built
    return subprocess.run(
        [*in_order(), sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_compiled_modules_stay_within_their_memory(tmp_path: Path) -> None:
    built = build(tmp_path)
    place = run(built, "-c", "from tailrace import _fanout, _json; print(_fanout.__file__, _json.__file__)")
    assert place.stdout.count(str(tmp_path)) == 2, place.stdout + place.stderr
    files = [str(ROOT / "tests" / "unit" / name) for name in TESTS]
    done = run(built, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *files)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert "AddressSanitizer" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "test",
    ["fuzz/test_fuzz.py::test_a_minute_of[value]", "unit/test_fanout_model.py::test_soak"],
    ids=["values", "tail"],
)
def test_fuzzing_stays_within_their_memory(tmp_path: Path, test: str) -> None:
    """A minute each; FUZZ_SECONDS and TAILRACE_SOAK_RUNS for longer."""
    folder, environment = build(tmp_path)
    environment |= {"TAILRACE_SOAK_RUNS": "150"}
    environment |= {name: text for name, text in os.environ.items() if name in ("FUZZ_SECONDS", "TAILRACE_SOAK_RUNS")}
    done = run((folder, environment), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / test))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert "1 passed" in done.stdout


def test_an_overrun_is_found(tmp_path: Path) -> None:
    built = build(tmp_path, PLANTED)
    program = "import socket; from tailrace._fanout import Line; Line(socket.socketpair()[0].fileno()).post(b'x')"
    done = run(built, "-c", program)
    assert done.returncode == 66, done.stdout + done.stderr
    assert "heap-buffer-overflow" in done.stderr
