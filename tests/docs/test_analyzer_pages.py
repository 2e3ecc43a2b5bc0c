"""Examples of docs/analyzer-metrics.md and docs/gate.md, run as they stand."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from analyzer.gate_file import Absolute, Relative, read_gate
from analyzer.hierarchy import read_hierarchy
from tests.analyzer.results import answered, result

DOCS = Path(__file__).parents[2] / "docs"
GATE = (DOCS / "gate.md").read_text(encoding="utf-8")
METRICS = (DOCS / "analyzer-metrics.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """What stands between fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [GATE, METRICS], ids=["gate", "metrics"])
def test_examples_in_python_print_what_the_page_says(page, tmp_path, monkeypatch):
    """In a folder with a result and a gate."""
    answers = answered(900, 1_000, model="digits/4")
    analysis = result(answers).model_dump_json().replace('"d"', '"test"')
    (tmp_path / "result.json").write_text(analysis, encoding="utf-8")
    (tmp_path / "gate.yaml").write_text("absolute: {top1: {at_least: 0.85}}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    text = "\n".join(blocks(page, "python"))
    examples = doctest.DocTestParser().get_doctest(text, {}, "page", None, 0)
    said: list[str] = []
    ran = doctest.DocTestRunner().run(examples, out=said.append)

    assert (ran.attempted > 3, "".join(said)) == (True, "")


def test_the_gate_on_the_page_is_one(tmp_path):
    """As the code reads it and as its schema has it."""
    (text,) = blocks(GATE, "yaml")
    (tmp_path / "gate.yaml").write_text(text, encoding="utf-8")
    rules = read_gate(tmp_path / "gate.yaml").rules

    schema = jsonschema_rs.validator_for(json.loads((DOCS / "gate.schema.json").read_text("utf-8")))
    schema.validate(yaml.safe_load(text))
    assert not schema.is_valid({"absolute": {"topp1": {"at_least": 0.5}}})
    assert len(rules.absolute.p99) == 2
    assert rules.relative.top1.worse_by_at_most == 0.01


def test_the_hierarchy_on_the_page_is_one(tmp_path):
    """Of the labels in it."""
    (text,) = blocks(METRICS, "csv")
    (tmp_path / "hierarchy.csv").write_text(text, encoding="utf-8")

    assert read_hierarchy(tmp_path / "hierarchy.csv", ("anvil", "tabby")).levels == (
        "kind",
        "nature",
    )


@pytest.mark.parametrize(("section", "model"), [("absolute", Absolute), ("relative", Relative)])
def test_every_rule_is_explained_and_every_rule_explained_exists(section, model):
    """The table of each section against the code."""
    table = GATE.split(f"| `{section}` | passes when", 1)[1].split("\n\n", 1)[0]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(model.model_fields)
