"""docs/analyzer-report.md says what is there."""

from __future__ import annotations

import re
from pathlib import Path

from analyzer.report import write_charts
from tests.analyzer.synthetic import result_of, two_models

PAGE = (Path(__file__).parents[2] / "docs" / "analyzer-report.md").read_text(encoding="utf-8")


def test_the_example_writes_a_report(tmp_path, monkeypatch):
    """From a result that lies there."""
    (tmp_path / "report").mkdir()
    text = result_of(two_models(50)).model_dump_json()
    (tmp_path / "report" / "result.json").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    example = re.search(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert example

    exec(compile(example[1], "analyzer-report.md", "exec"), {})  # the page's own example

    page = (tmp_path / "report" / "again" / "report.html").read_text(encoding="utf-8")
    assert 'id="history"' in page
    assert 'id="images"' not in page


def test_the_charts_it_names_are_those_that_are_written(tmp_path):
    """By kind."""
    written = {file.name.split("garments")[0] for file in write_charts(_result(), tmp_path)}
    kinds = {re.sub(r"(baseline|resnet)[-.].*", "", name) for name in written}

    named = set(re.findall(r"`([a-z-]+-)(?:MODEL|DATASET)[A-Z.-]*png`", PAGE))

    assert named == kinds


def _result():
    return result_of(two_models(60))
