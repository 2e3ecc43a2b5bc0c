"""``python -m predictor``, as a container runs it and KServe calls it."""

from __future__ import annotations

import subprocess
import sys

import httpx

from tests.conftest import colour_image
from tests.end_to_end.conftest import SERVING


def test_kserves_flags_are_taken_and_sigterm_ends_it_well(colours, tmp_path):
    """--model_name and --model_dir with underscores; the name in the URL is the one given."""
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "predictor", "--host", "127.0.0.1"),
                *("--model_name", "renamed", f"--model_dir={colours.path}"),
                *("--http_port", "0", "--grpc_port=0", "--drain_delay_s", "0"),
            ],
            stderr=stderr,
        )
    try:
        while (match := SERVING.search(log.read_text())) is None:
            assert process.poll() is None, log.read_text()
        url = f"http://127.0.0.1:{match[3]}/v1/models/renamed:predict"
        answer = httpx.put(url, content=colour_image("green"))
    finally:
        process.terminate()

    assert answer.json()["predictions"][0]["label"] == "green"
    assert process.wait(60) == 0


def test_a_missing_model_is_one_line():
    """KServe's folder by default."""
    ran = subprocess.run(
        [sys.executable, "-m", "predictor", "--model_dir", "/mnt/models/none"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 2
    assert ran.stderr == (
        "millrace: /mnt/models/none: no model package here (model.yaml is missing)\n"
    )
