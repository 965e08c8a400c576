"""What packages are made of: pins that fit the declared dependencies, and wheels for what is declared to run."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([\w.-]+)==([\w.]+) \\$", re.MULTILINE)
LOWER_BOUND = re.compile(r"^([\w.-]+)(?:\[\w+\])?>=([\d.]+)$")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / name).read_text()))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def assert_pinned(requirements: list[str], found: dict[str, str]) -> None:
    for requirement in requirements:
        match = LOWER_BOUND.match(requirement)
        assert match, requirement
        name, least = match.groups()
        assert name.lower() in found, f"{name} is not pinned: make lock"
        assert numbers(found[name.lower()]) >= numbers(least), f"{name}: make lock"


def test_every_dependency_is_pinned(pyproject: dict[str, Any]) -> None:
    assert_pinned(pyproject["project"]["dependencies"], pins("runtime.txt"))


def test_what_builds_is_pinned(pyproject: dict[str, Any]) -> None:
    requires = pyproject["build-system"]["requires"]
    assert_pinned(requires, pins("build.txt"))
    written = (ROOT / "requirements/build.in").read_text().splitlines()
    assert [line for line in written if not line.startswith("#")] == requires


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt"])
def test_every_pin_has_its_hashes(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) == len(pins(name)) > 0
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text, "no index is written down"


def test_wheels_are_made_for_what_is_declared(pyproject: dict[str, Any]) -> None:
    wheels = pyproject["tool"]["cibuildwheel"]
    first = pyproject["project"]["requires-python"].removeprefix(">=").replace(".", "")
    assert wheels["build"][0] == f"cp{first}-*"
    assert "test-command" in wheels
    for command in wheels["test-command"]:
        assert all((ROOT / word).exists() for word in command.split() if word.startswith("tests/"))


def test_the_image_is_made_from_the_pins() -> None:
    text = (ROOT / "Dockerfile").read_text()
    installs = re.findall(r"install [^&\n]*(?=[\n&])", text)
    from_index = [line for line in installs if "apt-get" not in line and "--no-index" not in line and "-y" not in line]
    assert len(from_index) == 2
    assert all("--require-hashes" in line for line in from_index)
