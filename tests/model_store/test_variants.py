"""Variants: made of the first one, proven against it on other images, or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from millrace import models
from millrace import package as package_command
from model_store.answers import Answers, ServingGraph
from model_store.errors import PackageError, ParityError, SourceError
from model_store.golden import check_golden
from model_store.image_sets import read_image_sets, split
from model_store.package import (
    Comparison,
    GoldenAnswer,
    Quantisation,
    load_package,
    read_manifest,
    write_manifest,
)
from model_store.packaging import package
from model_store.quantisation_search import Tried, choose, compare
from tests.conftest import quiet

MINMAX = Quantisation(method="minmax", activations="uint8", operators="all")


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Speeds are recorded, and nothing is said about them here."""
    monkeypatch.setattr("model_store.speed.ROUND_S", 0.002)


@pytest.fixture
def typical(bench) -> Path:
    """A folder of 24 images to calibrate and prove with."""
    folder = bench.folder / "typical"
    folder.mkdir()
    rng = np.random.default_rng(11)
    for number in range(24):
        pixels = np.clip(rng.integers(0, 256, 3) + rng.integers(-40, 40, (12, 10, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def tried(agreement: float, difference: float, rate: float, **kind: str) -> Tried:
    """One way to quantise and how it did."""
    compared = Comparison(
        images=100,
        top1_agreement=agreement,
        mean_score_difference=difference,
        max_score_difference=difference,
    )
    return Tried(MINMAX.model_copy(update=kind), compared, rate)


def test_default_is_the_networks_own_precision_alone(bench, tiny):
    """No variant, and no bound that one would have to keep."""
    manifest = bench.package(tiny).manifest
    assert [variant.precision for variant in manifest.variants] == ["fp32"]
    assert manifest.accuracy_bound is None


def test_variants_are_proven_and_recorded(bench, tiny, typical):
    """Precision, proof on both sets, figures of speed; and the manifest reads back the same."""
    made = bench.package(tiny, variants=("fp32", "fp16", "int8"), calibration_images=typical)
    manifest = read_manifest(made.path)
    first, half, eight = manifest.variants
    assert [v.file for v in manifest.variants] == ["fp32.onnx", "fp16.onnx", "int8.onnx"]
    assert manifest == made.manifest
    assert manifest.accuracy_bound == 0.97
    assert (first.proof, first.golden, half.calibration) == (None, None, None)
    assert set(first.speed.images_per_second) == {1, 8}
    assert min(first.speed.images_per_second.values()) > 0
    assert first.speed.times_the_first == {1: 1.0, 8: 1.0}
    assert eight.calibration.images == 12
    for variant in (half, eight):
        assert variant.proof.held_out.images == 12
        assert variant.proof.held_out.top1_agreement >= 0.97
        assert set(variant.speed.images_per_second) == {1, 8}
        assert variant.speed == variant.proof.measured
        assert len(variant.golden) == len(manifest.golden)
    assert manifest.proven_variants == manifest.variants
    assert check_golden(load_package(made.path)) <= 0.05


def test_eight_bits_are_inside_and_bytes_go_in(bench, tiny, typical):
    """The contract of a serving graph is kept; what surrounds the network stays in float."""
    made = bench.package(tiny, variants=("int8",), calibration_images=typical)
    graph = onnx.load(made.path / "int8.onnx").graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert "QuantizeLinear" in {node.op_type for node in graph.node}
    (softmax,) = [node for node in graph.node if node.op_type == "Softmax"]
    assert softmax.output[0] in {value for node in graph.node for value in node.input}
    answers = ServingGraph(made.path / "int8.onnx").answer(np.zeros((3, 8, 8, 3), np.uint8))
    assert answers.indices.shape == (3, 4)


def delicate_network(weighs: float) -> onnx.ModelProto:
    """One channel's weights are too large for half precision; what it says ``weighs`` so much.

    Where it says nothing, 8 bits do not see the other channels beside it.
    """
    weight = np.zeros((4, 3, 1, 1), np.float32)
    weight[range(3), range(3)] = 1
    weight[3] = 1e6
    last = np.random.default_rng(7).normal(size=(4, 4)).astype(np.float32)
    last[3] *= weighs * 1e-6
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["planes"]),
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "last"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "delicate",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(last, "last")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("precision", "weighs"), [("fp16", 5), ("int8", 0)])
def test_variant_that_misses_the_bound_is_refused(bench, typical, refuses, precision, weighs):
    """The whole package is: a variant that was asked for is not left out in silence."""
    request = bench.request(
        delicate_network(weighs), variants=(precision,), calibration_images=typical, mean=(0, 0, 0)
    )
    line = refuses(request, ParityError)
    assert f"{precision} misses the bound of 97.0% on " in line
    assert "or a lower --least-agreement" in line


def test_a_lower_bound_may_be_said(bench, tiny, typical):
    """And is recorded with the package."""
    request = bench.request(
        tiny, variants=("int8",), calibration_images=typical, least_agreement=0.5
    )
    assert package(request, bench.store, quiet).manifest.accuracy_bound == 0.5


def test_images_that_cannot_be_used_are_refused(bench, tiny, typical, refuses):
    """One line that names the folder or the file; nothing is left in the store."""

    def line(**images: object) -> str:
        return refuses(bench.request(tiny, variants=("int8",), **images), SourceError)

    assert "int8 must be calibrated: give --calibration-images" in line()
    assert "no such folder" in line(calibration_images=bench.folder / "nowhere")
    empty = bench.folder / "empty"
    empty.mkdir()
    assert f"{empty}: holds no calibration images" in line(calibration_images=empty)
    assert f"{empty}: holds no held-out images" in line(
        calibration_images=typical, held_out_images=empty
    )
    assert "is the same image as" in line(calibration_images=typical, held_out_images=typical)
    (typical / "05.png").write_bytes(b"no image")
    assert "05.png: cannot be decoded" in line(calibration_images=typical)
    (empty / "one.png").write_bytes((typical / "06.png").read_bytes())
    assert "holds one image" in line(calibration_images=empty)


def test_what_cannot_be_made_is_refused(bench, tiny, typical, refuses):
    """8 bits of a network in half precision, a PyTorch program of one in ONNX."""
    half = tiny.but(dtype=onnx.TensorProto.FLOAT16)
    request = bench.request(half, variants=("int8",), calibration_images=typical)
    assert "int8 cannot be made of a network in fp16" in refuses(request, SourceError)
    request = bench.request(tiny, variants=("pt2",), calibration_images=typical)
    assert "pt2 is made of a PyTorch source" in refuses(request, SourceError)


def test_network_without_weights_has_nothing_to_quantise(typical, bench, tmp_path, refuses):
    """Conv, Gemm and MatMul are what 8 bits make faster."""
    from tests.conftest import COLOURS, colour_network

    onnx.save_model(colour_network(), str(tmp_path / "colour.onnx"))
    (bench.folder / "labels.txt").write_text("\n".join(COLOURS), encoding="utf-8")
    request = bench.request_for(
        tmp_path / "colour.onnx", variants=("int8",), calibration_images=typical
    )
    assert "that 8 bits would make faster" in refuses(request, SourceError)


def test_held_out_images_are_never_calibrated_on(typical, bench, tiny):
    """By default half of the folder, always the same half; neighbours by name stay together."""
    files = [Path(f"{number:03d}.png") for number in range(40)]
    first, second = split(files)
    assert (first, second) == split(files)
    assert sorted(first + second) == files
    assert first[:10] == files[:10]
    image = bench.package(tiny).manifest.input
    sets = read_image_sets(typical, None, image, quiet)
    assert set(sets.calibration.digests).isdisjoint(sets.held_out.digests)
    again = read_image_sets(typical, None, image, quiet)
    assert sets.calibration.sha256 == again.calibration.sha256


def test_way_to_quantise_is_fastest_of_those_that_keep_the_bound():
    """About as fast: who agrees most, then whose scores differ least. None keeps it: none."""
    exact_slow = tried(1.0, 0.001, 100)
    wrong_fast = tried(0.9, 0.2, 400)
    good = tried(0.98, 0.02, 300)
    closer = tried(0.98, 0.01, 290, method="entropy")
    assert choose([exact_slow, wrong_fast, good], 0.97) == good
    assert choose([exact_slow, wrong_fast, good, closer], 0.97) == closer
    agreeing = tried(0.99, 0.03, 290, method="percentile")
    assert choose([good, closer, agreeing], 0.97) == agreeing
    assert choose([wrong_fast], 0.97) is None


def test_first_layers_stay_in_float_only_beside_many_others(bench, tiny, typical):
    """A network of one layer has none to spare."""
    made = bench.package(tiny, variants=("int8",), calibration_images=typical)
    assert made.manifest.variants[1].calibration.quantisation.first_in_float == 0


def test_comparison_counts_every_other_class():
    """A near-tie is a disagreement here, and a score's difference the largest of an image."""
    expected = Answers(np.array([[1, 2], [3, 4]]), np.array([[0.6, 0.4], [0.51, 0.49]], np.float32))
    found = Answers(np.array([[1, 2], [4, 3]]), np.array([[0.5, 0.5], [0.5, 0.5]], np.float32))
    compared = compare(found, expected)
    assert (compared.images, compared.top1_agreement) == (2, 0.5)
    assert compared.max_score_difference == pytest.approx(0.1, abs=1e-4)
    assert compared.mean_score_difference == pytest.approx(0.055, abs=1e-4)


def test_golden_answers_are_each_variants_own(bench, tiny, typical):
    """A wrong one is found by verify, which names the variant."""
    made = bench.package(tiny, variants=("int8",), calibration_images=typical)
    first, eight = made.manifest.variants
    wrong = GoldenAnswer(indices=eight.golden[0].indices[::-1], scores=eight.golden[0].scores)
    damaged = eight.model_copy(update={"golden": (wrong, *eight.golden[1:])})
    write_manifest(made.path, made.manifest.model_copy(update={"variants": (first, damaged)}))
    with pytest.raises(PackageError, match=r"int8\.onnx: golden image"):
        check_golden(load_package(made.path))


def test_manifest_with_too_few_golden_answers_is_refused(bench, tiny, typical):
    """One for each golden image, or the check would pass by leaving images out."""
    made = bench.package(tiny, variants=("int8",), calibration_images=typical)
    first, eight = made.manifest.variants
    short = eight.model_copy(update={"golden": eight.golden[:1]})
    write_manifest(made.path, made.manifest.model_copy(update={"variants": (first, short)}))
    with pytest.raises(PackageError, match="1 answers to"):
        load_package(made.path)


def test_command_makes_shows_and_verifies_variants(bench, tiny, typical):
    """Summary, JSON, ``models show`` and ``models verify``; a misspelt one is a usage error."""
    onnx.save_model(tiny.model(), str(bench.folder / "tiny.onnx"))
    given = [
        *(str(bench.folder / "tiny.onnx"), "--name", "tiny", "--scale", "1/16"),
        *("--labels", str(bench.folder / "labels.txt"), "--store", str(bench.store)),
        *("--parity-images", str(bench.folder / "images")),
        *("--calibration-images", str(typical)),
    ]
    runner = CliRunner()
    result = runner.invoke(package_command.command, [*given, "--variants", "fp32,int8"])
    assert "int8     held out: top-1 agrees on" in result.stdout
    assert "calibrated on 12 other images" in result.stdout
    assert "fp32     speed here, 1 thread: " in result.stdout
    assert result.stdout.count(" images/s in batches of 8\n") == 2
    assert result.stdout.count("beside the first: ") == 1
    shown = runner.invoke(models.command, ["show", "tiny", "--store", str(bench.store), "--json"])
    assert json.loads(shown.stdout)["variants"][1]["proof"]["held_out"]["images"] == 12
    verified = runner.invoke(models.command, ["verify", "tiny", "--store", str(bench.store)])
    assert verified.exit_code == 0
    wrong = runner.invoke(package_command.command, [*given, "--variants", "int4"])
    assert wrong.exit_code == 2
    assert "'int4' is none of fp32, fp16, int8, pt2" in wrong.stderr


def test_stdout_is_the_answer_alone(bench, tiny, typical):
    """ONNX Runtime's calibration prints; a script that reads JSON must not see it."""
    onnx.save_model(tiny.model(), str(bench.folder / "tiny.onnx"))
    made = subprocess.run(
        [
            *(sys.executable, "-m", "millrace", "package", bench.folder / "tiny.onnx"),
            *("--name", "tiny", "--scale", "1/16", "--labels", bench.folder / "labels.txt"),
            *("--parity-images", bench.folder / "images", "--store", bench.store),
            *("--variants", "int8", "--calibration-images", typical, "--json"),
        ],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert json.loads(made.stdout)["variants"][1]["precision"] == "int8"
    assert made.stderr == ""
