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
    ran = study("scaling", "--no-real", "--counts", "2,1", "--decode-ms", "4", "--json")

    content = json.loads(ran.stdout)
    assert content["series"] == []
    assert [row["pods"] for row in content["pods"]["rows"]] == [1, 2]
    assert [finding["holds"] for finding in content["findings"]] == [None, None]
    assert "simulating 2 pod(s)" in ran.stderr


def test_a_check_that_checked_nothing_fails_in_one_line():
    """Neither real pods nor 24 simulated ones."""
    flags = ("--no-real", "--counts", "1", "--decode-ms", "4", "--csv", "--check")

    ran = study("scaling", *flags, code=1)

    last = ran.stderr.splitlines()[-1]
    assert last.startswith("millrace: the check failed: nothing was checked")


def test_the_goal_for_24_pods_can_be_checked_alone():
    """Without real pods."""
    study("scaling", "--no-real", "--counts", "24", "--decode-ms", "4", "--csv", "--check")


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
        (("scaling", "--counts", "1,none"), "--counts 'none': must be a whole number"),
        (("scaling", "--counts", "0"), "from 1 to 1,000"),
        (("scaling", "--counts", ""), "separated by commas"),
        (("scaling", "--counts", "9" * 5000), "from 1 to 1,000"),
        (("scaling", "--device-rate", "inf"), "--device-rate 'inf'"),
        (("scaling", "--device-rate", "nan"), "--device-rate 'nan'"),
        (("scaling", "--seconds", "nan"), "--seconds 'nan'"),
        (("scaling", "--decode-ms", "inf"), "--decode-ms 'inf'"),
        (("scaling", "--no-real", "--decode-ms", "60000", "--counts", "1"), "answers nothing"),
        (("scaling", "--no-real", "--chart", "/nowhere/at/all.svg"), "no such folder"),
        (("scaling", "--no-real", "--jpeg", "none.jpg", "--chart", "x.xyz"), "must end in one of"),
        (("fleet", "--timeout-s", "0.001", "--chart", "day"), "must end in one of"),
        (("fleet", "--pods", "0"), "--pods '0'"),
        (("fleet", "--pods", ""), "separated by commas"),
        (("fleet", "--hours", "0.0001"), "hours"),
        (("fleet", "--hours", "inf"), "hours"),
        (("fleet", "--device-rate", "inf"), "device_rate"),
        (("fleet", "--device-rate", "nan"), "device_rate"),
        (("fleet", "--device-rate", "1e300"), "device_rate"),
        (("fleet", "--cold-start-s", "inf"), "cold_start_s"),
        (("fleet", "--window-s", "1e-300"), "window_s"),
        (("fleet", "--seed", "-1"), "seed"),
        (("fleet", "--slots", "9" * 5000), "slots"),
        (("fleet", "--timeout-s", "0.001"), "answers nothing within 0.001 s"),
        (("scaling", "--no-real", "--jpeg", "none.jpg"), "none.jpg"),
        (("fleet", "--target", "3"), "target"),
        (("fleet", "--config", "none.yaml"), "none.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, words):
    """Exit code 2; whatever else is said is how it goes."""
    ran = study(*arguments, code=2)

    *_, last = ran.stderr.splitlines()
    assert last.startswith("millrace: ")
    assert words in last
    assert "Traceback" not in ran.output


@pytest.mark.parametrize("rate", ["0.1", "5"])
def test_slow_devices_are_watched_for_long_enough_to_say_something(rate):
    """Where three seconds would see no image at all."""
    ran = study("fleet", "--pods", "4", "--hours", "0.1", "--device-rate", rate, "--json")

    content = json.loads(ran.stdout)
    assert content["pod"]["images_per_second"] == pytest.approx(float(rate), rel=0.1)
    assert content["fleets"][0]["images"] > 0


def test_every_command_and_flag_on_the_page_exists():
    """By the commands' own help."""
    shown = re.findall(
        r"^ *\$ millrace study (\w+)((?:[^\n]|\\\n)*)", PAGE.read_text("utf-8"), re.M
    )

    assert {name for name, _ in shown} == {"scaling", "fleet"}
    for name, rest in shown:
        text = study(name, "--help").output
        assert [flag for flag in re.findall(r"--[\w-]+", rest) if flag not in text] == []
