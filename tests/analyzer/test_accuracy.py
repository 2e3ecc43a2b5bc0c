"""Accuracy, confusion and classes: small cases by hand, large ones against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from analyzer.accuracy import accuracy
from tests.analyzer.answers import predictions, random_answers, slow_machine

NAN = float("nan")

# Image 0, 1: right. 2: second best. 3: third. 4: no truth. 5: no answer.
SIX = predictions(
    [0, 1, 0, 2, -1, 1],
    [[0, 1, 2], [1, 0, 2], [1, 0, 2], [0, 1, 2], [2, 1, 0], [-1, -1, -1]],
    [[0.9, 0.1, 0], [0.5, 0.3, 0.2], [0.6, 0.4, 0], [0.7, 0.2, 0.1], [0.8, 0.2, 0], [NAN] * 3],
    errors=["", "", "", "", "", "not an image"],
)


def test_images_without_an_answer_or_a_truth_are_counted_and_not_judged():
    """Six images, five answers, four of them with a truth."""
    found = accuracy(SIX)

    assert (found.images, found.answered, found.judged) == (6, 5, 4)
    assert [top.hits.count for top in found.top] == [2, 3, 4]
    assert {top.hits.of for top in found.top} == {4}
    assert found.mean_confidence == pytest.approx((0.9 + 0.5 + 0.6 + 0.7 + 0.8) / 5)
    assert found.mean_confidence_hits == pytest.approx(0.7)
    assert found.mean_confidence_misses == pytest.approx(0.65)


def test_what_a_class_was_taken_for_is_said_in_cells_pairs_and_by_class():
    """Class 0 once for 1, class 2 once for 0."""
    found = accuracy(SIX)

    assert found.confusion == ((0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 0, 1))
    assert [(p.truth, p.said, p.images, p.share) for p in found.confused] == [
        (0, 1, 1, 0.5),
        (2, 0, 1, 1.0),
    ]
    assert [c.confused_with for c in found.classes] == [((1, 1),), (), ((0, 1),)]


def test_the_figures_of_a_class_are_these():
    """Class 0 of the six: two images, two said to be it, one of them right."""
    first = accuracy(SIX).classes[0]

    assert (first.label, first.support, first.predicted) == ("c0", 2, 2)
    assert (first.precision.count, first.precision.of) == (1, 2)
    assert (first.recall.count, first.recall.of) == (1, 2)
    assert first.f1 == 0.5
    assert (first.top5.count, first.top5.of) == (2, 2)
    assert first.mean_confidence == pytest.approx(0.75)


def test_thresholds_count_what_is_taken_right_and_wrong():
    """Answers at 0.9, 0.5 (right), 0.6, 0.7 (wrong) and 0.8 (of no known class)."""
    at = {round(t.threshold, 2): t for t in accuracy(SIX).thresholds}

    assert len(at) == 21
    assert (at[0.0].taken, at[0.0].right, at[0.0].wrong, at[0.0].accuracy) == (5, 2, 2, 0.5)
    assert (at[0.7].taken, at[0.7].right, at[0.7].wrong) == (3, 1, 1)
    assert (at[0.9].taken, at[0.9].right, at[0.9].accuracy) == (1, 1, 1.0)
    assert (at[1.0].taken, at[1.0].accuracy) == (0, None)


def test_without_truths_confidences_and_thresholds_remain():
    """A folder of photos that nobody has labelled."""
    found = accuracy(predictions([-1, -1], [[0, 1], [1, 0]], [[0.9, 0.1], [0.6, 0.4]]))

    assert (found.answered, found.judged) == (2, 0)
    assert found.mean_confidence == pytest.approx(0.75)
    assert found.mean_confidence_hits is None
    assert [(t.hits.count, t.hits.of) for t in found.top] == [(0, 0), (0, 0)]
    assert (found.calibration, found.roc, found.precision_recall) == (None, None, None)
    assert (found.balanced_accuracy, found.macro_f1, found.confusion) == (None, None, ())
    assert [t.taken for t in found.thresholds][::10] == [2, 2, 0]
    assert {c.roc_auc for c in found.classes} == {None}


@pytest.mark.parametrize("score", [NAN, float("inf")])
def test_scores_that_are_no_numbers_are_no_answers(score):
    """However right the class beside them is; and what was found can be read back."""
    said = predictions([0, 1, 1], [[0, 1], [1, 0], [1, 0]], [[0.9, 0.1], [score, 0], [0.7, score]])
    found = accuracy(said)

    assert said.errors[0] == ""
    assert all("no numbers" in error for error in said.errors[1:])
    assert said.indices.tolist() == [[0, 1], [-1, -1], [-1, -1]]
    assert (found.images, found.answered, found.judged) == (3, 1, 1)
    assert found.mean_confidence == pytest.approx(0.9)
    assert found.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("images", [0, 1])
def test_a_dataset_of_which_nothing_was_answered_has_no_figures(images):
    """An empty one, and one of a broken file."""
    found = accuracy(
        predictions([0] * images, [[-1]] * images, [[NAN]] * images, errors=["x"][:images])
    )

    assert (found.images, found.answered, found.mean_confidence) == (images, 0, None)
    assert found.top[0].hits.high == 1.0


def test_large_ones_agree_with_scikit_learn():
    """2,000 images of 12 classes, some without truth, two classes without images."""
    found, _ = random_answers(2_000, 12, 6, seed=3, without_truth=0.1)
    truth = np.where(found.truth >= 10, 0, found.truth)
    found = predictions(truth, found.indices, found.scores, labels=12)
    truth, said = truth[found.judged], found.indices[found.judged, 0]
    result = accuracy(found)
    expected = metrics.confusion_matrix(truth, said, labels=range(12))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, said, labels=range(12), zero_division=0
    )

    assert {(t, s): n for t, s, n in result.confusion} == {
        (t, s): expected[t, s] for t, s in zip(*expected.nonzero(), strict=True)
    }
    assert [c.precision.rate for c in result.classes] == pytest.approx(precision)
    assert [c.recall.rate for c in result.classes] == pytest.approx(recall)
    assert [c.f1 for c in result.classes] == pytest.approx(f1)
    assert result.top[0].hits.rate == pytest.approx(metrics.accuracy_score(truth, said))
    assert result.balanced_accuracy == pytest.approx(recall[:10].mean())
    assert result.macro_f1 == pytest.approx(
        metrics.f1_score(truth, said, labels=range(10), average="macro")
    )


def test_top_k_agrees_with_scikit_learn():
    """Of all scores."""
    found, scores = random_answers(500, 8, 8, seed=5, skill=0.5)

    for top in accuracy(found).top:
        assert top.hits.rate == pytest.approx(
            metrics.top_k_accuracy_score(found.truth, scores, k=top.k, labels=range(8))
        )


@slow_machine
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 6), st.integers(0, 1_000))
def test_counts_add_up(images, classes, top_k, seed):
    """Whatever the answers."""
    answers, _ = random_answers(
        images, classes, min(top_k, classes), seed=seed, skill=1.0, without_truth=0.2
    )
    found = accuracy(answers)

    hits = [t.hits.count for t in found.top]
    assert hits == sorted(hits)
    assert sum(n for _, _, n in found.confusion) == found.judged
    assert sum(n for t, s, n in found.confusion if t == s) == hits[0]
    assert sum(c.support for c in found.classes) == found.judged
    assert sum(c.predicted for c in found.classes) == found.judged
    assert sum(c.recall.count for c in found.classes) == hits[0]
    assert sum(c.top5.count for c in found.classes) == hits[-1]
    taken = [t.taken for t in found.thresholds]
    assert taken == sorted(taken, reverse=True)
    assert all(t.right + t.wrong <= t.taken for t in found.thresholds)
    assert found.model_validate_json(found.model_dump_json()) == found
