"""The dashboard, the alarms, the page about them and the metrics that the service exports speak of the same."""

import json
import re

import pytest
from ruamel.yaml import YAML

from app.metrics import Metrics
from tests.paths import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
RULES = YAML(typ="safe").load(ROOT / "deploy/prometheus-alerts.yml")["groups"][0]["rules"]
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def exported():
    """Names of the service's metrics as Prometheus stores them, a histogram by its family."""
    families = Metrics().registry.collect()
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("sketchseek_")
    }


def labels_of(name):
    """The labels that a metric can have."""
    metrics = Metrics()
    for value in vars(metrics).values():
        if getattr(value, "_name", None) == name.removesuffix("_total"):
            return set(value._labelnames)
    for family in metrics.registry.collect():
        if family.name == name.removesuffix("_total") and family.samples:
            return set(family.samples[0].labels)
    raise KeyError(name)


def named(expression):
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bsketchseek_[a-z_]+", expression)}


EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_metric_has_a_panel_and_every_panel_a_metric():
    shown = set().union(*(named(expression) for expression in EXPRESSIONS))
    assert shown == exported()


def test_panels_say_what_they_show_and_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert len(panel["description"]) > 10, panel["title"]
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *(rule["expr"] for rule in RULES)])
def test_expressions_name_labels_that_exist(expression):
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    for name, selector in re.findall(r"\b(sketchseek_[a-z_]+)\{(.*?)\}", expression):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        allowed = labels_of(family) | {"job", "instance", "le"}
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= allowed
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", expression))))
    assert grouped <= {"job", "instance", "le"}.union(*(labels_of(name) for name in named(expression)))


def test_alarms_name_metrics_that_exist():
    for rule in RULES:
        assert named(rule["expr"]) <= exported(), rule["alert"]


def test_versions_differ_by_generation_or_by_commit():
    (rule,) = [rule for rule in RULES if rule["alert"] == "SketchseekVersionsDiffer"]
    assert named(rule["expr"]) == {"sketchseek_gallery_generation", "sketchseek_gallery_commit"}


def test_the_page_has_every_alarm_with_its_expression_and_what_to_do():
    chapter = OPERATIONS.split("## Alarms")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.+) \|$", chapter, re.MULTILINE)
    on_page = {name: (expression.replace("\\|", "|"), meaning) for name, expression, meaning in rows}
    expected = {rule["alert"]: rule["expr"] + (f" for {rule['for']}" if "for" in rule else "") for rule in RULES}
    assert {name: expression for name, (expression, _) in on_page.items()} == expected
    assert all(len(meaning) > 40 for _, meaning in on_page.values())


def test_codes_that_alarms_watch_are_codes_that_the_service_answers():
    answered = (ROOT / "docs/api.md").read_text().split("## Errors")[1]
    for rule in RULES:
        for codes in re.findall(r'code=~?"([^"]+)"', rule["expr"]):
            for code in codes.split("|"):
                assert f"`{code}`" in answered, code
