"""``millrace study`` as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.study import command

PAGE = Path(__file__).parents[2] / "docs" / "study.md"


def study(*arguments, code=0):
    """Run it and expect an exit code."""
    ran = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert ran.exit_code == code, ran.output
    return ran


def test_pods_are_simulated_where_nothing_real_is_wanted():
    """Their figures as JSON, progress apart."""
    ran = study("scaling", "--no-real", "--counts", "1,2", "--decode-ms", "4", "--json", "--check")

    content = json.loads(ran.stdout)
    assert content["series"] == []
    assert [row["pods"] for row in content["pods"]["rows"]] == [1, 2]
    assert content["findings"][0]["holds"]
    assert "simulating 2 pod(s)" in ran.stderr


def test_a_fleet_is_simulated_with_its_assumptions(tmp_path):
    """Slow devices and one hour, so that it is quick; the same seed gives the same fleet."""
    pytest.importorskip("matplotlib")
    flags = ["--pods", "4,40", "--hours", "1", "--device-rate", "30", "--decode-ms", "100"]

    first = study("fleet", *flags, "--json", "--chart", tmp_path / "day.svg")
    second = study("fleet", *flags, "--json")

    content = json.loads(first.stdout)
    assert [fleet["pods"] for fleet in content["fleets"]] == [4, 40]
    assert all(fleet["per_million"] > fleet["floor"] > 0 for fleet in content["fleets"])
    assumed = {row["name"]: row for row in content["assumptions"]}
    assert assumed["device_rate"]["value"] == "30.0"
    assert first.stdout == second.stdout
    assert "<svg" in (tmp_path / "day.svg").read_text(encoding="utf-8")


def test_a_fleet_comes_as_a_table_and_as_csv():
    """For people and for spreadsheets."""
    flags = ["--pods", "4", "--hours", "0.5", "--device-rate", "30", "--decode-ms", "100"]

    assert "USD a million" in study("fleet", *flags).stdout
    assert study("fleet", *flags, "--csv").stdout.startswith("pods,least,mean,most,images")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scaling", "--counts", "1,none"), "numbers separated by commas"),
        (("scaling", "--counts", "0"), "above 0"),
        (("scaling", "--no-real", "--jpeg", "none.jpg"), "none.jpg"),
        (("fleet", "--target", "3"), "target"),
        (("fleet", "--config", "none.yaml"), "none.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, words):
    """Exit code 2."""
    assert words in study(*arguments, code=2).output


def test_every_command_and_flag_on_the_page_exists():
    """By the commands' own help."""
    shown = re.findall(
        r"^ *\$ millrace study (\w+)((?:[^\n]|\\\n)*)", PAGE.read_text("utf-8"), re.M
    )

    assert {name for name, _ in shown} == {"scaling", "fleet"}
    for name, rest in shown:
        text = study(name, "--help").output
        assert [flag for flag in re.findall(r"--[\w-]+", rest) if flag not in text] == []
