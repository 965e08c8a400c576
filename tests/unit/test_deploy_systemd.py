"""The systemd unit: what it starts exists, its times fit the gateway's, and systemd itself finds no fault."""

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace.cli.main import parser
from tailrace.configuration import load

UNIT = Path(__file__).parents[2] / "deploy/systemd/tailrace.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def test_it_starts_a_command_that_there_is(service: configparser.SectionProxy) -> None:
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/tailrace")
    assert parser().parse_args(arguments).config == "/etc/tailrace/tailrace.toml"


def test_the_drain_has_its_time(service: configparser.SectionProxy) -> None:
    assert service["KillMode"] == "mixed", "SIGTERM is for the main process to pass on"
    assert int(service["TimeoutStopSec"]) >= load().shutdown.timeout + 10


def test_it_waits_to_be_told(service: configparser.SectionProxy) -> None:
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) > 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    copy = tmp_path / "tailrace.service"
    copy.write_text(UNIT.read_text().replace("/opt/tailrace/bin/tailrace", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
