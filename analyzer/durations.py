"""From how long batches took to speeds with bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analyzer import intervals
from analyzer.result import BatchSpeed

P99 = 0.99


def batch_speed(batch_size: int, *rounds: Sequence[float]) -> BatchSpeed:
    """What batches of one size did.

    Batches that follow each other have much in common: a neighbour on the machine slows all of
    them. So bounds hold for batches and for rounds, each as one value, whichever is wider.

    Args:
        batch_size: images of each.
        rounds: seconds of every batch that was timed, warm-up left out, at least one in each.
            Rounds lie minutes apart and in processes of their own; from one alone, batches are
            taken to be independent.

    Returns:
        Throughput of one batch after another, and latencies. ``p99_high_s`` is None below 368
        batches: fewer cannot bound it.
    """
    parts = [np.asarray(part, dtype=np.float64) for part in rounds]
    taken = np.concatenate(parts)
    shortest, longest = intervals.mean(taken)
    low, high = intervals.quantile(taken, P99)
    if len(parts) > 1:
        means = intervals.mean([float(part.mean()) for part in parts])
        shortest, longest = min(shortest, means[0]), max(longest, means[1])
        tails = intervals.positive_mean([_p99(part) for part in parts])
        low, high = min(low, tails[0]), max(high, tails[1])
    return BatchSpeed(
        batch_size=batch_size,
        images_per_second=batch_size / float(taken.mean()),
        images_per_second_low=batch_size / longest,
        images_per_second_high=batch_size / shortest if shortest else None,
        latency_s=float(np.median(taken)),
        p99_s=_p99(taken),
        p99_low_s=low,
        p99_high_s=high if math.isfinite(high) else None,
        batches=taken.size,
    )


def _p99(seconds: NDArray[np.float64]) -> float:
    """The value of that rank and not between two: what was seen."""
    return float(np.quantile(seconds, P99, method="inverted_cdf"))
