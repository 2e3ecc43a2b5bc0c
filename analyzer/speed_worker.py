"""Measures one variant in a process of its own: what it adds in memory, and what batches take.

``python -m analyzer.speed_worker`` reads an order as JSON from stdin and writes what it found to
stdout. Only in a process of its own can memory be told from what others left behind, and a device
be chosen by the environment.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pydantic

from analyzer.durations import batch_speed
from analyzer.result import BatchSpeed
from model_store.package import load_package
from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes import Runtime
from predictor.runtimes.loading import candidates, load_runtime

BATCHES_ON_CORES = (1, 2, 4, 8, 16, 32)
BATCHES_ON_DEVICES = (1, 2, 4, 8, 16, 32, 64, 128)
# Of each batch size. With 368 batches the 99th percentile has a bound (``intervals.quantile``).
LEAST_RUNS, MOST_RUNS, TIMING_S = 5, 400, 4.0


class Order(pydantic.BaseModel):
    """What to measure: a variant's file on a kind of device, with so many threads."""

    package: Path
    file: str
    kind: str
    threads: int


class Measured(pydantic.BaseModel):
    """What was found, or the one line that says why nothing was."""

    batches: tuple[BatchSpeed, ...] = ()
    memory_bytes: int | None = None
    error: str = ""


def measure(order: Order) -> Measured:
    """Load it and run each batch size for a while."""
    package = load_package(order.package)
    myself = psutil.Process()
    before = myself.memory_info().rss
    (variant,) = candidates(package.manifest, order.file, order.kind)
    try:
        runtime = load_runtime(package, order.kind, order.threads, None, variant)
    except StartupError as error:
        return Measured(error=str(error))
    on_cores = order.kind in ("cpu", "openvino")
    sizes = BATCHES_ON_CORES if on_cores else BATCHES_ON_DEVICES
    batches: list[BatchSpeed] = []
    for size in sizes:
        if runtime.largest_batch is not None and size > runtime.largest_batch:
            break
        try:
            batches.append(_timed(runtime, size, package.manifest.input.shape))
        except OutOfMemoryError:
            break
    if not batches:
        return Measured(error=f"{order.file}: there is no memory for a single image")
    memory = max(0, myself.memory_info().rss - before)
    return Measured(batches=tuple(batches), memory_bytes=memory)


def _timed(runtime: Runtime, size: int, shape: tuple[int, int, int]) -> BatchSpeed:
    """One batch size.

    Noise and not zeros: some kernels are faster on nothing.
    """
    images = np.random.default_rng(1).integers(0, 256, (size, *shape), dtype=np.uint8)
    runtime.run(images)  # the first run of a size allocates
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < LEAST_RUNS or (
        len(seconds) < MOST_RUNS and time.perf_counter() - began < TIMING_S
    ):
        start = time.perf_counter()
        runtime.run(images)
        seconds.append(time.perf_counter() - start)
    return batch_speed(size, seconds)


if __name__ == "__main__":
    found = measure(Order.model_validate_json(sys.stdin.read()))
    sys.stdout.write(found.model_dump_json())
