"""Alerts, dashboard and autoscaling ask for metrics that exist, and say what they are meant to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from predictor.capacity import STAGES
from predictor.protocol.status import TABLE
from tests.manifests.kustomize import MANIFESTS, only, with_components

RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"
METRIC = re.compile(r"\bmillrace_[a-z_]+")
# What a histogram is served as.
PARTS = ("_bucket", "_sum", "_count")
FAMILIES = (
    "import predictor.metrics as m, prometheus_client as p\n"
    "all = p.REGISTRY.collect()\n"
    "print(*(f'{f.name}:{f.type}' for f in all if f.name.startswith('millrace_')))\n"
    "print(*m.COMPUTED)"
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Everything that asks Prometheus."""
    return with_components(tmp_path_factory.mktemp("asking"), "monitoring", "autoscaling-keda")


@pytest.fixture(scope="module")
def rules(objects):
    """Every rule of both PrometheusRules."""
    return [
        rule
        for each in objects
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]


@pytest.fixture(scope="module")
def expressions(objects, rules):
    """Every expression of rules, dashboard and autoscaling."""
    config = only(objects, "ConfigMap", "millrace-dashboard")
    dashboard = json.loads(config["data"]["dashboard.json"])
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [
        each["definition"] for each in dashboard["templating"]["list"] if "definition" in each
    ]
    triggers = only(objects, "ScaledObject")["spec"]["triggers"]
    return (
        [rule["expr"] for rule in rules] + asked + [each["metadata"]["query"] for each in triggers]
    )


def served() -> set[str]:
    """The names that a pod's /metrics has, histograms' parts included."""
    ran = subprocess.run(
        [sys.executable, "-c", FAMILIES], capture_output=True, text=True, check=True
    )
    counted, computed = ran.stdout.splitlines()
    names = set(computed.split())
    for family in counted.split():
        name, kind = family.split(":")
        if kind == "histogram":
            names |= {name + part for part in PARTS}
        else:
            names.add(name + ("_total" if kind == "counter" else ""))
    return names


def test_every_metric_that_is_asked_for_is_served(expressions):
    """And the dashboard and the alerts together leave none of them out."""
    asked = {name for expression in expressions for name in METRIC.findall(expression)}
    names = served()

    assert asked - names == set()
    wanted = {name for name in names if not name.endswith(PARTS)}
    assert wanted - asked == set()


def test_every_recorded_name_that_is_asked_for_is_recorded(expressions, rules):
    """By the rules themselves."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    asked = {name for each in expressions for name in re.findall(r"\bmillrace:[\w:]+", each)}

    assert asked <= recorded


def test_labels_are_asked_for_with_values_that_occur(expressions):
    """Stages by their names, and every code of the table is either ours or the client's."""
    text = "\n".join(expressions)
    assert set(re.findall(r'stage!?="(\w+)"', text)) <= set(STAGES)

    failed, client = (
        re.compile(re.search(pattern, text)[1])
        for pattern in (r'code=~"([^"]+)"', r'code!~"([^"]+)"')
    )
    codes = {str(status) for _, status, _ in TABLE} | {code.name for *_, code in TABLE}
    neither = {code for code in codes if not failed.fullmatch(code) and not client.fullmatch(code)}
    both = {code for code in codes if failed.fullmatch(code) and client.fullmatch(code)}
    assert (neither, both) == (set(), set())
    assert not failed.fullmatch("OK")
    assert not failed.fullmatch("200")


def test_every_alert_has_its_page_in_the_runbook(rules):
    """A heading of its name in docs/operations.md, and none that nobody raises."""
    alerts = [rule["alert"] for rule in rules if "alert" in rule]
    headings = re.findall(r"^### (Millrace\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(alerts) == sorted(headings)
    for rule in rules:
        if "alert" in rule:
            assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_scrape_keeps_our_own_label(objects):
    """`instance` is one of ours; without honorLabels it would be called exported_instance."""
    (endpoint,) = only(objects, "ServiceMonitor")["spec"]["endpoints"]

    assert endpoint["honorLabels"] is True
    assert endpoint["path"] == "/metrics"


def test_promtool_takes_the_rules_and_they_fire_as_meant(rules, tmp_path):
    """Prometheus' own engine over a day of made-up pods (tests/manifests/alerts.test.yaml)."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: install Debian's prometheus")
    groups = []
    for file in ("recording.yaml", "alerts.yaml"):
        text = (MANIFESTS / "components" / "monitoring" / file).read_text(encoding="utf-8")
        groups += yaml.safe_load(text)["spec"]["groups"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("alerts.test.yaml"), tmp_path)

    for command in (("check", "rules", "rules.yaml"), ("test", "rules", "alerts.test.yaml")):
        ran = subprocess.run(
            ["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtool_is_told_of_every_alert(rules):
    """An alert that no made-up pod raises would not be known to work."""
    text = Path(__file__).with_name("alerts.test.yaml").read_text(encoding="utf-8")
    cases = [case for test in yaml.safe_load(text)["tests"] for case in test["alert_rule_test"]]
    raised = {case["alertname"] for case in cases if case["exp_alerts"]}

    assert raised == {rule["alert"] for rule in rules if "alert" in rule}
