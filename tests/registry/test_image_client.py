"""The image's client of registries: mlflow-skinny, without what MLflow's server takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

# Of mlflow's own requirements those that mlflow-skinny does without, and the image too.
LEFT_OUT = ("aiohttp", "alembic", "docker", "flask", "graphene", "huey", "matplotlib", "pyarrow")
LEFT_OUT += ("scipy", "sklearn", "skops", "waitress")
PROGRAM = f"""
import runpy, sys
for name in {LEFT_OUT!r}:
    sys.modules[name] = None  # an import of it fails
runpy.run_module("model_store.registry.fetch", run_name="__main__")
"""


def test_a_pod_fetches_a_package_with_the_client_alone(put, name, registry_server, tmp_path):
    """From a real MLflow server, by an alias, as a pod does at its start."""
    put(alias="champion")
    arguments = (f"models:/{name}@champion", registry_server.uri, str(tmp_path / "cache"))

    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "path" in json.loads(ran.stdout.splitlines()[-1])
