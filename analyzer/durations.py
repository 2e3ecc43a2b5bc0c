"""From how long batches took to speeds with bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from analyzer import intervals
from analyzer.result import BatchSpeed

P99 = 0.99


def batch_speed(batch_size: int, seconds: Sequence[float]) -> BatchSpeed:
    """What batches of one size did.

    Args:
        batch_size: images of each.
        seconds: of every batch that was timed, one at least, warm-up left out.

    Returns:
        Throughput of one batch after another, and latencies. ``p99_high_s`` is None below 368
        batches: fewer cannot bound it.
    """
    taken = np.asarray(seconds, dtype=np.float64)
    shortest, longest = intervals.mean(taken)
    low, high = intervals.quantile(taken, P99)
    return BatchSpeed(
        batch_size=batch_size,
        images_per_second=batch_size / float(taken.mean()),
        images_per_second_low=batch_size / longest,
        images_per_second_high=batch_size / shortest if shortest else None,
        latency_s=float(np.median(taken)),
        # The value of that rank and not between two: what was seen.
        p99_s=float(np.quantile(taken, P99, method="inverted_cdf")),
        p99_low_s=low,
        p99_high_s=high if math.isfinite(high) else None,
        batches=taken.size,
    )
