"""A real Prometheus that scrapes real pods, several times a second, by two jobs."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.registry.server import free_port

START_TRIES = 600
JOBS = 2
CONFIG = """\
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: millrace
    honor_labels: true
    static_configs:
{targets}
  - job_name: again
    honor_labels: true
    scrape_interval: 300ms
    metric_relabel_configs:
      - {{source_labels: [__name__], regex: '.*_bucket', action: drop}}
    static_configs:
{targets}
"""
TARGET = "      - {{targets: ['{address}'], labels: {{namespace: shop, pod: {pod}}}}}"


class PrometheusServer:
    """``prometheus`` with a storage of its own; skips the test where there is no such program.

    Args:
        folder: where its files are.
        pods: what it scrapes: address by pod's name.
    """

    def __init__(self, folder: Path, pods: Mapping[str, str]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("no prometheus here: apt-get install prometheus")
        self._pods = len(pods)
        self._client = httpx.Client()
        targets = [TARGET.format(address=address, pod=pod) for pod, address in pods.items()]
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(targets="\n".join(targets)), encoding="utf-8")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, f"--storage.tsdb.path={folder / 'data'}"], stdout=log, stderr=log
            )
        self._wait(folder / "prometheus.log")

    def has_looked_since(self, since: float) -> bool:
        """Whether each job has found every pod since then, seconds of the epoch."""
        window_ms = max(1, math.floor((time.time() - since) * 1000))
        query = f"count(sum_over_time(up[{window_ms}ms]) > 0)"
        answer = self._client.get(f"{self.url}/api/v1/query", params={"query": query})
        found = answer.raise_for_status().json()["data"]["result"]
        return bool(found) and int(found[0]["value"][1]) == JOBS * self._pods

    def _wait(self, log: Path) -> None:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            for _ in range(START_TRIES):
                assert self._process.poll() is None, log.read_text(encoding="utf-8")
                if client.get(f"{self.url}/-/ready").is_success:
                    return
        self.close()
        raise AssertionError(log.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Stop it."""
        self._client.close()
        self._process.terminate()
        self._process.wait()
