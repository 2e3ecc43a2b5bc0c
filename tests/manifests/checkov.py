"""The real checkov, in an environment of its own: it pins what the project has newer."""

from __future__ import annotations

import json
import subprocess
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.manifests.kustomize import MANIFESTS, Object

VERSION = "3.3.30"
HOME = Path(__file__).parents[2] / "var" / f"checkov-{VERSION}"
INSTALL_S, RUN_S = 400, 120  # seconds


def failed(objects: Iterable[Object], *, baseline: bool = True) -> list[str]:
    """What checkov finds wrong with some objects, one line each.

    Args:
        objects: of Kubernetes' own kinds.
        baseline: leave out what manifests/.checkov.yaml leaves out.
    """
    command = [_program(), "--framework", "kubernetes", "--quiet", "--skip-download", "-o", "json"]
    if baseline:
        command += ["--config-file", MANIFESTS / ".checkov.yaml"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "objects.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        ran = subprocess.run(
            [*command, "-d", folder], capture_output=True, text=True, timeout=RUN_S, check=False
        )
    assert ran.stdout, ran.stderr
    report = json.loads(ran.stdout)
    # With nothing wrong the report is the summary alone.
    summary = report.get("summary", report)
    assert summary["passed"] > 0
    assert summary["parsing_errors"] == 0
    found = report.get("results", {}).get("failed_checks", [])
    return [f"{each['check_id']} {each['check_name']}: {each['resource']}" for each in found]


def _program() -> Path:
    """Checkov in var/; installed first where it is not there yet, else the test is skipped."""
    ready = HOME / "ready"
    if not ready.exists():
        try:
            _install()
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            pytest.skip(f"checkov cannot be had: {said.strip().splitlines()[-1]}")
        ready.touch()
    return HOME / "bin" / "checkov"


def _install() -> None:
    venv.create(HOME, with_pip=True, clear=True)
    subprocess.run(
        [HOME / "bin" / "pip", "install", "--quiet", "--retries", "1", f"checkov=={VERSION}"],
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=True,
    )
