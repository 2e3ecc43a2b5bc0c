"""A dataset's names of classes onto a model's labels."""

from __future__ import annotations

import pytest

from analyzer.dataset import Dataset, Item
from analyzer.dataset_labels import truth_of
from analyzer.sources_files import Files


def truth(names, labels, folders=False):
    """Of a dataset with an image for each name."""
    items = tuple(Item(str(number), name, "") for number, name in enumerate(names))
    return truth_of(Dataset("set", "set", items, Files(), folders=folders), labels, "net")


@pytest.mark.parametrize(
    ("name", "index"),
    [("tiger cat", 1), ("Tiger Cat", 1), ("tiger_cat", 1), ("2", 2), ("T-shirt top", 3)],
)
def test_a_name_is_a_label_or_one_written_otherwise_or_an_index(name, index):
    """In this order."""
    found = truth([name], ["cat", "tiger cat", "dog", "T-shirt/top"])

    assert found.indices.tolist() == [index]
    assert [finding.severity for finding in found.findings] == (
        [] if name in ("tiger cat", "2") else ["info"]
    )


def test_numbers_are_labels_first(tmp_path):
    """A network of digits may have them in any order."""
    found = truth(["0", "1", "7"], ["1", "0", "2"])

    assert found.indices.tolist() == [1, 0, -1]
    assert "no class called '7'" in found.findings[0].text


def test_names_that_no_class_has_are_an_error_and_no_truth():
    """With how many images that is."""
    found = truth(["cat", "bird", "bird", "9", None], ["cat", "dog"])

    assert found.indices.tolist() == [0, -1, -1, -1, -1]
    assert found.unknown_class == 3
    (finding,) = found.findings
    assert (finding.kind, finding.severity, finding.count) == ("labels", "error", 3)
    assert "'9', 'bird'" in finding.text


def test_a_name_that_two_classes_have_is_an_error_and_no_truth():
    """As ImageNet's cranes."""
    found = truth(["crane", "0"], ["crane", "cat", "crane"])

    assert found.indices.tolist() == [-1, 0]
    assert found.unknown_class == 1
    assert "classes 0 and 2" in found.findings[0].text


def test_one_class_under_two_names_is_noticed():
    """Half of a table by index, say."""
    found = truth(["dog", "1", "cat"], ["cat", "dog"])

    assert found.indices.tolist() == [1, 1, 0]
    (finding,) = found.findings
    assert (finding.kind, finding.count) == ("conflict", 2)


def test_one_folder_that_no_class_is_called_after_is_just_a_folder():
    """In a table it would be a mistake."""
    assert truth(["photos"], ["cat"], folders=True).findings == ()
    assert truth(["photos"], ["cat"], folders=True).indices.tolist() == [-1]
    assert truth(["cat"], ["cat"], folders=True).indices.tolist() == [0]
    assert truth(["photos"], ["cat"]).findings[0].severity == "error"
