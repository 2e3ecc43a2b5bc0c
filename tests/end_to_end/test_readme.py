"""The README as a new user would follow it: the demo, then its own commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Pod

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^\$ ((?:\\\n|.)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def after_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which the demo has run, and said that every step held."""
    folder = tmp_path_factory.mktemp("demo")
    ran = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert all(protocol in ran.stdout for protocol in ("v1", "v2 binary", "v2 JSON", "gRPC"))
    return folder


@pytest.mark.timeout(900)  # the demo runs the pipeline three times, each some ten processes
def test_the_commands_of_the_readme_do_what_it_says(after_demo, monkeypatch):
    """package, classify, serve, the first curl, load and top."""
    monkeypatch.chdir(after_demo)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [shlex.split(line.replace("\\\n", " ")) for line in COMMAND.findall(readme)]
    commands = {tuple(words[:2]): words for words in shown}
    millrace = Path(sys.executable).with_name("millrace")
    digits = sorted(Path("var/demo/digits/test/7").glob("*.jpg"))

    package = [millrace, *commands[".venv/bin/millrace", "package"][1:]]
    subprocess.run(package, check=True, stdout=subprocess.DEVNULL)
    classify = commands[".venv/bin/millrace", "classify"][1:]
    listed = [*classify[:1], *map(str, digits), *classify[2:], "--json"]
    answers = subprocess.run([millrace, *listed], check=True, capture_output=True, text=True)
    labels = [json.loads(line)["top"][0]["label"] for line in answers.stdout.splitlines()]
    pod = Pod(commands[".venv/bin/millrace", "serve"][2], "--drain-delay-s", "0")
    try:
        curl = [word.replace("localhost:8080", pod.http) for word in commands["curl", "-T"]]
        asked = subprocess.run([*curl, "-sS"], check=True, capture_output=True)
        load = [*commands[".venv/bin/millrace", "load"][1:], "--endpoint", pod.url, "--json", "-"]
        loaded = subprocess.run([millrace, *load], check=True, capture_output=True, text=True)
        top = [*commands[".venv/bin/millrace", "top"][1:], "--url", pod.url]
        seen = subprocess.run([millrace, *top], check=True, capture_output=True, text=True)
    finally:
        pod.close()

    study = commands[".venv/bin/millrace", "study"][1:]
    subprocess.run([millrace, *study], check=True, stdout=subprocess.DEVNULL)

    assert json.loads(loaded.stdout)["measurements"][0]["accuracy"] > 0.9
    assert "infer" in seen.stdout
    assert labels.count("7") >= 0.9 * len(digits)
    assert json.loads(asked.stdout)["predictions"][0]["label"] == "7"
