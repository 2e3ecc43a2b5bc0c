"""``python -m predictor``, as a container runs it and KServe calls it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import httpx
import pytest

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


@pytest.mark.parametrize("pinned", [True, False], ids=["the one", "another"])
def test_only_the_package_that_is_asked_for_is_served(colours, pinned):
    """By the digest of its model.yaml; what else lies there is refused in one line."""
    digest = hashlib.sha256((colours.path / "model.yaml").read_bytes()).hexdigest()
    asked = digest if pinned else digest[::-1]
    # A port that cannot be had ends it where the package is the right one.
    flags = ("--host", "192.0.2.1", "--model_dir", colours.path, "--package_sha256", asked)
    ran = subprocess.run(
        [sys.executable, "-m", "predictor", *flags], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 2
    refused = (
        f"millrace: package_sha256: {colours.path} is {digest}, and not {asked}: "
        "another package lies there than was asked for\n"
    )
    assert (ran.stderr == refused) is not pinned
    assert ("cannot listen on 192.0.2.1" in ran.stderr) is pinned
