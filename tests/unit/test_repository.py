"""What nothing else would notice: the files around the code say what the code does, and links lead somewhere."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace import __version__
from tailrace.cli.main import parser
from tailrace.configuration import brokers, load

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "examples", "benchmarks", "deploy")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(file for each in FOLDERS for file in ROOT.glob(f"{each}/**/*.md"))]
DOCUMENTS.append(ROOT / "clients/js/README.md")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- docker-compose.yml ---


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load(text("docker-compose.yml"))
    assert loaded.keys() == {"services"}
    assert loaded["services"].keys() == {"kafka", "gateway"}
    services: dict[str, Any] = loaded["services"]
    return services


def test_compose_runs_kafka_in_kraft_mode(compose: dict[str, Any]) -> None:
    kafka = compose["kafka"]
    environment = kafka["environment"]
    assert re.fullmatch(r"apache/kafka:\d+\.\d+\.\d+", kafka["image"]), "a pinned version of the official image"
    assert environment["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert "KAFKA_ZOOKEEPER_CONNECT" not in environment
    listeners = dict(one.split("://") for one in environment["KAFKA_LISTENERS"].split(","))
    protocols = dict(one.split(":") for one in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert listeners.keys() == protocols.keys()
    controller = environment["KAFKA_CONTROLLER_LISTENER_NAMES"]
    assert (
        environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{environment['KAFKA_NODE_ID']}@kafka{listeners[controller]}"
    )


def test_compose_leads_the_gateway_to_the_advertised_broker(compose: dict[str, Any]) -> None:
    advertised = compose["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert advertised == "PLAINTEXT://" + compose["gateway"]["environment"]["TAILRACE_KAFKA__BOOTSTRAP_SERVERS"]


def test_compose_configures_the_gateway_without_a_fault(compose: dict[str, Any]) -> None:
    gateway = compose["gateway"]
    arguments = parser().parse_args(gateway["command"])
    config = load(environment=gateway["environment"], checks=[brokers])
    assert arguments.topic
    published = dict(one.removeprefix("127.0.0.1:").split(":") for one in gateway["ports"])
    assert {config.listen.address, config.admin.address} == {f"0.0.0.0:{port}" for port in published.values()}


def test_compose_gives_the_gateway_no_more_than_it_needs(compose: dict[str, Any]) -> None:
    gateway = compose["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]


def test_compose_reaches_no_further_than_this_machine(compose: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for service in compose.values() for port in service.get("ports", []))


def test_compose_lets_the_gateway_drain(compose: dict[str, Any]) -> None:
    grace_seconds = int(compose["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace_seconds > load().shutdown.timeout


# --- Dockerfile ---


def test_dockerfile_is_multi_stage_and_not_root() -> None:
    stages = re.split(r"^FROM ", text("Dockerfile"), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert "gcc" not in stages[-1]
    [user] = re.findall(r"^USER (\S+)$", stages[-1], re.MULTILINE)
    assert user not in ("0", "root")


def test_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text("Dockerfile"), re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert name in allowed


# --- Makefile, CI ---


@pytest.mark.parametrize(
    "target", ["demo", "test", "install", "lint", "bench", "check-bench", "accept-bench", "soak", "docs"]
)
def test_make_knows_the_target(target: str) -> None:
    assert re.search(rf"^{target}:.*##", text("Makefile"), re.MULTILINE)


def test_make_test_leaves_out_only_slow_and_benchmark() -> None:
    assert '-m "not slow and not benchmark"' in text("Makefile")


def test_ci_runs_lint_and_the_readmes_test_command() -> None:
    script = ROOT / ".ci/run"
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in lines
    assert {"export CI=true", "make lint", "make test", "make check-bench"} <= set(lines)
    subprocess.run(["bash", "-n", script], check=True)


# --- pyproject.toml ---


def test_what_tests_and_benchmarks_import_is_a_declared_dependency() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    declared = {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements}
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for folder in ("tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if "peers" not in file.relative_to(ROOT).parts[:-1]  # other gateways, which have an environment of their own
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    own = {"tailrace", "tests", "benchmarks"}
    libraries = {(module or "").partition(".")[0] for module in imported} - own - sys.stdlib_module_names
    distributions = packages_distributions()
    spelled = {name: {each.lower().replace("_", "-") for each in found} for name, found in distributions.items()}
    assert {name for name in libraries if declared.isdisjoint(spelled.get(name, ()))} == set()


# --- words ---


def test_the_readme_begins_with_the_two_commands() -> None:
    beginning = text("README.md").splitlines()[:15]
    assert any(line.startswith("make demo") for line in beginning)
    assert any(line.startswith("make test") for line in beginning)


def test_the_version_is_written_down_once() -> None:
    assert "version" in tomllib.loads(text("pyproject.toml"))["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert "## [Unreleased]" in text("CHANGELOG.md")


@pytest.mark.parametrize(
    "package", sorted((ROOT / "src/tailrace").glob("*/__init__.py")), ids=lambda each: each.parent.name
)
def test_a_packages_opening_names_all_that_is_in_it(package: Path) -> None:
    opening = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
    modules = {each.stem for each in package.parent.glob("*.py")} - {"__init__"}
    assert modules <= set(re.findall(r"\w+", opening))


def test_operations_names_every_event_of_the_log() -> None:
    """But those of `debug`."""
    named = set(re.findall(r"`([^`]+)`", text("docs/operations.md").partition("## What the log says")[2]))
    said = {
        call.args[0].value
        for file in (ROOT / "src/tailrace").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("info", "warning", "error", "exception")
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert len(said) > 30
    assert said <= named


def test_the_licence_is_the_declared_one() -> None:
    assert tomllib.loads(text("pyproject.toml"))["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text("LICENSE")
    assert "END OF TERMS AND CONDITIONS" in text("LICENSE")


def anchors(document: Path) -> set[str]:
    """The anchors GitHub gives the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (document.parent / name) if name else document
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target
