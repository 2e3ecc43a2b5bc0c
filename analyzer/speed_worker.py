"""Times one variant for a round in a process of its own: its memory, and what batches take.

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

from model_store.package import load_package
from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes import Runtime
from predictor.runtimes.loading import candidates, load_runtime

BATCHES_ON_CORES = (1, 2, 4, 8, 16, 32)
BATCHES_ON_DEVICES = (1, 2, 4, 8, 16, 32, 64, 128)
# Of each batch size in a round. In four rounds that makes 400 batches at most, of which 368 bound
# the 99th percentile (``intervals.quantile``).
LEAST_RUNS, MOST_RUNS, TIMING_S = 2, 100, 1.0


class Order(pydantic.BaseModel):
    """What to measure: a variant's file on a kind of device, with so many threads.

    Batches of ``p99_sizes`` are run until there are enough to bound their 99th percentile, or for
    ``p99_timing_s`` each.
    """

    package: Path
    file: str
    kind: str
    threads: int
    p99_sizes: tuple[int, ...] = ()
    p99_timing_s: float = TIMING_S


class Measured(pydantic.BaseModel):
    """Seconds of the batches of each size, or the one line that says why there are none."""

    seconds: dict[int, list[float]] = {}
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
    seconds: dict[int, list[float]] = {}
    for size in sorted({*sizes, *order.p99_sizes}):
        if runtime.largest_batch is not None and size > runtime.largest_batch:
            break
        try:
            longest = order.p99_timing_s if size in order.p99_sizes else TIMING_S
            seconds[size] = _timed(runtime, size, package.manifest.input.shape, longest)
        except OutOfMemoryError:
            break
    if not seconds:
        return Measured(error=f"{order.file}: there is no memory for a single image")
    memory = max(0, myself.memory_info().rss - before)
    return Measured(seconds=seconds, memory_bytes=memory)


def _timed(
    runtime: Runtime, size: int, shape: tuple[int, int, int], longest_s: float
) -> list[float]:
    """One batch size, for so long or until there are enough.

    Noise and not zeros: some kernels are faster on nothing.
    """
    images = np.random.default_rng(1).integers(0, 256, (size, *shape), dtype=np.uint8)
    runtime.run(images)  # the first run of a size allocates
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < LEAST_RUNS or (
        len(seconds) < MOST_RUNS and time.perf_counter() - began < longest_s
    ):
        start = time.perf_counter()
        runtime.run(images)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    found = measure(Order.model_validate_json(sys.stdin.read()))
    sys.stdout.write(found.model_dump_json())
