"""The commands of docs/analyzer.md, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.package import ModelPackage
from tests.analyzer.colour_sets import files, write_folder, write_zip
from tests.conftest import as_version
from tests.end_to_end.conftest import Pod

PAGE = (Path(__file__).parents[2] / "docs" / "analyzer.md").read_text(encoding="utf-8")
COMMANDS = [
    command.replace("\\\n", " ") for command in re.findall(r"^\$ ((?:\\\n|.)*)", PAGE, re.MULTILINE)
]


@pytest.fixture
def place(colours: ModelPackage, tmp_path: Path) -> Path:
    """A folder with a store, and datasets by the names of the page."""
    as_version(colours, 1, tmp_path / "var" / "store", name="digits")
    (tmp_path / "var" / "store" / "colours").rename(tmp_path / "var" / "store" / "digits")
    write_folder(tmp_path / "images", files(2) | {"../table.csv": b"images/red/0000.png,red"})
    write_zip(tmp_path / "test.zip", files(3))
    return tmp_path


@pytest.fixture
def pod(place: Path):
    """What the page calls localhost:8080."""
    running = Pod(place / "var" / "store" / "digits" / "1", "--drain-delay-s", "0")
    yield running
    running.close()


def run(command: str, place: Path) -> str:
    """One command; what it printed."""
    program, *arguments = shlex.split(command)
    assert program == "millrace"
    environment = {name: value for name, value in os.environ.items() if name != "MILLRACE_STORE"}
    ran = subprocess.run(
        [sys.executable, "-m", "millrace", *arguments],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_first_command_writes_what_the_page_lists(place):
    """Every file that it names."""
    run(COMMANDS[0], place)

    out = place / "report"
    written = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert {
        "report.html", "result.json", "predictions-digits-test.csv",
        "classes-digits-test.csv", "confusion-digits-test.csv",
    } <= written  # fmt: skip
    assert any(name.startswith("charts/") and name.endswith(".png") for name in written)


def test_the_second_command_compares_a_package_with_an_endpoint(place, pod):
    """On two datasets, one of which is named."""
    found = json.loads(run(COMMANDS[1].replace("localhost:8080", pod.http), place))

    assert [(one["model"], one["dataset"]) for one in found["evaluations"]] == [
        ("digits", "images"), (f"digits at {pod.http}", "images"),
        ("digits", "photos"), (f"digits at {pod.http}", "photos"),
    ]  # fmt: skip


def test_every_command_is_run_here():
    """So that a new one is not forgotten."""
    assert len(COMMANDS) == 2
