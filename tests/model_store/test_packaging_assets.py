"""The three real models package, and their serving graphs give the right answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest

from model_store.answers import ServingGraph
from model_store.golden import check_golden
from model_store.package import ModelPackage, load_package
from model_store.reference import reference_pixels

NAMES = ("mobilenet", "squeezenet", "resnet20")


def labelled_photos(assets: Path) -> list[tuple[Path, set[int]]]:
    """Each photo with the class indices that are right for it."""
    folder = assets / "images" / "photos"
    with (folder / "labels.csv").open(encoding="utf-8") as rows:
        return [
            (folder / row["file"], {int(i) for i in row["accepted_class_indices"].split()})
            for row in csv.DictReader(rows)
        ]


def correct(package: ModelPackage, assets: Path) -> list[bool]:
    """For each photo, whether the best class is a right one."""
    serving = ServingGraph(package.path / package.manifest.variants[0].file)
    photos = labelled_photos(assets)
    pixels = [reference_pixels(p.read_bytes(), package.manifest.input) for p, _ in photos]
    best = serving.answer(np.stack(pixels)).indices[:, 0]
    return [int(index) in right for index, (_, right) in zip(best, photos, strict=True)]


def test_mobilenet_gets_every_photo_right(packages, assets):
    """Normalisation and the background class are inside its serving graph."""
    assert correct(packages["mobilenet"], assets) == [True] * 20


def test_squeezenet_gets_most_photos_right(packages, assets):
    """BGR order and per-channel means matter: with RGB it would get almost none."""
    assert sum(correct(packages["squeezenet"], assets)) >= 14


def test_resnet20_gets_cifar_images_right(packages, assets):
    """Fifty training images, one in ten, are all recognised (0.998 on the whole)."""
    package = packages["resnet20"]
    files = sorted((assets / "images" / "cifar10").rglob("*.png"))[::10]
    pixels = [reference_pixels(f.read_bytes(), package.manifest.input) for f in files]
    serving = ServingGraph(package.path / "fp32.onnx")
    named = [package.labels[i] for i in serving.answer(np.stack(pixels)).indices[:, 0]]
    assert sum(name == f.parent.name for name, f in zip(named, files, strict=True)) >= 49


@pytest.mark.parametrize("name", NAMES)
def test_parity_is_recorded_in_the_manifest(name, packages):
    """Top-1 agrees on every image and scores differ far less than is allowed."""
    parity = packages[name].manifest.parity
    assert parity.top1_agreement == 1.0
    assert parity.max_score_difference < parity.tolerance / 10
    assert parity.batch_sizes == (1, 8)


@pytest.mark.parametrize("name", NAMES)
def test_graph_takes_bytes_and_gives_the_best_classes(name, packages):
    """The contract: image uint8 [N,H,W,3] in; indices int64 and scores float32 [N,k] out."""
    package = packages[name]
    graph = onnx.load(package.path / package.manifest.variants[0].file).graph

    def declared(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
        tensor = value.type.tensor_type
        return value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]

    side = package.manifest.input.height
    assert [declared(v) for v in graph.input] == [
        ("image", onnx.TensorProto.UINT8, ["N", side, side, 3])
    ]
    assert [declared(v) for v in graph.output] == [
        ("indices", onnx.TensorProto.INT64, ["N", 5]),
        ("scores", onnx.TensorProto.FLOAT, ["N", 5]),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_best_first_and_dynamic_in_batch(name, packages):
    """Any number of images at once; scores fall from left to right and stay within 0..1."""
    package = packages[name]
    serving = ServingGraph(package.path / package.manifest.variants[0].file)
    for count in (1, 3):
        pixels = np.random.default_rng(count).integers(
            0, 256, (count, *package.manifest.input.shape)
        )
        answers = serving.answer(pixels.astype(np.uint8))
        assert answers.indices.shape == answers.scores.shape == (count, 5)
        assert (np.diff(answers.scores, axis=1) <= 0).all()
        assert answers.scores.min() >= 0
        assert answers.scores.max() <= 1


def test_half_precision_network_becomes_an_fp16_variant(packages):
    """The variant's precision is what most of the weights have."""
    precisions = {n: [v.precision for v in p.manifest.variants] for n, p in packages.items()}
    assert precisions == {"mobilenet": ["fp32"], "squeezenet": ["fp16"], "resnet20": ["fp32"]}


@pytest.mark.parametrize("name", NAMES)
def test_golden_images_are_part_of_the_package_and_hold(name, packages):
    """Four images with the original network's answers, which the serving graph gives too."""
    package = load_package(packages[name].path)
    assert len(package.manifest.golden) == 4
    assert check_golden(package) <= package.manifest.parity.tolerance
