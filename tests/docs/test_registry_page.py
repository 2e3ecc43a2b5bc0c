"""Every example of docs/registry.md, in order, in a folder with a store and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import Pod

PAGE = (Path(__file__).parents[2] / "docs" / "registry.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^\$ (.*)\n((?:[^$].*\n)*)", re.MULTILINE)


@pytest.fixture
def folder(colours, tmp_path, monkeypatch):
    """Where the commands are typed."""
    for variable in ("MLFLOW_TRACKING_URI", "MILLRACE_REGISTRY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "digit.jpg").write_bytes(colour_image("red"))
    made = as_version(colours, 1, tmp_path / "made", name="digits")
    shutil.copytree(made.path, tmp_path / "var" / "store" / "digits" / "1")
    # The commands run elsewhere; this checkout is what they are to import.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_and_programs_of_the_page_do_what_it_shows(folder):
    """What it prints as well, where the page shows it."""
    for command, shown in EXAMPLE.findall("".join(BLOCKS)):
        words = shlex.split(command)
        assert words[0] == "millrace"
        if words[1] == "serve":
            pod = Pod(words[2], *words[3:], "--drain-delay-s", "0")
            try:
                config = httpx.get(f"{pod.url}/v2/models/digits/config").json()
            finally:
                pod.close()
            assert config["parameters"]["source"]["string_value"] == words[2]
            continue
        ran = run([sys.executable, "-m", *words])
        if shown:
            assert ran == shown
    for program in PYTHON:
        assert run([sys.executable, "-c", program]).startswith("red 0.99")


def run(command: list[str]) -> str:
    """Its output."""
    ran = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout
