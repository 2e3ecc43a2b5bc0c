"""Figures of each class."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from analyzer import intervals
from analyzer.confusion import Confusion
from analyzer.curves import class_areas
from analyzer.predictions import Predictions
from analyzer.result import ClassFigures

TOP = 5


def f1_scores(found: Confusion) -> NDArray[np.float64]:
    """(classes,): 2·right / (images of it + images said to be it); 0 of nothing."""
    both = found.support + found.predicted
    scores: NDArray[np.float64] = 2 * found.right / np.maximum(both, 1)
    return scores


def class_figures(predictions: Predictions, found: Confusion) -> tuple[ClassFigures, ...]:
    """One for each label, in its order; ``found`` is the confusion of the same predictions."""
    areas = class_areas(predictions)
    support, predicted, right = found.support, found.predicted, found.right
    precision = intervals.rates(right, predicted)
    recall = intervals.rates(right, support)
    top5 = intervals.rates(_among_best(predictions), support)
    confidence = _mean_confidence(predictions)
    taken_for = found.of_each_class()
    f1 = f1_scores(found)
    return tuple(
        ClassFigures(
            index=index,
            label=label,
            support=int(support[index]),
            predicted=int(predicted[index]),
            precision=precision[index],
            recall=recall[index],
            f1=float(f1[index]),
            top5=top5[index],
            mean_confidence=_or_none(confidence[index]),
            roc_auc=_or_none(areas.roc_auc[index]),
            average_precision=_or_none(areas.average_precision[index]),
            confused_with=tuple(taken_for.get(index, ())),
        )
        for index, label in enumerate(predictions.labels)
    )


def _among_best(predictions: Predictions) -> NDArray[np.int64]:
    """(classes,): images whose class is among the best five, as far as answers go."""
    inside = predictions.judged & (predictions.ranks < min(TOP, predictions.top_k))
    counts = np.bincount(predictions.truth[inside], minlength=len(predictions.labels))
    return counts.astype(np.int64)


def _mean_confidence(predictions: Predictions) -> NDArray[np.float64]:
    """(classes,): mean best score of the images of each class; NaN of none."""
    truth = predictions.truth[predictions.judged]
    best = predictions.scores[predictions.judged, 0].astype(np.float64)
    classes = len(predictions.labels)
    images = np.bincount(truth, minlength=classes)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.bincount(truth, best, minlength=classes) / images
    return means


def _or_none(value: np.float64) -> float | None:
    return None if math.isnan(value) else float(value)
