"""What happens when only sure answers are taken."""

from __future__ import annotations

import numpy as np

from analyzer.predictions import Predictions
from analyzer.result import Threshold

STEPS = 20


def thresholds(predictions: Predictions) -> tuple[Threshold, ...]:
    """At 0, 0.05, … 1: answers taken of all there are, right and wrong of those with a truth."""
    best = predictions.scores[:, 0].astype(np.float64)
    judged = predictions.judged
    right = judged & (predictions.ranks == 0)
    found = []
    for step in range(STEPS + 1):
        threshold = step / STEPS
        # A float32 score of 0.05 is a little less or more than 0.05.
        taken = predictions.answered & (best >= np.float32(threshold))
        hits, misses = int((taken & right).sum()), int((taken & judged & ~right).sum())
        found.append(
            Threshold(
                threshold=threshold,
                taken=int(taken.sum()),
                right=hits,
                wrong=misses,
                accuracy=hits / (hits + misses) if hits + misses else None,
            )
        )
    return tuple(found)
