"""sdist and wheel as a stranger meets them: built, installed from the lock into an empty environment, and run.

The steps are the Dockerfile's; there is no Docker in them, so that they run anywhere. Takes most of a minute.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 600.0

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """stdout of a command, which must succeed; nothing of this checkout can be imported by it."""
    clean = {name: value for name, value in environment.items() if not name.startswith(("PYTHON", "TAILRACE"))}
    done = subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the pinned build tools, and the packages that it builds from this checkout, in `dist`."""
    folder = tmp_path_factory.mktemp("build")
    run(sys.executable, "-m", "venv", "venv", folder=folder)
    python = folder / "venv/bin/python"
    pins = ROOT / "requirements/build.txt"
    run(python, "-m", "pip", "install", "-q", "build", folder=folder)
    run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", pins, folder=folder)
    # From a copy: building leaves files behind.
    run("git", "clone", "-q", "--depth", "1", f"file://{ROOT}", "source", folder=folder)
    run(python, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source", folder=folder)
    return folder


@pytest.fixture(scope="module")
def installed(builder: Path) -> Path:
    """The bin folder of an environment with the wheel and what the lock says, nothing else."""
    [wheel] = (builder / "dist").glob("*.whl")
    target = builder / "installed"
    run(sys.executable, "-m", "venv", "--without-pip", target, folder=builder)
    pip = (builder / "venv/bin/python", "-m", "pip", "--python", target / "bin/python", "install", "-q")
    run(*pip, "--require-hashes", "-r", ROOT / "requirements/runtime.txt", folder=builder)
    run(*pip, "--no-deps", "--no-index", wheel, folder=builder)
    return target / "bin"


def test_the_sdist_has_what_a_build_needs(builder: Path) -> None:
    [sdist] = (builder / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", "LICENSE", "README.md", "src/_fanout.pyx", "src/_json.pyx"} <= names
    assert {"requirements/runtime.txt", "requirements/build.txt"} <= names
    assert not [name for name in names if name.endswith((".so", ".c", ".pyc"))]


def test_the_wheel_has_the_package_and_no_more(builder: Path) -> None:
    [wheel] = (builder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"tailrace"}
    packaged = {f"tailrace/{file.relative_to(ROOT / 'src/tailrace')}" for file in tracked("src/tailrace")}
    assert packaged <= names
    assert len([name for name in names if name.endswith(".so")]) == 2


def tracked(folder: str) -> list[Path]:
    """The files of the checkout, without what was built there."""
    listed = run("git", "ls-files", "-z", folder, folder=ROOT)
    return [ROOT / name for name in listed.split("\0") if name]


def test_it_runs_where_nothing_else_is(installed: Path, tmp_path: Path) -> None:
    tailrace = installed / "tailrace"
    assert run(tailrace, "version", folder=tmp_path).startswith("tailrace ")
    run(tailrace, "config", "check", "--kafka", "localhost:9092", "--topic", "orders", folder=tmp_path)
    modules = "tailrace._fanout, tailrace._json, tailrace.gateway.server, tailrace.workers.fleet, tailrace.cli.worker"
    where = run(installed / "python", "-c", f"import {modules}; print(tailrace.__file__)", folder=tmp_path)
    assert str(installed.parent) in where


def test_nothing_is_missing_from_the_lock(installed: Path, builder: Path, tmp_path: Path) -> None:
    run(builder / "venv/bin/python", "-m", "pip", "--python", installed / "python", "check", folder=tmp_path)
