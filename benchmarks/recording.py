"""What it costs to count an image: the same calls as a pod makes, in a process of its own.

``python -m benchmarks.recording`` prints two numbers as JSON: microseconds for a request of one
image in a frontend, and for a batch in an instance. It is called by ``benchmarks.stages``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

CALLS = 20_000
ROUNDS = 7  # of which the quickest counts: whatever else runs only ever adds
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # to be set before the metrics are imported


@dataclass(frozen=True, slots=True)
class Recording:
    """Microseconds."""

    request_us: float  # of one image
    batch_us: float


def measure() -> Recording:
    """In a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.recording"],
            env={**os.environ, FOLDER_VARIABLE: folder},
            capture_output=True,
            text=True,
            check=True,
        )
    return Recording(*json.loads(ran.stdout))


def _print() -> None:
    from predictor.counts import StatisticsLayout
    from predictor.metrics import FrontendMetrics, InstanceMetrics
    from predictor.observation import ImageTimes, Observation
    from predictor.slab import Outcome
    from predictor.statistics import Statistics

    layout = StatisticsLayout(1, 1, 64)
    statistics = Statistics(Statistics.create(layout), layout)
    metrics = FrontendMetrics("model", "1")
    receive, decode, respond = (metrics.stage(name) for name in ("receive", "decode", "respond"))
    row = statistics.requests(0)
    now = time.monotonic_ns()
    times = ImageTimes(now, now, now + 1, now + 2, now + 3, now + 4)
    observation = Observation("v2", "POST /", "id", images=1, began_ns=now, last=times)
    observation.classified_ns = observation.rendered_ns = observation.ended_ns = now + 9_000_000

    def request() -> None:
        for _ in range(4):  # when it came, was rendered, was sent and was over
            time.monotonic_ns()
        decode.observe(0.004)
        metrics.answered("v2", "200")
        receive.observe(0.0001)
        respond.observe(0.0001)
        row.count(observation)

    instance = InstanceMetrics("model", "1", 0)
    table = statistics.batches(0)

    def batch() -> None:
        for _ in range(3):
            time.monotonic_ns()
        table.count(8, 1, 1, 1)
        table.worked(time.process_time_ns(), time.thread_time_ns())
        instance.batch_ran(8, 0.01)
        instance.outcome(Outcome.DONE, 8)
        for stage in ("queue", "copy", "collect"):
            instance.stage_took(stage, 0.001)

    print(json.dumps([_microseconds(request), _microseconds(batch)]))


def _microseconds(call: Callable[[], None]) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        least = min(least, time.perf_counter() - began)
    return least / CALLS * 1e6


if __name__ == "__main__":
    _print()
