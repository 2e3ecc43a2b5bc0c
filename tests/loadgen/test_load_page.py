"""The Python of docs/load.md, run as it stands against a pod."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.package import ModelPackage
from tests.conftest import COLOURS, colour_image
from tests.end_to_end.conftest import Pod

PAGE = (Path(__file__).parents[2] / "docs" / "load.md").read_text(encoding="utf-8")
SHOWN = ("http://127.0.0.1:8080", "duration_s=5")


@pytest.fixture
def pod(colours: ModelPackage) -> Iterator[Pod]:
    """The one the page talks to."""
    running = Pod(colours.path, "--frontends", "1", "--drain-delay-s", "0")
    yield running
    running.close()


def test_the_example_runs(pod, tmp_path):
    """With this pod's address, and in less time."""
    (tmp_path / "photos").mkdir()
    for colour in COLOURS:
        (tmp_path / "photos" / f"{colour}.jpg").write_bytes(colour_image(colour))
    rows = [f"{colour}.jpg,{colour}" for colour in COLOURS]
    table = "\n".join(["file,accepted_labels", *rows, ""])
    (tmp_path / "photos" / "labels.csv").write_text(table)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert all(shown in code for shown in SHOWN)
    code = code.replace(SHOWN[0], pod.url).replace(SHOWN[1], "duration_s=0.2, warm_up_s=0")

    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    first, *loads = ran.stdout.splitlines()
    assert first.endswith(" 1.0")
    assert [line.rsplit(" ", 1)[0] for line in loads] == [
        "concurrency 1",
        "concurrency 16",
        "100 requests/s (constant)",
    ]
