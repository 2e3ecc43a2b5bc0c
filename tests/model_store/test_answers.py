"""How answers are compared: what counts as the same, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from model_store.answers import Answers, log_difference, same_top1, score_difference
from model_store.golden import choose_golden


def answers(indices: list[int], scores: list[float]) -> Answers:
    """The answer for one image."""
    return Answers(np.array([indices]), np.array([scores], dtype=np.float32))


def test_same_answers_do_not_differ():
    """Zero by every measure."""
    one = answers([3, 1], [0.7, 0.2])
    assert same_top1(one, one, 1e-3).all()
    assert score_difference(one, one) == log_difference(one, one, 1e-6) == 0


def test_near_tie_may_swap_places():
    """Two classes within the tolerance of each other are no disagreement."""
    found, expected = answers([1, 3], [0.4504, 0.4500]), answers([3, 1], [0.4503, 0.4501])
    assert same_top1(found, expected, 1e-3).all()
    assert score_difference(found, expected) < 1e-3


def test_clear_winner_may_not_change():
    """Not even where every score is smaller than the tolerance."""
    found, expected = answers([1, 3], [0.0009, 0.0002]), answers([3, 1], [0.0009, 0.0002])
    assert not same_top1(found, expected, 1e-3).any()


def test_score_moving_between_classes_is_a_difference():
    """The same scores in the same places for other classes are caught by class."""
    found, expected = answers([1, 3], [0.6, 0.4]), answers([3, 1], [0.6, 0.4])
    assert score_difference(found, expected) == pytest.approx(0.2)


def test_scores_that_are_no_numbers_differ_infinitely():
    """NaN is never within a tolerance."""
    assert score_difference(answers([1], [float("nan")]), answers([1], [0.5])) == float("inf")


def test_logarithms_see_a_change_behind_a_certain_answer():
    """Top-1 is 1.0 on both sides; the runner-up doubled."""
    before, after = answers([1, 2], [1.0, 1e-6]), answers([1, 2], [1.0, 2e-6])
    assert score_difference(before, after) < 1e-5
    assert log_difference(before, after, 1e-9) == pytest.approx(np.log(2), rel=1e-4)
    assert log_difference(before, after, 1e-3) == 0


def test_golden_images_are_spread_and_decided():
    """One from each quarter, the one that leads by most."""
    lead = np.array([0.1, 0.5, 0.3, 0.2, 0.9, 0.1, 0.4, 0.8], dtype=np.float32)
    scores = np.stack([lead, np.zeros(8, np.float32)], axis=1)
    assert choose_golden(Answers(np.zeros((8, 2), np.int64), scores)) == (1, 2, 4, 7)


def test_few_images_all_become_golden():
    """With two images there are two."""
    scores = np.array([[0.9, 0.1], [0.6, 0.4]], dtype=np.float32)
    assert choose_golden(Answers(np.zeros((2, 2), np.int64), scores)) == (0, 1)
