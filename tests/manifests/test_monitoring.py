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
from tests.manifests.kustomize import MANIFESTS, only, overlay, with_components

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


def promtool(folder, *arguments):
    """Run in a folder; where there is none the test is skipped."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: install Debian's prometheus")
    ran = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


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
    groups = []
    for file in ("recording.yaml", "alerts.yaml", "absent.yaml"):
        text = (MANIFESTS / "components" / "monitoring" / file).read_text(encoding="utf-8")
        text = text.replace('namespace="millrace"', 'namespace="n"')
        text = text.replace('model="classifier"', 'model="m"')
        groups += yaml.safe_load(text)["spec"]["groups"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("alerts.test.yaml"), tmp_path)

    promtool(tmp_path, "check", "rules", "rules.yaml")
    promtool(tmp_path, "test", "rules", "alerts.test.yaml")


@pytest.mark.parametrize("name", ["production", "staging"])
def test_an_overlays_rules_are_about_its_own_namespace(name):
    """By the first selector of each, to which all others are joined by that label."""
    objects = overlay(name)
    namespace = only(objects, "Namespace")["metadata"]["name"]
    asked = [
        rule["expr"]
        for each in objects
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]

    assert len(asked) > 15
    first = f'{{namespace="{namespace}"'
    assert [each for each in asked if each[each.index("{") :][: len(first)] != first] == []
    assert [each for each in asked if each.count("namespace=") != 1] == []


def test_keda_is_told_zero_by_an_idle_pod_and_nothing_where_none_is_seen(objects, tmp_path):
    """By Prometheus' own engine; KEDA takes nothing for an error, and falls back."""
    triggers = only(objects, "ScaledObject")["spec"]["triggers"]
    labels = '{namespace="millrace",model="classifier",pod="p",instance="0"}'
    seen = [{"series": f"millrace_instance_up{labels}", "values": "1x20"}]
    other = [{"series": 'up{job="other"}', "values": "1x20"}]

    def asks(samples):
        return [
            {"expr": each["metadata"]["query"], "eval_time": "10m", "exp_samples": samples}
            for each in triggers
        ]

    tests = [
        {"interval": "1m", "input_series": seen, "promql_expr_test": asks([{"value": 0}])},
        {"interval": "1m", "input_series": other, "promql_expr_test": asks([])},
    ]
    (tmp_path / "keda.yaml").write_text(yaml.safe_dump({"tests": tests}), encoding="utf-8")

    assert {each["metadata"]["ignoreNullValues"] for each in triggers} == {"false"}
    promtool(tmp_path, "test", "rules", "keda.yaml")


def test_promtool_is_told_of_every_alert(rules):
    """An alert that no made-up pod raises would not be known to work."""
    text = Path(__file__).with_name("alerts.test.yaml").read_text(encoding="utf-8")
    cases = [case for test in yaml.safe_load(text)["tests"] for case in test["alert_rule_test"]]
    raised = {case["alertname"] for case in cases if case["exp_alerts"]}

    assert raised == {rule["alert"] for rule in rules if "alert" in rule}
