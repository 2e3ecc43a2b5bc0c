"""plan.yaml: what it may hold, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.errors import PlanError, RolloutError
from rollout.plan import Plan, parse_plan, read_plan, schema_text
from rollout.state import begin, read_state
from tests.rollout.world import STABLE, START, VERSION

ROOT = Path(__file__).parents[2]


def test_without_a_file_there_is_a_plan():
    """Four steps, and each limit that needs no knowledge of the model."""
    plan = parse_plan("")

    assert plan == Plan()
    assert [step.percent for step in plan.steps] == [5, 25, 50, 100]
    assert plan.limits.errors.at_most == 0.01


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stps: []", "plan.yaml:1: stps: Extra inputs are not permitted"),
        ("steps: []", "plan.yaml:1: steps: Tuple should have at least 1 item"),
        (
            "limits:\n  errors:\n    at_most: 2\n",
            "plan.yaml:3: limits.errors.at_most: Input should be less than or equal to 1",
        ),
        (
            "steps:\n  - {percent: 5}\n  - {percent: 200}\n",
            "plan.yaml:3: steps.1.percent: Input should be less than or equal to 100",
        ),
        (
            "interval_s: 5\nsteps: [{percent: 50}, {percent: 50}]",
            "plan.yaml:2: steps: 50 % after 50 %: shares must rise",
        ),
        ("limits: {p99: {}}", "plan.yaml:1: limits.p99: write at_most_s, ratio_at_most or both"),
        (
            "\nlimits: {errors: null, rejected: null, p99: null}",
            "plan.yaml:2: limits: keep at least one of errors, rejected and p99",
        ),
        (
            "limits: {golden: {at_least: 0.9}}",
            "plan.yaml:1: limits.golden asks about the images of dark.golden",
        ),
        ("storage: pvc://models/{name}", "plan.yaml:1: storage: 'pvc://models/{name}' must hold"),
        ("storage: 's3://x/{version}/{oops}'", "must hold {version}, may hold {name}, nothing"),
        ("storage: 's3://x/{version'", "is no template"),
        ("interval_s: 5\ninterval_s: 6", "is not YAML: interval_s stands twice"),
        ("a: [", "plan.yaml: is not YAML"),
        ("just words", "plan.yaml:1: Input should be a valid dictionary"),
        ("share_tolerance: .nan", "plan.yaml:1: share_tolerance: "),
    ],
)
def test_a_plan_that_is_wrong_is_refused_in_one_line(tmp_path, text, said):
    """With the line and the field."""
    (tmp_path / "plan.yaml").write_text(text)

    with pytest.raises(PlanError) as caught:
        read_plan(tmp_path / "plan.yaml")

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there_or_no_text_is_refused(tmp_path):
    """By its name."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(PlanError, match="no such plan"):
        read_plan(tmp_path / "none.yaml")
    with pytest.raises(PlanError, match="is not YAML"):
        read_plan(tmp_path / "binary")
    with pytest.raises(PlanError, match="cannot be read: Is a directory"):
        read_plan(tmp_path)


def test_the_schema_in_the_docs_is_that_of_the_code():
    """Written by ``python -m rollout.plan > docs/plan.schema.json``."""
    assert (ROOT / "docs" / "plan.schema.json").read_text(encoding="utf-8") == schema_text()


def test_a_state_that_is_none_is_refused_in_one_line():
    """Another version's, or damaged."""
    text = begin(VERSION, STABLE, Plan(), START).text()

    with pytest.raises(RolloutError, match=r"format: .*another Millrace's, or damaged"):
        read_state(text.replace('"format":1', '"format":2'))
    with pytest.raises(RolloutError, match="cannot be read"):
        read_state("{}")
    with pytest.raises(RolloutError, match="cannot be read"):
        read_state("half a li")
