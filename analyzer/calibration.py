"""Whether scores mean what they say: of answers at 0.8, four in five are to be right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analyzer.intervals import TAIL
from analyzer.predictions import Predictions
from analyzer.result import Bin, Calibration

BINS = 15  # as Guo et al. 2017
_DRAWS = 10_000
_SEED = 20_260_101  # the same result from the same answers


def calibration(predictions: Predictions) -> Calibration | None:
    """Of the best score of every judged image; None where there is none."""
    judged = predictions.judged
    if not judged.any():
        return None
    best = predictions.scores[judged, 0].astype(np.float64)
    hits = predictions.ranks[judged] == 0
    bins = _bins(best, hits)
    ece, low, high = ece_interval(bins)
    gaps = [abs(b.accuracy - b.confidence) for b in bins if _filled(b)]  # type: ignore[operator]
    return Calibration(
        bins=bins,
        ece=ece,
        ece_low=low,
        ece_high=high,
        mce=max(gaps),
        brier=float(np.mean((best - hits) ** 2)),
    )


def _bins(best: NDArray[np.float64], hits: NDArray[np.bool_]) -> tuple[Bin, ...]:
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, best, side="right") - 1, 0, BINS - 1)
    images = np.bincount(place, minlength=BINS)
    confidence = np.bincount(place, best, minlength=BINS)
    right = np.bincount(place, hits, minlength=BINS)
    return tuple(
        Bin(
            low=float(edges[index]),
            high=float(edges[index + 1]),
            images=int(n),
            confidence=float(confidence[index] / n) if n else None,
            accuracy=float(right[index] / n) if n else None,
        )
        for index, n in enumerate(images)
    )


def _filled(b: Bin) -> bool:
    return b.confidence is not None and b.accuracy is not None


def ece_interval(bins: Sequence[Bin]) -> tuple[float, float, float]:
    """The expected calibration error, from a reliability diagram alone, and its 95 % interval.

    What each bin's accuracy may be is drawn from its posterior under Jeffreys' prior, Beta(right
    + ½, wrong + ½), and how many images fall into it from Dirichlet(images): resampling images
    would take ten right answers out of ten for certainty. Noise makes a gap out of none, in what
    was found and once more in each draw, so the draws lie above the truth: their 97.5 % quantile is
    a cautious upper bound, and the lower one mirrors it about what was found.

    Returns:
        The error, its lower and its upper bound; zeros where there are no images.
    """
    filled = [b for b in bins if _filled(b)]
    if not filled:
        return 0.0, 0.0, 0.0
    images = np.array([b.images for b in filled], dtype=np.float64)
    confidence = np.array([b.confidence for b in filled], dtype=np.float64)
    accuracy = np.array([b.accuracy for b in filled], dtype=np.float64)
    found = float(np.average(np.abs(accuracy - confidence), weights=images))
    random = np.random.default_rng(_SEED)
    right = accuracy * images
    shape = (_DRAWS, images.size)
    drawn = random.beta(right + 0.5, np.maximum(images - right, 0) + 0.5, shape)
    weights = random.standard_gamma(images, shape)  # Dirichlet, but for its sum
    errors = (np.abs(drawn - confidence) * weights).sum(axis=1) / weights.sum(axis=1)
    high = max(float(np.quantile(errors, 1 - TAIL)), found)
    return found, max(2 * found - high, 0.0), high
