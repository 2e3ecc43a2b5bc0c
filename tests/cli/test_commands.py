"""The commands as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from millrace import cli
from tests.conftest import COLOURS, colour_image


def millrace(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``millrace`` and expect an exit code."""
    command = [sys.executable, "-m", "millrace", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture
def images(tmp_path):
    """One file per colour, and one that is none."""
    for colour in COLOURS:
        (tmp_path / f"{colour}.jpg").write_bytes(colour_image(colour))
    (tmp_path / "broken.jpg").write_bytes(colour_image("red")[:300])
    return tmp_path


def test_classify_answers_without_a_server(colours, images):
    """By name from the store, best first, one JSON object per line."""
    files = [images / f"{colour}.jpg" for colour in COLOURS]

    ran = millrace(
        "classify", *files, "--model", "colours", "--store", colours.path.parents[1],
        "--top-k", 2, "--json",
    )  # fmt: skip

    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["top"][0]["label"] for row in rows] == list(COLOURS)
    assert [len(row["top"]) for row in rows] == [2, 2, 2]


def test_classify_reports_a_bad_image_in_its_place_and_exits_with_1(colours, images):
    """The others are classified."""
    ran = millrace(
        "classify", images / "broken.jpg", images / "none.jpg", images / "blue.jpg",
        "--model", colours.path, code=1,
    )  # fmt: skip

    broken, missing, blue = ran.stdout.splitlines()[1:]
    assert "cannot be decoded" in broken
    assert "No such file" in missing
    assert "blue" in blue


def test_settings_lists_every_setting_with_its_bounds():
    """As JSON for scripts."""
    rows = json.loads(millrace("settings", "--json").stdout)

    (port,) = (row for row in rows if row["setting"] == "http_port")
    assert port["environment"] == "MILLRACE_HTTP_PORT"
    assert port["default"] == "8080"
    assert port["bounds"] == "≥ 0, ≤ 65535"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "nobody", "--store", "nowhere"], "no model 'nobody'"),
        (["serve", "x", "--http-port", "zero"], "http_port"),
        (["classify", "x.jpg", "--model", "nobody", "--store", "nowhere"], "no model 'nobody'"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, words):
    """Exit code 2."""
    assert words in millrace(*arguments, code=2).stderr


def test_what_nobody_thought_of_is_not_taken_for_an_answer(monkeypatch, capsys, caplog):
    """Exit code 2 and one line; where it happened is in the log."""
    monkeypatch.setattr("sys.argv", ["millrace", "settings"])
    monkeypatch.setattr("millrace.cli.commands.main", lambda **_: [][1])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert "millrace: unexpected IndexError: list index out of range" in capsys.readouterr().err
    assert "Traceback" in caplog.text
