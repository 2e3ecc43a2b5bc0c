"""What dead processes counted still counts, and does not pile up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from predictor.metric_files import bury

COUNT = """
from prometheus_client import Counter, Histogram, Gauge
Counter("images", "", ["kind"]).labels("jpeg").inc(3)
Histogram("seconds", "", buckets=(1, 2)).observe(1.5)
Gauge("up", "", multiprocess_mode="livesum").set(1)
"""
READ = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def run(code: str, folder: Path) -> tuple[int, str]:
    """Run a program that counts in ``folder``; its process number and output."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    return process.pid, output


def test_the_counts_of_the_dead_are_added_up_in_one_file(tmp_path):
    """However many have died; gauges go with them."""
    for _ in range(4):
        bury(run(COUNT, tmp_path)[0], tmp_path)
    run(COUNT, tmp_path)  # and one that is not buried yet

    scraped = run(READ, tmp_path)[1]

    assert 'images_total{kind="jpeg"} 15.0' in scraped
    assert 'seconds_bucket{le="2.0"} 5.0' in scraped
    assert "seconds_sum 7.5" in scraped
    assert "up 1.0" in scraped
    assert len(list(tmp_path.glob("*.db"))) == 5  # two of the dead, three of the other


def test_a_process_that_counted_nothing_leaves_nothing(tmp_path):
    """It died before it began."""
    bury(4242, tmp_path)

    assert list(tmp_path.glob("*.db")) == []
