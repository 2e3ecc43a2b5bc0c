"""Two models on the same images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analyzer.agreement import MOST_CHANGED, agreement, mcnemar
from analyzer.errors import AgreementError
from tests.analyzer.answers import predictions, random_answers, slow_machine

TRUTH = [0, 0, 1, 2, -1]


def answers(said, model, **others):
    """Of a model that is always equally sure."""
    return predictions(TRUTH, said, [0.5] * len(said), model=model, **others)


def test_by_hand():
    """Both right once, each alone once, neither once; they differ on an unknown image as well."""
    found = agreement(answers([0, 0, 0, 0, 1], "a"), answers([0, 1, 1, 0, 2], "b"))

    assert (found.first, found.second, found.dataset, found.images) == ("a", "b", "d", 5)
    assert (found.same.count, found.same.of) == (2, 5)
    assert (found.both_right, found.only_first_right) == (1, 1)
    assert (found.only_second_right, found.both_wrong) == (1, 1)
    assert found.mcnemar_p == 1.0
    assert found.changed == (("1.jpg", 0, 0, 1), ("2.jpg", 1, 0, 1), ("4.jpg", -1, 1, 2))
    assert found.by_class == ((0, 2, 1), (1, 0, 1), (2, 0, 0))
    assert found.pairs_by_class == ((0, 1, 1, 0, 0), (1, 0, 0, 1, 0), (2, 0, 0, 0, 1))


def test_without_truths_only_the_answers_are_compared():
    """No test, no right and wrong."""
    ones = predictions([-1, -1], [0, 1], [0.5, 0.5], model="a")
    others = predictions([-1, -1], [0, 2], [0.5, 0.5], model="b")
    found = agreement(ones, others)

    assert (found.same.count, found.mcnemar_p, found.both_wrong) == (1, None, 0)
    assert found.pairs_by_class == ()


def test_images_and_classes_in_another_order_are_matched_by_name():
    """And those that one of them did not answer are left out."""
    ones = answers([0, 0, 0, 0, 1], "a", errors=["", "", "", "", "broken"])
    others = predictions(
        [0, 1, 1, 2],  # in that model's order of classes
        [0, 1, 0, -1],
        [0.5, 0.5, 0.5, float("nan")],
        labels=("c2", "c0", "c1"),
        names=("3.jpg", "0.jpg", "1.jpg", "2.jpg"),
        errors=["", "", "", "broken"],
        model="b",
    )
    found = agreement(ones, others)

    assert found.images == 3
    assert found.changed == (("1.jpg", 0, 0, 2), ("3.jpg", 2, 0, 2))
    assert (found.both_right, found.only_first_right, found.only_second_right) == (1, 1, 1)


def test_models_of_other_classes_are_not_compared():
    """The refusal names one."""
    with pytest.raises(AgreementError, match=r"a and b .* 'c2'"):
        agreement(
            answers([0] * 5, "a"), predictions([0], [0], [0.5], labels=("c0", "c1"), model="b")
        )


@slow_machine
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_test_is_exact(only_first, only_second):
    """Twice the smaller tail of a fair coin."""
    tosses = only_first + only_second
    tail = float(stats.binom.cdf(min(only_first, only_second), tosses, 0.5))

    assert mcnemar(only_first, only_second) == pytest.approx(min(1.0, 2 * tail))


@slow_machine
@given(st.integers(1, 50), st.integers(0, 100))
def test_counts_add_up_and_a_model_agrees_with_itself(images, seed):
    """Also with two of them in the other order."""
    one, _ = random_answers(images, 4, 2, seed=seed, without_truth=0.2)
    other, _ = random_answers(images, 4, 2, seed=seed, skill=0.3, without_truth=0.2)
    found, turned, itself = agreement(one, other), agreement(other, one), agreement(one, one)

    known = int(one.judged.sum())
    assert (
        found.both_right + found.only_first_right + found.only_second_right + (found.both_wrong)
        == known
    )
    assert (turned.only_second_right, turned.mcnemar_p) == (found.only_first_right, found.mcnemar_p)
    assert len(found.changed) == images - found.same.count
    assert (itself.same.rate, itself.changed, itself.only_first_right) == (1.0, (), 0)


def test_a_long_list_of_changes_is_cut():
    """The counts are of all."""
    ones = predictions([0] * 1_200, [0] * 1_200, [0.5] * 1_200, model="a")
    found = agreement(ones, predictions([0] * 1_200, [1] * 1_200, [0.5] * 1_200, model="b"))

    assert len(found.changed) == MOST_CHANGED
    assert found.only_first_right == 1_200
