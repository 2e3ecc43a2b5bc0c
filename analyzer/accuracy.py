"""How often a model is right on a dataset, and how."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analyzer import intervals
from analyzer.calibration import calibration
from analyzer.classes import TOP, class_figures, f1_scores
from analyzer.confusion import Confusion, confusion
from analyzer.curves import micro_curves
from analyzer.hierarchy import Hierarchy, hierarchy_scores
from analyzer.predictions import Predictions
from analyzer.result import Accuracy, TopK
from analyzer.thresholds import thresholds


def accuracy(predictions: Predictions, hierarchy: Hierarchy | None = None) -> Accuracy:
    """All figures of one model on one dataset; docs/analyzer-metrics.md defines each.

    Without truths what needs one is None, empty or 0 of 0; confidences and thresholds remain.

    Args:
        predictions: of every image of the dataset.
        hierarchy: groups of the model's classes, by ``read_hierarchy``.
    """
    best = predictions.scores[:, 0].astype(np.float64)
    judged = predictions.judged
    hit = judged & (predictions.ranks == 0)
    found = confusion(predictions)
    curves = micro_curves(predictions)
    return Accuracy(
        images=len(predictions.names),
        answered=int(predictions.answered.sum()),
        judged=int(judged.sum()),
        top=_top(predictions),
        mean_confidence=_mean(best[predictions.answered]),
        mean_confidence_hits=_mean(best[hit]),
        mean_confidence_misses=_mean(best[judged & ~hit]),
        balanced_accuracy=_balanced(found),
        macro_f1=_mean(f1_scores(found)[found.support > 0]),
        classes=class_figures(predictions, found),
        confusion=found.cells(),
        confused=found.pairs(),
        calibration=calibration(predictions),
        thresholds=thresholds(predictions),
        roc=curves[0] if curves else None,
        precision_recall=curves[1] if curves else None,
        hierarchy=hierarchy_scores(predictions, hierarchy) if hierarchy else None,
        labelled=predictions.labelled,
        unknown_class=predictions.unknown_class,
    )


def _top(predictions: Predictions) -> tuple[TopK, ...]:
    ranks = predictions.ranks[predictions.judged]
    return tuple(
        TopK(k=k, hits=intervals.rate(int((ranks < k).sum()), ranks.size))
        for k in range(1, min(TOP, predictions.top_k) + 1)
    )


def _balanced(found: Confusion) -> float | None:
    present = found.support > 0
    return _mean(found.right[present] / found.support[present])


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
