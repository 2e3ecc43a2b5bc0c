"""Answers to reckon with."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings

from analyzer.predictions import NO_TRUTH, Predictions

# Properties hold however busy the machine is.
slow_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def predictions(truth, indices, scores, *, labels=3, model="m", names=None, errors=None):
    """Of one model; a row of ``indices`` and ``scores`` for each of ``truth``."""
    n = len(truth)
    columns = len(indices[0]) if n and np.ndim(indices[0]) else 1
    known = tuple(labels) if not isinstance(labels, int) else tuple(f"c{i}" for i in range(labels))
    return Predictions(
        model=model,
        dataset="d",
        labels=known,
        names=tuple(names) if names else tuple(f"{i}.jpg" for i in range(n)),
        truth=np.array(truth, dtype=np.int64),
        indices=np.array(indices, dtype=np.int64).reshape(n, columns),
        scores=np.array(scores, dtype=np.float32).reshape(n, columns),
        errors=tuple(errors) if errors else ("",) * n,
    )


def random_answers(images, classes, top_k, *, seed=0, skill=2.0, without_truth=0.0, step=None):
    """A model that is right more often than not, and the scores of all of its classes.

    Returns:
        The predictions, and float32 (images, classes) scores of which they are the best ``top_k``.
    """
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=images)
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), truth] += skill
    odds = np.exp(logits)
    scores = odds / odds.sum(axis=1, keepdims=True)
    if step:  # ties
        scores = np.round(scores / step) * step
    scores = scores.astype(np.float32)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    truth = np.where(random.random(images) < without_truth, NO_TRUTH, truth)
    return (
        predictions(truth, best, np.take_along_axis(scores, best, axis=1), labels=classes),
        scores,
    )


def as_a_full_matrix(found):
    """(judged images, classes) scores as the analyzer sees them: 0 where a class is not listed."""
    rows = found.indices[found.judged]
    full = np.zeros((len(rows), len(found.labels)), dtype=np.float32)
    np.put_along_axis(full, rows, found.scores[found.judged], axis=1)
    return full
