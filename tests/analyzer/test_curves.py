"""Areas and curves against scikit-learn, which gets the whole matrix with zeros in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from analyzer.curves import MOST_POINTS, class_areas, micro_curves
from tests.analyzer.answers import as_a_full_matrix, predictions, random_answers, slow_machine


@slow_machine
@given(
    st.integers(2, 80),
    st.integers(2, 7),
    st.integers(1, 7),
    st.sampled_from([None, 0.1, 0.3]),
    st.integers(0, 1_000),
)
def test_areas_of_classes_are_scikit_learns(images, classes, top_k, step, seed):
    """With ties, with scores of zero, with fewer scores than classes."""
    found, _ = random_answers(
        images, classes, min(top_k, classes), seed=seed, skill=1.0, without_truth=0.1, step=step
    )
    full, truth = as_a_full_matrix(found), found.truth[found.judged]
    areas = class_areas(found)

    for index in range(classes):
        ours = truth == index
        if ours.all() or not ours.any():
            assert np.isnan(areas.roc_auc[index])
            assert np.isnan(areas.average_precision[index])
            continue
        assert areas.roc_auc[index] == pytest.approx(metrics.roc_auc_score(ours, full[:, index]))
        assert areas.average_precision[index] == pytest.approx(
            metrics.average_precision_score(ours, full[:, index])
        )


@slow_machine
@given(st.integers(1, 60), st.integers(2, 7), st.integers(1, 7), st.integers(0, 1_000))
def test_micro_averaged_curves_are_scikit_learns(images, classes, top_k, seed):
    """Area and points."""
    found, _ = random_answers(images, classes, min(top_k, classes), seed=seed, step=0.05)
    full = as_a_full_matrix(found)
    truth = np.eye(classes, dtype=bool)[found.truth]
    roc, precision_recall = micro_curves(found)
    fpr, tpr, _ = metrics.roc_curve(truth.ravel(), full.ravel(), drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(truth.ravel(), full.ravel())

    assert roc.area == pytest.approx(metrics.roc_auc_score(truth, full, average="micro"))
    assert precision_recall.area == pytest.approx(
        metrics.average_precision_score(truth, full, average="micro")
    )
    assert set(zip(np.round(roc.x, 9), np.round(roc.y, 9), strict=True)) == set(
        zip(np.round(fpr, 9), np.round(tpr, 9), strict=True)
    )
    assert set(
        zip(np.round(precision_recall.x, 9), np.round(precision_recall.y, 9), strict=True)
    ) == set(zip(np.round(recall, 9), np.round(precision, 9), strict=True))


def test_a_long_curve_keeps_its_ends_and_few_points():
    """The area is of all points."""
    found, _ = random_answers(3_000, 5, 5, seed=1)
    full, truth = as_a_full_matrix(found), np.eye(5, dtype=bool)[found.truth]
    roc, precision_recall = micro_curves(found)

    assert len(roc.x) == len(precision_recall.x) == MOST_POINTS
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert (precision_recall.x[0], precision_recall.y[0], precision_recall.x[-1]) == (0, 1, 1)
    assert roc.area == pytest.approx(metrics.roc_auc_score(truth, full, average="micro"))


def test_a_model_of_one_class_has_no_curve():
    """There is nothing to tell apart."""
    found = predictions([0, 0], [[0], [0]], [[1.0], [1.0]], labels=1)

    assert micro_curves(found) is None
    assert np.isnan(class_areas(found).roc_auc[0])
