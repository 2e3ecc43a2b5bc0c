"""ROC and precision-recall, of each class against the rest and of all together.

Answers carry the best k scores alone: a class that an answer does not list counts as 0 there. So
the listed scores are sorted, and everything else is one block of equal scores at the end: n·k
numbers instead of n·classes, and the same areas as of the full matrix with zeros in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzer.predictions import Predictions
from analyzer.result import Curve

MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Areas:
    """Float64 (classes,); NaN where a class has no images, or has all of them."""

    roc_auc: NDArray[np.float64]
    average_precision: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Steps:
    """Equal scores of one problem, best first, problem after problem; an entry for each of g."""

    problem: NDArray[np.int64]  # (g,)
    positive: NDArray[np.int64]  # (g,) positives that have this very score
    every: NDArray[np.int64]  # (g,) all that have it
    positives_so_far: NDArray[np.int64]  # (g,) those and all above, of the same problem
    every_so_far: NDArray[np.int64]  # (g,)


def class_areas(predictions: Predictions) -> Areas:
    """Of each class against the rest: ROC's area (Mann and Whitney's) and average precision."""
    classes = len(predictions.labels)
    truth = predictions.truth[predictions.judged]
    steps = _steps(predictions, by_class=True)
    support = np.bincount(truth, minlength=classes).astype(np.float64)
    return _areas(steps, support, np.full(classes, float(truth.size)))


def micro_curves(predictions: Predictions) -> tuple[Curve, Curve] | None:
    """ROC and precision-recall, every (image, class) one question; None if there are none."""
    images = int(predictions.judged.sum())
    every = images * len(predictions.labels)
    if every <= images:
        return None
    steps = _steps(predictions, by_class=False)
    areas = _areas(steps, np.array([float(images)]), np.array([float(every)]))
    positives = np.append(steps.positives_so_far, images) / images
    wholes = np.append(steps.every_so_far, every)
    precision = np.append(steps.positives_so_far, images) / wholes
    negatives = (wholes - np.append(steps.positives_so_far, images)) / (every - images)
    return (
        _curve(np.append(0, negatives), np.append(0, positives), float(areas.roc_auc[0])),
        _curve(np.append(0, positives), np.append(1, precision), float(areas.average_precision[0])),
    )


def _steps(predictions: Predictions, *, by_class: bool) -> _Steps:
    judged = predictions.judged
    said = predictions.indices[judged]  # (j, k)
    scores = predictions.scores[judged]
    right = said == predictions.truth[judged][:, None]
    listed = (scores > 0) & (said >= 0)  # a score of 0 is as good as none
    problem = said[listed] if by_class else np.zeros(int(listed.sum()), dtype=np.int64)
    score, positive = scores[listed], right[listed]
    order = np.lexsort((-score, problem))
    problem, score, positive = problem[order], score[order], positive[order]
    starts = np.flatnonzero(_differs(problem) | _differs(score))
    return _summed(problem, positive.astype(np.int64), starts)


def _summed(
    problem: NDArray[np.int64], positive: NDArray[np.int64], starts: NDArray[np.intp]
) -> _Steps:
    if not starts.size:
        nothing = np.zeros(0, dtype=np.int64)
        return _Steps(nothing, nothing, nothing, nothing, nothing)
    ends = np.append(starts[1:], problem.size)
    before = np.append(0, np.cumsum(positive))  # positives before each entry
    # Where the problem of each step begins.
    of_step = problem[starts]
    first = np.searchsorted(problem, of_step)
    return _Steps(
        of_step,
        before[ends] - before[starts],
        ends - starts,
        before[ends] - before[first],
        ends - first,
    )


def _areas(steps: _Steps, support: NDArray[np.float64], wholes: NDArray[np.float64]) -> Areas:
    problems = support.size

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # Of no values numpy makes integers.
        return np.bincount(steps.problem, values, minlength=problems).astype(np.float64)

    negative = (steps.every - steps.positive).astype(np.float64)
    above = steps.positives_so_far - steps.positive / 2  # a tie is half a win
    wins = total(negative * above)
    precise = total(steps.positive * (steps.positives_so_far / np.maximum(steps.every_so_far, 1)))
    found = total(steps.positive.astype(np.float64))
    missed = support - found
    rest = wholes - support - total(negative)  # negatives in the block at the end
    wins += rest * (found + missed / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        precise += missed * (support / wholes)
        areas = Areas(wins / (support * (wholes - support)), precise / support)
    undefined = (support == 0) | (support == wholes)
    areas.roc_auc[undefined] = np.nan
    areas.average_precision[undefined] = np.nan
    return areas


def _differs(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each value is another than the one before it."""
    differs = np.ones(values.shape, dtype=np.bool_)
    differs[1:] = values[1:] != values[:-1]
    return differs


def _curve(x: NDArray[np.float64], y: NDArray[np.float64], area: float) -> Curve:
    kept = np.unique(np.linspace(0, x.size - 1, min(x.size, MOST_POINTS)).round().astype(np.int64))
    return Curve(x=tuple(x[kept].tolist()), y=tuple(y[kept].tolist()), area=area)
