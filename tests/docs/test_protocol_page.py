"""Every example of docs/protocol.md, run as it stands against a pod."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.package import ModelPackage
from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import Pod

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TOKEN = "page"
# curl says nothing of an HTTP error by itself.
PRELUDE = (
    'set -euo pipefail\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
)


@pytest.fixture(scope="module")
def digits(colours: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod that serves a model by the name the page uses, of which there are two versions."""
    store = tmp_path_factory.mktemp("page")
    served, _ = (as_version(colours, version, store) for version in (1, 2))
    (store / "preload").mkdir()
    (store / "preload" / "digit.jpg").write_bytes(colour_image("red"))
    flags = ("--repository-token", TOKEN, "--preload", str(store / "preload"))
    running = Pod(served.path, "--model-name", "digits", *flags, "--drain-delay-s", "0")
    yield running
    running.close()


def run(command: list[str], pod: Pod, folder: Path) -> str:
    """Run one example where its image lies; its output."""
    (folder / "digit.jpg").write_bytes(colour_image("red"))
    ran = subprocess.run(
        [
            word.replace("localhost:8080", pod.http).replace("localhost:8081", pod.grpc)
            for word in command
        ],
        cwd=folder,
        env={**os.environ, "TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("block", CONSOLE, ids=range(len(CONSOLE)))
def test_commands_succeed(block, digits, tmp_path):
    """Every command of a block, in order; an HTTP error is a failure."""
    commands = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)

    run(["bash", "-c", PRELUDE + commands], digits, tmp_path)


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_programs_succeed(block, digits, tmp_path):
    """With the real clients; their own assertions count."""
    run([sys.executable, "-c", block], digits, tmp_path)


def test_an_example_that_is_refused_is_noticed(digits, tmp_path):
    """The tests above can fail."""
    with pytest.raises(AssertionError, match="no model 'nobody' here"):
        run(["bash", "-c", PRELUDE + "curl localhost:8080/v2/models/nobody"], digits, tmp_path)


def test_every_route_that_is_served_has_a_curl_example(digits, tmp_path):
    """By the pod's own OpenAPI document."""
    script = (
        "import httpx, json; "
        "print(*httpx.get('http://localhost:8080/openapi.json').json()['paths'], sep='\\n')"
    )
    served = run([sys.executable, "-c", script], digits, tmp_path).split()
    shown = " ".join(CONSOLE)

    missing = [
        path
        for path in served
        if not re.search(f"localhost:8080{re.escape(path)}(?![/\\w:])", shown)
        and "/versions/" not in path
        and path != "/"
    ]
    assert missing == []
