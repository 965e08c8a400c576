"""The layer table of docs/architecture.md, read off the imports: downward only, and each library in its one place.

`violations` judges one module's source; what it must find is planted below, so that this test can fail.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.core_source import core_source

SOURCE = Path(__file__).parents[2] / "src"

LAYERS: dict[str, tuple[str, ...]] = {
    "words": ("__init__", "errors", "disconnect", "units", "address", "printable", "config", "configuration"),
    "core": ("core", "_fanout", "demo", "client"),
    "edges": ("kafka", "http", "sockets", "websocket", "console", "auth", "metrics"),
    "gateway": ("gateway", "workers"),
    "entry": ("cli", "__main__"),
}
RANK = {part: rank for rank, parts in enumerate(LAYERS.values()) for part in parts}
EDGES = set(LAYERS["edges"])

# Third-party libraries, and the only parts that may import them; every other library is a fault.
LIBRARIES: dict[str, set[str]] = {
    "msgspec": set(RANK),
    "confluent_kafka": {"kafka"},
    "trio_websocket": {"websocket"},
    "wsproto": {"websocket"},
    "h11": {"http"},
    "jwt": {"auth"},
    "prometheus_client": {"metrics"},
    "trio": {*LAYERS["edges"], *LAYERS["gateway"], *LAYERS["entry"]},
    "outcome": {*LAYERS["edges"], *LAYERS["gateway"]},  # what trio's reschedule() takes
    "structlog": {*LAYERS["edges"], *LAYERS["gateway"], *LAYERS["entry"]},
}
# The core decides, it does not do: no sockets, clocks, logging, threads, processes.
IMPURE = {"asyncio", "concurrent", "logging", "multiprocessing", "queue", "select", "selectors", "signal", "socket"}
IMPURE |= {"ssl", "subprocess", "threading", "time"}
PURE_LAYERS = ("words", "core")


class Import(NamedTuple):
    line: int
    module: str


def imports(source: str) -> Iterator[Import]:
    """Every import, inside functions and `if TYPE_CHECKING` too; `from a import b` is named a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{module}.{alias.name}") for alias in node.names)


def violations(part: str, source: str) -> list[str]:
    """What is wrong with the imports of a module in `part`, the first name below tailrace."""
    found = ((imported, _wrong(part, imported.module)) for imported in imports(source))
    return [f"line {imported.line}: {imported.module}: {what}" for imported, what in found if what]


def _wrong(part: str, module: str) -> str:
    top, _, rest = module.partition(".")
    if top == "":
        return "relative import"
    if top == "tailrace":
        return _wrong_own(part, rest.partition(".")[0])
    if top in sys.stdlib_module_names:
        pure = any(part in LAYERS[layer] for layer in PURE_LAYERS)
        return "not in the core" if pure and top in IMPURE else ""
    if top not in LIBRARIES:
        return "not a dependency"
    return "" if part in LIBRARIES[top] else f"not in {part}"


def _wrong_own(part: str, target: str) -> str:
    target = target if target in RANK else "__init__"  # `from tailrace import __version__`
    if RANK[target] > RANK[part]:
        return "upward"
    if part != target and {part, target} <= EDGES:
        return "edge to edge"
    return ""


def modules() -> Iterator[tuple[str, Path]]:
    for file in sorted((SOURCE / "tailrace").rglob("*.py")):
        yield file.relative_to(SOURCE / "tailrace").parts[0].removesuffix(".py"), file


@pytest.mark.parametrize(("part", "file"), list(modules()), ids=lambda value: str(value).removeprefix(str(SOURCE)))
def test_imports_go_downward_only(part: str, file: Path) -> None:
    assert part in RANK, "a new package needs its place in the table"
    assert violations(part, file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("part", "source", "what"),
    [
        ("core", "from tailrace.kafka.live import LiveConsumer", "upward"),
        ("core", "def f():\n    import tailrace.gateway.server", "upward"),
        ("config", "from tailrace.core import frame", "upward"),
        ("gateway", "from tailrace.cli import logs", "upward"),
        ("kafka", "from tailrace.http import answers", "edge to edge"),
        ("core", "import trio", "not in core"),
        ("core", "import time", "not in the core"),
        ("core", "from threading import Lock", "not in the core"),
        ("units", "import logging", "not in the core"),
        ("core", "import structlog", "not in core"),
        ("gateway", "from confluent_kafka import Consumer", "not in gateway"),
        ("core", "if TYPE_CHECKING:\n    from confluent_kafka import Message", "not in core"),
        ("gateway", "import trio_websocket", "not in gateway"),
        ("core", "import jwt", "not in core"),
        ("http", "import requests", "not a dependency"),
        ("http", "from . import answers", "relative import"),
    ],
)
def test_a_planted_violation_is_found(part: str, source: str, what: str) -> None:
    [found] = violations(part, source)
    assert found.endswith(what)


def test_what_is_allowed_is_not_found() -> None:
    source = (
        "import time, trio, structlog\nfrom tailrace import __version__, disconnect\nfrom tailrace.core import frame\n"
    )
    assert violations("kafka", source + "import confluent_kafka\nfrom tailrace.kafka import batch") == []


def test_the_compiled_core_imports_nothing_that_does() -> None:
    source = core_source()
    imported = re.findall(r"^\s*(?:from|import)\s+([\w.]+)\s*(?:import|$)", source, re.MULTILINE)
    assert [module for module in imported if _wrong("_fanout", module)] == []


def test_every_library_that_may_be_imported_is_a_dependency() -> None:
    pyproject = (SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8")
    names = {"jwt": "pyjwt[crypto]"}
    for library in LIBRARIES:
        assert f'"{names.get(library, library.replace("_", "-"))}>=' in pyproject
