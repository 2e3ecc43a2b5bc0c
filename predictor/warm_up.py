"""Warm-up: runs every batch size once for the runtime to settle, and learns what batches cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from predictor.errors import OutOfMemoryError
from predictor.runtimes import Runtime
from predictor.types import BatchCost

logger = logging.getLogger(__name__)

LARGEST = 64  # where the search for a batch size ends unless one is set
GOOD_ENOUGH = 1.05  # a batch size is as good as the best one if its image costs at most 5 % more
IN_BETWEEN_S = 10.0  # for the sizes between the powers of two; on a slow device some are left out
# What a batch costs an instance besides the run: messages, waking up, counting, and caches that
# others have filled meanwhile. MobileNetV2 on 2 cores does 4 % more in batches of 4 than of 1 or 2.
HANDLING_S = 0.001
# Timings per size, of which the least counts: whatever else runs only ever adds, and at a start
# much does. As many as a tenth of a second takes.
REPEATS, MOST_REPEATS, TIMING_S = 5, 50, 0.1


def warm_up(
    runtime: Runtime,
    shape: tuple[int, int, int],
    max_batch_size: int,
    preferred_batch_sizes: Sequence[int] = (),
) -> BatchCost:
    """Run batch sizes 1, 2, 4, … and learn the cost of a batch and the size worth having.

    Larger batches than that cost latency and memory and gain nothing: on a CPU two or four images
    are often as fast per image as thirty-two, on a GPU they are not.

    Args:
        runtime: a freshly loaded graph.
        shape: (H, W, 3) of one image.
        max_batch_size: the size to go up to and use; 0 to find one. Less is used where the device
            has no memory for it, or its graph takes no more.
        preferred_batch_sizes: sizes worth starting; empty to find them.

    Raises:
        OutOfMemoryError: there is no memory even for one image.
    """
    sizes: list[int] = []
    seconds: list[float] = []
    largest = max_batch_size or LARGEST
    if runtime.largest_batch is not None and runtime.largest_batch < largest:
        largest = runtime.largest_batch
        if max_batch_size:
            logger.warning("batches of %d: the graph takes no more at once", largest)
    for size in _sizes(largest):
        try:
            seconds.append(_time(runtime, np.zeros((size, *shape), np.uint8)))
        except OutOfMemoryError as error:
            if not sizes:
                raise
            logger.warning("no memory for batches of %d: %s", size, error)
            break
        sizes.append(size)
        if max_batch_size == 0 and _gains_no_more(sizes, seconds):
            break
    good = worthwhile_sizes(sizes, seconds)
    chosen = min(max_batch_size or good[0], sizes[-1])
    preferred = tuple(size for size in preferred_batch_sizes or good if size <= chosen)
    began = time.perf_counter()
    for size in sorted(set(range(1, chosen)).difference(sizes)):  # none is to be new under load
        if time.perf_counter() - began > IN_BETWEEN_S:
            break
        runtime.run(np.zeros((size, *shape), np.uint8))
    return replace(fit_cost(sizes, seconds, chosen), preferred_batch_sizes=preferred)


def worthwhile_sizes(sizes: Sequence[int], seconds: Sequence[float]) -> list[int]:
    """The sizes whose seconds per image, handling included, are within 5 % of the best."""
    per_image = [_per_image(size, spent) for size, spent in zip(sizes, seconds, strict=True)]
    limit = min(per_image) * GOOD_ENOUGH
    return [size for size, spent in zip(sizes, per_image, strict=True) if spent <= limit]


def fit_cost(sizes: Sequence[int], seconds: Sequence[float], max_batch_size: int) -> BatchCost:
    """Least-squares ``a + b·n`` through (size, seconds), both parts kept at zero or more."""
    if len(sizes) == 1:
        return BatchCost(0.0, seconds[0] / sizes[0], max_batch_size)
    per_image, per_batch = np.polyfit(np.asarray(sizes, float), np.asarray(seconds, float), 1)
    return BatchCost(max(0.0, float(per_batch)), max(0.0, float(per_image)), max_batch_size)


def _sizes(largest: int) -> list[int]:
    """1, 2, 4, … below ``largest``, and ``largest``."""
    powers = [2**power for power in range(largest.bit_length())]
    return [size for size in powers if size < largest] + [largest]


def _time(runtime: Runtime, images: NDArray[np.uint8]) -> float:
    runtime.run(images)  # the first run of a size allocates
    least, runs = float("inf"), 0
    end = time.perf_counter() + TIMING_S
    while runs < REPEATS or (runs < MOST_REPEATS and time.perf_counter() < end):
        began = time.perf_counter()
        runtime.run(images)
        least = min(least, time.perf_counter() - began)
        runs += 1
    return least


def _per_image(size: int, seconds: float) -> float:
    return (seconds + HANDLING_S) / size


def _gains_no_more(sizes: Sequence[int], seconds: Sequence[float]) -> bool:
    """Whether doubling twice has gained less than 5 % per image."""
    if len(sizes) <= 2:
        return False
    per_image = [_per_image(size, spent) for size, spent in zip(sizes, seconds, strict=True)]
    before, since = min(per_image[:-2]), min(per_image[-2:])
    return since * GOOD_ENOUGH > before
