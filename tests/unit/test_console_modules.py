"""The console's pure modules, run by Node: what can be typed and what it means; what an absence is called later."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.node import node

STATIC = Path(__file__).parents[2] / "src/tailrace/console/static"
NOW = 1_763_862_162_044  # 2025-11-23T01:42:42.044Z


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files where Node takes them for modules."""
    directory = tmp_path_factory.mktemp("console")
    for name in ("asked.js", "absence.js", "format.js"):
        shutil.copy(STATIC / name, directory)
    (directory / "package.json").write_text('{"type": "module"}')
    return directory


def evaluated(modules: Path, file: str, expression: str, given: Any) -> list[Any]:
    """`expression` of `module` and each `given`, in UTC; what throws gives its message with "!" before it."""
    script = f"""
        const module = await import("./{file}");
        const attempt = (given) => {{
          try {{ return {expression}; }} catch (error) {{ return `!${{error.message}}`; }}
        }};
        console.log(JSON.stringify({json.dumps(given)}.map(attempt)));
    """
    command = [node(), "--input-type=module", "-e", script]
    environment = os.environ | {"TZ": "UTC"}
    done = subprocess.run(command, cwd=modules, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_beginning_as_it_is_typed(modules: Path) -> None:
    cases = {
        ("latest", ""): "latest",
        ("snapshot", "left over"): "snapshot",
        ("last", " 100 "): "last:100",
        ("last", "many"): "!“many” is not a number of records, such as 100.",
        ("last", "-1"): "!“-1” is not a number of records, such as 100.",
        ("timestamp", "15m"): "timestamp:2025-11-23T01:27:42.044Z",
        ("timestamp", "2 h ago"): "timestamp:2025-11-22T23:42:42.044Z",
        ("timestamp", "01:30"): "timestamp:2025-11-23T01:30:00.000Z",
        ("timestamp", "14:30:05"): "timestamp:2025-11-22T14:30:05.000Z",
        ("timestamp", "2025-11-20 10:00"): "timestamp:2025-11-20T10:00:00.000Z",
        ("timestamp", "2025-11-20T10:00:00+02:00"): "timestamp:2025-11-20T08:00:00.000Z",
        ("timestamp", "1763862162044"): "timestamp:2025-11-23T01:42:42.044Z",
        ("timestamp", ""): "!“” is not a time, such as 15m, 14:30 or 2026-11-23 10:00.",
        ("timestamp", "1960-01-01"): "!“1960-01-01” is not a time, such as 15m, 14:30 or 2026-11-23 10:00.",
        ("offsets", "0=1,1=2"): "offsets:0=1,1=2",
        ("offsets", "offsets:0=1"): "offsets:0=1",
        ("offsets", "0:1"): "!“0:1” is not offsets, such as 0=124,1=88.",
        ("nonsense", ""): "!“nonsense” is not a place to begin.",
    }
    found = evaluated(modules, "asked.js", f"module.fromOf(...given, {NOW})", [list(case) for case in cases])
    assert dict(zip(cases, found, strict=True)) == cases


def test_keys_as_they_are_typed(modules: Path) -> None:
    cases = {
        "": None,
        " , ": None,
        "a": ["a"],
        " a, b c ": ["a", "b c"],
        '["a,b", null, ""]': ["a,b", None, ""],
        "[]": '!“[]” is not a JSON list of keys, such as ["a,b", null].',
        "[1]": '!“[1]” is not a JSON list of keys, such as ["a,b", null].',
    }
    assert dict(zip(cases, evaluated(modules, "asked.js", "module.keysOf(given)", list(cases)), strict=True)) == cases


@pytest.mark.parametrize("name", ["keys", "asked"])
def test_what_is_written_reads_back_as_the_same(modules: Path, name: str) -> None:
    keys = [None, ["a"], ["a", "b"], ["a,b"], [None], ["", "x"], ["[x"], [" x"], ["ü&=#%"]]
    asked = [{"topic": "t&#", "keys": each, "from": "last:1", "slow": "skip"} for each in keys]
    asked += [{"topic": "t", "keys": None, "from": "latest", "slow": "wait"}]
    expressions = {
        "keys": ("module.keysOf(module.keysText(given))", keys),
        "asked": ("module.fromFragment(module.toFragment(given))", asked),
    }
    expression, given = expressions[name]
    assert evaluated(modules, "asked.js", expression, given) == given


def test_an_absence_in_words(modules: Path) -> None:
    """Of the partitions 0, known to be at 10, and 1, which is new."""

    def record(partition: int, offset: int) -> dict[str, int]:
        return {"partition": partition, "offset": offset}

    def gap(to: int | None) -> dict[str, int | None]:
        return {"partition": 0, "from": 10, "to": to, "next": 30}

    cases = [
        ([], "Nothing came meanwhile: nothing is missing."),
        ([record(0, 10)], "1 record came meanwhile: all here, each once."),
        ([record(0, 10), record(1, 0), record(0, 12)], "3 records came meanwhile: all here, each once."),
        ([record(0, 9), record(0, 10)], "2 records came meanwhile, 1 of them for the second time."),
        ([gap(30), record(0, 30)], "1 record came meanwhile that Kafka still has; 20 offsets missing, as told."),
        ([gap(None)], "Nothing came meanwhile that Kafka still has; some missing, as told."),
    ]
    expression = """(() => {
        const absence = new module.Absence([["0", 10]], 1000);
        given.forEach((one) => ("next" in one ? absence.gap(one) : absence.record(one)));
        return absence.inWords(5200);
    })()"""
    found = evaluated(modules, "absence.js", expression, [given for given, _ in cases])
    assert found == [f"Away for 4.2 s. {words}" for _, words in cases]
