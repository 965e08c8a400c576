"""clients/js: its own tests, run by Node; what the package says of itself; that the console serves the same file."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.node import CLIENT, node

from tailrace import __version__

FILES = sorted((CLIENT / "test").glob("*.test.js"))
CONSOLE = Path(__file__).parents[2] / "src/tailrace/console/static/tailrace.js"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_clients_own_tests_pass(file: Path) -> None:
    command = [node(), "--no-warnings", "--test", "--test-reporter=tap", str(file)]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    ran = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert ran is not None
    assert int(ran[1]) > 1, "the file's tests, not the file alone"


def test_the_console_serves_this_client() -> None:
    assert CONSOLE.read_text() == (CLIENT / "tailrace.js").read_text(), f"cp clients/js/tailrace.js {CONSOLE.parent}/"


def test_the_package_has_no_dependencies_and_the_gateways_version() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    assert "dependencies" not in package
    assert package["version"] == __version__
    assert all((CLIENT / name).is_file() for name in package["files"])
    assert not re.search(r"^\s*import\s|\bimport\(|\brequire\(", (CLIENT / "tailrace.js").read_text(), re.MULTILINE)


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (CLIENT / "package-lock.json").read_text()


def test_every_export_is_declared() -> None:
    exported = r"^export (?:declare )?(?:const|function|class) (\w+)"
    source, declarations = (CLIENT / "tailrace.js").read_text(), (CLIENT / "tailrace.d.ts").read_text()
    assert re.findall(exported, source, re.MULTILINE)
    assert set(re.findall(exported, source, re.MULTILINE)) == set(re.findall(exported, declarations, re.MULTILINE))
