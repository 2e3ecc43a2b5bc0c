"""Assumptions: each has a source, and a file and flags can change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.errors import StudyError
from study.fleet_plan import FleetPlan, assumptions, read_plan

PAGE = Path(__file__).parents[2] / "docs" / "study.md"


def test_every_assumption_says_how_it_is_known_and_where_from():
    """What is measured or cited names its source."""
    for name, _, meaning, how, source in assumptions(FleetPlan()):
        assert meaning, name
        assert how in ("given", "measured", "cited", "assumed"), name
        assert source or how in ("given", "assumed"), name


def test_what_somebody_gave_is_given():
    """And no longer measured or cited."""
    rows = {row[0]: row for row in assumptions(FleetPlan(decode_ms=2.5))}

    assert rows["decode_ms"][1::2] == ("2.5", "given")
    assert rows["loop_ms"][3] == "measured"


def test_flags_go_before_the_file_and_the_file_before_the_defaults(tmp_path):
    """YAML with the fields' names."""
    config = tmp_path / "fleet.yaml"
    config.write_text("hours: 12\ntarget: 0.5\npods: [5, 50]\n", encoding="utf-8")

    plan = read_plan(config, {"target": "0.6"})

    assert (plan.hours, plan.target, plan.pods, plan.cores) == (12.0, 0.6, (5, 50), 8)


@pytest.mark.parametrize(
    ("content", "given", "words"),
    [
        ("- 1\n", {}, "key: value"),
        ("a: [\n", {}, "cannot be read"),
        ("speed: 1\n", {}, "speed"),
        ("", {"target": "2"}, "target"),
        ("", {"autoscaler": "magic"}, "autoscaler"),
        ("pods: [0]\n", {}, "pods"),
        ("pods: []\n", {}, "pods"),
        ("hours: .inf\n", {}, "hours"),
        ("device_rate: .nan\n", {}, "device_rate"),
        ("1: 2\n", {}, "1"),
        ("hours: \x00\n", {}, "cannot be read"),
        (f"hours: {'9' * 5000}\n", {}, "hours|cannot be read"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_reason(tmp_path, content, given, words):
    """One line that names the key."""
    config = tmp_path / "fleet.yaml"
    config.write_text(content, encoding="utf-8")

    with pytest.raises(StudyError, match=words):
        read_plan(config, given)


def test_the_page_lists_every_assumption_as_it_is():
    """docs/study.md cannot lie about a default, or about where it comes from."""
    page = PAGE.read_text(encoding="utf-8")

    for name, value, meaning, how, source in assumptions(FleetPlan()):
        assert f"| `{name}` | {value} | {meaning} | {how} | {source} |" in page
