"""Node for the tests of the JavaScript client: `npm ci` once, then whatever is run sees the package `ws`.

Node 20 or newer and npm are wanted. Without them these tests are skipped, and fail instead when CI=true.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[1] / "clients/js"
OLDEST = 20
INSTALL_SECONDS = 120.0


@functools.cache
def node() -> str:
    """The path of a Node that can run the client, the client's test dependencies being there."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        return _missing("the JavaScript tests need node and npm (Debian: apt-get install nodejs npm)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST:
        return _missing(f"the JavaScript tests need Node {OLDEST}, this is {version.strip()}")
    if not (CLIENT / "node_modules/ws").is_dir():
        _install()
    return found


def _install() -> None:
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        _missing(f"npm could not install what the JavaScript tests need:\n{done.stderr[-2000:]}")


def _missing(reason: str) -> str:
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
