"""Dashboard and alert rules against the metrics that exist: names, labels, kinds, and what the documents say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace.metrics.families import FAMILIES, Kind

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/tailrace.rules.yaml"
DASHBOARD = ROOT / "deploy/grafana/tailrace.json"

METRIC = re.compile(r"\b(?:tailrace|process)_\w+\b")
# A metric, its selector, and whether its rate is taken.
USE = re.compile(r"(?P<rate>(?:rate|increase)\()?(?P<name>\b(?:tailrace|process)_\w+)(?:\{(?P<selector>[^}]*)\})?")
# What Prometheus itself adds.
TARGET_LABELS = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def faults(expression: str) -> list[str]:
    """What is wrong with it, as far as it can be told without Prometheus."""
    found = [] if expression.count("(") == expression.count(")") else ["parentheses"]
    labels: set[str] = set(TARGET_LABELS)
    for use in USE.finditer(expression):
        name = use["name"]
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        family = FAMILIES.get(name) or FAMILIES.get(base)
        if family is None:
            found.append(f"no metric {name}")
            continue
        if (family.kind is Kind.HISTOGRAM) != (name != family.name):
            found.append(f"{name} is a {family.kind.value}")
        if bool(use["rate"]) != (family.kind is not Kind.GAUGE):
            found.append(f"{name}: a rate is for what only rises")
        labels |= set(family.labels) | ({"le"} if name.endswith("_bucket") else set())
        selected = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", use["selector"] or ""))
        found += [f"{name} has no label {label}" for label in selected - labels]
    for grouped in re.findall(r"\b(?:by|without) \(([^)]*)\)", expression):
        found += [f"no label {label}" for label in {each.strip() for each in grouped.split(",")} - labels]
    return found


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_is_of_what_there_is(expression: str) -> None:
    assert faults(expression) == []


@pytest.mark.parametrize(
    "expression",
    [
        "tailrace_conections > 1",
        "rate(tailrace_connections[5m])",
        "tailrace_gaps_total > 1",
        "tailrace_end_to_end_seconds > 1",
        "rate(tailrace_gaps_total_bucket[5m])",
        'tailrace_connections{topic="a"}',
        "sum by (topic) (tailrace_connections)",
        "sum (tailrace_connections",
    ],
)
def test_what_is_wrong_is_found(expression: str) -> None:
    assert faults(expression) != []


def test_every_alert_says_what_it_means_and_is_explained() -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 5
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"`{rule['alert']}`" in operations


def test_alerts_speak_of_labels_that_are_left() -> None:
    for rule in rules():
        said = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
        kept = set(re.split(r",\s*", grouped[1])) if grouped else labels_of(rule["expr"])
        assert said <= kept, rule["alert"]


def labels_of(expression: str) -> set[str]:
    families = [FAMILIES[name] for name in METRIC.findall(expression)]
    return TARGET_LABELS | {label for family in families for label in family.labels}


def test_panels_do_not_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(set(ids)) == len(ids)
