"""KServe's own client works against the fake as it does against a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.kserve_controller import kserve_running


def test_kserves_client_creates_waits_patches_and_deletes(cluster: Cluster, tmp_path: Path) -> None:
    """It sees the URL, and the API server's refusal as it came."""
    kubeconfig = cluster.kubeconfig(tmp_path)
    with kserve_running(cluster) as controller:
        done = subprocess.run(
            [sys.executable, "-m", "tests.kubernetes.kserve_session", str(kubeconfig)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        controller.settle()
    assert cluster.list("InferenceService") == []
    told = json.loads(done.stdout)
    told["refused"] = "spec.predictor.minReplicas of type integer" in told["refused"]
    assert told == {"url": "http://shop-default.example.com", "percent": 10, "refused": True}
