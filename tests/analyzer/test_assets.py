"""Real models on real datasets, in each form that users have them."""

from __future__ import annotations

import csv

import numpy as np

from analyzer import checks, checks_alike, checks_parity
from analyzer.accuracy import accuracy
from analyzer.dataset_labels import truth_of
from analyzer.run import run
from tests.analyzer.colour_sets import local, surveyed
from tests.conftest import quiet


def test_class_folders_of_cifar10(packages, assets, tmp_path):
    """ResNet-20 knows nearly all of them, as the assets' page says; nothing is odd."""
    seen = surveyed(assets / "images" / "cifar10")
    model = local(packages["resnet20"], "resnet20")

    outcome = run(model, seen, tmp_path, quiet)
    parity = checks_parity.parity(model, seen)
    model.close()

    found = accuracy(outcome.predictions)
    assert (found.judged, found.top[0].hits.of) == (500, 500)
    assert found.top[0].hits.rate >= 0.99
    assert outcome.truth.findings == ()
    assert (parity.images, parity.changed, parity.max_levels) == (64, (), 0)


def test_a_table_of_photos(packages, assets, tmp_path):
    """MobileNetV2 has a class that is right for each among its best five."""
    photos = assets / "images" / "photos"
    table = tmp_path / "photos.csv"
    with (photos / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = [
            (photos / row["file"], row["accepted_class_indices"].split()[0])
            for row in csv.DictReader(lines)
        ]
    with table.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("file", "label"), *rows])
    seen = surveyed(table)
    model = local(packages["mobilenet"], "mobilenet")

    outcome = run(model, seen, tmp_path / "kept", quiet)
    parity = checks_parity.parity(model, seen)
    model.close()

    found = accuracy(outcome.predictions)
    assert (found.images, found.judged) == (20, 20)
    assert found.top[4].hits.count == 20
    assert parity.changed == ()
    (alike,) = checks_alike.near_duplicates(seen, quiet)
    assert alike.count == 1
    assert "coral_cat.bmp" in alike.text
    assert "coral_cat_720p.jpg" in alike.text


def test_an_archive_of_ten_thousand_images(packages, assets, tmp_path):
    """Fashion-MNIST's folders are class indices, of a network with labels of its own."""
    seen = surveyed(assets / "images" / "fashion-mnist" / "test.zip")

    assert len(seen.dataset.items) == 10_000
    assert seen.errors == ("",) * 10_000
    assert checks.class_counts(seen.dataset) == {str(index): 1_000 for index in range(10)}
    clothes = [f"garment {letter}" for letter in "abcdefghij"]
    truth = truth_of(seen.dataset, clothes, "net")
    assert truth.findings == ()
    assert np.bincount(truth.indices).tolist() == [1_000] * 10
    assert list(checks.exact_duplicates(seen)) == []

    model = local(packages["resnet20"], "resnet20")
    outcome = run(model, seen, tmp_path, quiet)
    model.close()

    assert outcome.predictions.answered.all()
    assert outcome.images == 10_000
