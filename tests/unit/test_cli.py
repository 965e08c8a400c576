"""The command line as a user meets it: a process, its exit code, what it prints and where."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tailrace import __version__
from tailrace.cli.main import parser

KAFKA = ["--kafka", "127.0.0.1:1"]


def tailrace(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAILRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments: list[str]) -> None:
    done = tailrace(*arguments)
    assert (done.returncode, done.stdout) == (0, f"tailrace {__version__}\n")


@pytest.mark.parametrize("command", [["serve"], ["demo"], ["config", "check"], ["config", "show"], ["version"]])
def test_an_unknown_flag_is_named(command: list[str]) -> None:
    done = tailrace(*command, "--bogus")
    assert done.returncode == 2
    assert "unrecognized arguments: --bogus" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["config"], ["srve"], ["config", "chek"], ["serve", "--listen"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = tailrace(*arguments)
    assert done.returncode == 2
    assert "usage: tailrace" in done.stderr


def test_options_cannot_be_abbreviated() -> None:
    done = tailrace("serve", "--lis", "127.0.0.1:1")
    assert done.returncode == 2
    assert "--lis" in done.stderr


DEMO = "--listen --admin --no-admin --console --no-console --log-level --log-format"
SERVE = f"--config --kafka --topic --workers --set {DEMO}"


@pytest.mark.parametrize(("command", "options"), [("serve", SERVE), ("demo", DEMO)])
def test_the_options_are_the_documented_ones(command: str, options: str) -> None:
    done = tailrace(command, "--help")
    assert done.returncode == 0
    assert {word.strip("[]|,") for word in done.stdout.split() if word.strip("[|").startswith("--")} == {
        "--help",
        *options.split(),
    }


# --- serve, config check: faults ---


@pytest.mark.parametrize("command", [["serve"], ["config", "check"], ["config", "show"]])
def test_faults_are_told_one_a_line_and_exit_2(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[listen]\nadress = 'x'\n")
    arguments = ["--config", str(file), "--set", "limits.nonsense=1", "--log-level", "loud", "--workers", "none"]
    done = tailrace(*command, *arguments, TAILRACE_TAIL__MAX_BYTES="5")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"tailrace: listen.adress ({file}:2): unknown key, did you mean listen.address?",
        'tailrace: tail.max_bytes (environment TAILRACE_TAIL__MAX_BYTES): 5 has no unit: a size is written like "1MiB"',
        "tailrace: limits.nonsense (--set): unknown key",
        'tailrace: log.level (--log-level): "loud" is not one of debug, error, info, warning',
        'tailrace: kafka."bootstrap.servers" (default): missing: --kafka HOST:PORT says where Kafka is',
        'tailrace: --workers: "none" is not a number of processes',
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "0.0.0.0:1"], "listen.address (--listen): not loopback"),
        (["--listen", "nonsense"], "listen.address (--listen): expected HOST:PORT"),
        (["--admin", "nonsense"], "admin.address (--admin): expected HOST:PORT"),
        (["--log-format", "xml"], 'log.format (--log-format): "xml" is not one of'),
        (["--config", "/nonexistent.toml"], "--config /nonexistent.toml: cannot be read"),
        (["--set", "a\x1b[2Jb.c=1"], "--set a\\x1b[2Jb.c: expected SECTION.KEY=VALUE"),
        (["--set", 'kafka."bootstrap.severs"=x'], 'kafka."bootstrap.severs" (--set): '),
        (["--set", 'kafka."group.id"=x'], 'kafka."group.id" (--set): cannot be set'),
        (["--topic", "orders,prices"], 'topics."orders,prices".subscribe (--topic): no topic can have this name'),
        (["--set", 'topics."a b".publish=true'], 'topics."a b".publish (--set): no topic can have this name'),
        (["--workers", "257"], "--workers: 257 is more than 256"),
        (["--workers", "0"], '--workers: "0" is not a number of processes'),
        (["--workers", "9" * 5000], '--workers: "9999'),
        (["--set", "rules=[{topics=[], allow=[]}]"], "rules (--set): rules[0].topics: names no topic"),
        (
            ["--set", "auth.secret=hunter2"],
            'auth.secret (--set): nobody is asked for a token without auth.mode = "jwt"',
        ),
    ],
)
def test_a_fault_names_the_option(arguments: list[str], says: str) -> None:
    done = tailrace("config", "check", *KAFKA, *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"tailrace: {says}")


def test_what_would_let_somebody_in_is_refused_not_ignored() -> None:
    jwt = ["auth.mode=jwt", "auth.secret=hunter2"]  # how a token may be signed is not said
    files = ["listen.tls_certificate=c", "listen.tls_key=k"]
    done = tailrace("serve", *KAFKA, *(word for one in jwt + files for word in ("--set", one)))
    assert done.returncode == 2
    assert [line.split(" (")[0] for line in done.stderr.splitlines()] == [
        "tailrace: auth.mode",
        "tailrace: listen.tls_certificate",
    ]
    assert "hunter2" not in done.stderr


def test_a_sound_configuration_is_0() -> None:
    done = tailrace("config", "check", *KAFKA, "--topic", "orders", "--no-admin")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_address_in_use_is_one_line_and_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = tailrace("serve", *KAFKA, "--no-admin", "--listen", address)
    assert done.returncode == 1
    assert done.stderr == f"tailrace: cannot listen on {address}: Address already in use\n"


# --- config show ---


def test_show_is_what_serve_would_run(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[kafka]\n"bootstrap.servers" = "file:1"\n"sasl.password" = "hunter2"\n[log]\nlevel = "debug"\n')
    arguments = ["--config", str(file), "--kafka", "flag:1", "--topic", "a.*", "--no-admin", "--console"]
    done = tailrace("config", "show", *arguments, TAILRACE_LOG__LEVEL="error")
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    for line in [
        '"bootstrap.servers" = "flag:1"',
        '[topics."a.*"]',
        "address = false",
        "console = true",
        'level = "error"',
    ]:
        assert line in done.stdout.splitlines()


def test_what_is_shown_is_a_configuration_again(tmp_path: Path) -> None:
    shown = tailrace("config", "show", *KAFKA, "--topic", "orders").stdout
    file = tmp_path / "shown.toml"
    file.write_text(shown)
    assert tailrace("config", "show", "--config", str(file)).stdout == shown


# --- in the process ---


def test_version_does_not_load_the_gateway() -> None:
    script = "import sys; from tailrace.cli.main import main; main(['version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.split())
    assert "tailrace.cli.main" in loaded
    assert not loaded & {"trio", "confluent_kafka", "structlog", "tailrace._fanout"}


def test_every_command_has_something_to_run() -> None:
    for line in (["serve"], ["demo"], ["config", "check"], ["config", "show"], ["version"]):
        assert callable(parser().parse_args(line).command)
