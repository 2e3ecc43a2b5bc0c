"""Groups of classes: how the file is read, and scores by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import HierarchyError
from analyzer.hierarchy import Hierarchy, hierarchy_scores, read_hierarchy
from tests.analyzer.answers import predictions, random_answers, slow_machine

LABELS = ("tabby", "siamese", "beagle", "anvil")
TEXT = """label,kind,nature
beagle,dog,animal
tabby,cat,animal
siamese,cat,animal
anvil,,thing
teapot,,thing
"""


@pytest.fixture
def file(tmp_path):
    """Where a test may write one."""
    return tmp_path / "hierarchy.csv"


def test_groups_are_those_of_the_models_labels_in_its_order(file):
    """Rows of other labels do not matter."""
    file.write_text(TEXT, encoding="utf-8")
    found = read_hierarchy(file, LABELS)

    assert found.levels == ("kind", "nature")
    assert found.groups.T.tolist() == [[0, 0, 1, 2], [0, 0, 0, 1]]


def test_a_blank_repeats_what_stands_to_its_left(file):
    """Anvil and teapot are things of no kind, and not of the same kind."""
    file.write_text(TEXT, encoding="utf-8")

    assert read_hierarchy(file, ("anvil", "teapot")).groups.tolist() == [[0, 0], [1, 0]]


def test_classes_whose_names_nobody_knows_need_no_row(file):
    """Each is a group of its own."""
    file.write_text("label,kind\nanvil,thing\ntabby,animal\n", encoding="utf-8")

    found = read_hierarchy(file, ("class 0", "tabby", "class 2", "anvil"), ("class 0", "class 2"))

    assert found.groups.ravel().tolist() == [0, 1, 2, 3]


def test_a_label_that_a_model_has_twice_takes_its_rows_in_order(file):
    """ImageNet has two cranes."""
    file.write_text("label,kind\ncrane,bird\ncrane,machine\ngull,bird\n", encoding="utf-8")

    assert read_hierarchy(file, ("crane", "gull", "crane")).groups.ravel().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("name,kind\n", "first line must be 'label'"),
        ("label\n", "first line must be 'label'"),
        ("label,kind,nature\ntabby,cat\n", "row 2 must have 3 cells"),
        ("label,kind\ntabby,cat\n", "no row for the label 'siamese'"),
        (TEXT + "tabby,cat,animal\n", "2 rows for the label 'tabby'"),
        (TEXT.replace("siamese,cat,animal", "siamese,cat,thing"), "'cat' is in two groups"),
        ('label,kind\n"tabby,cat\n', "is not CSV"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(file, text, said):
    """In one line that says what is wrong."""
    file.write_text(text, encoding="utf-8")

    with pytest.raises(HierarchyError, match=said) as refusal:
        read_hierarchy(file, LABELS)
    assert str(refusal.value).startswith(str(file))
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(file):
    """None there, or no text."""
    with pytest.raises(HierarchyError, match="no such file"):
        read_hierarchy(file, LABELS)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HierarchyError, match="UTF-8"):
        read_hierarchy(file, LABELS)


def test_scores_by_hand(file):
    """Right at 0.8; a cat for a cat at 0.6; a dog for a cat at 0.4; a thing for an animal at 1."""
    file.write_text(TEXT, encoding="utf-8")
    answers = predictions([0, 0, 0, 2], [0, 1, 2, 3], [0.8, 0.6, 0.4, 1.0], labels=LABELS)
    found = hierarchy_scores(answers, read_hierarchy(file, LABELS))

    assert found.accuracy_by_level == (0.5, 0.75)
    assert found.standard == 0.25
    assert found.confidence_aware == pytest.approx(0.8 / 4)
    assert found.error_aware == pytest.approx((0.8 - 0.6 - 0.4 - 1.0) / 4)
    assert found.hierarchy_aware == pytest.approx((0.8 - 0 - 0.4 / 2 - 1.0) / 4)


def test_without_truths_there_are_no_scores():
    """Nothing to be right about."""
    groups = Hierarchy(("kind",), np.zeros((2, 1), dtype=np.int64))

    assert hierarchy_scores(predictions([-1], [0], [0.5], labels=2), groups) is None


@slow_machine
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 1_000))
def test_the_more_a_score_forgives_the_higher_it_is(images, classes, levels, seed):
    """Whatever the answers and the groups."""
    answers, _ = random_answers(images, classes, 1, seed=seed, skill=1.0)
    groups = np.random.default_rng(seed).integers(classes, size=(classes, levels))
    found = hierarchy_scores(answers, Hierarchy(("level",) * levels, groups))

    assert -1 <= found.error_aware <= found.hierarchy_aware + 1e-9
    assert found.hierarchy_aware <= found.confidence_aware + 1e-9
    assert found.confidence_aware <= found.standard + 1e-9
    assert all(share >= found.standard - 1e-9 for share in found.accuracy_by_level)
