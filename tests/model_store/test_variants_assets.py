"""The real networks in 8 bits and in half precision."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from PIL import Image, ImageOps

from model_store.answers import ServingGraph
from model_store.package import Quantisation, load_package
from model_store.packaging import package
from model_store.quantisation import Quantiser
from model_store.quantisation_search import compare
from model_store.reference import image_files, reference_pixels
from tests.conftest import quiet


def test_mobilenet_in_8_bits_agrees_on_photos_it_was_not_calibrated_on(requests, assets, tmp_path):
    """No photo is on both sides; the fp32 variant stays the reference."""
    photos = sorted(f for f in (assets / "images" / "photos").iterdir() if f.suffix != ".csv")
    for place, file in enumerate(photos):
        folder = tmp_path / ("calibration", "held_out")[place % 2]
        folder.mkdir(exist_ok=True)
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.save(folder / f"{file.stem}.jpg", quality=90)
        ImageOps.mirror(picture).save(folder / f"{file.stem}_mirrored.jpg", quality=90)
    request = dataclasses.replace(
        requests["mobilenet"],
        variants=("fp16", "int8"),
        calibration_images=tmp_path / "calibration",
        held_out_images=tmp_path / "held_out",
        least_agreement=0.9,
    )
    made = package(request, tmp_path / "store", quiet)
    half, eight = (variant.proof.held_out for variant in made.manifest.variants[1:])
    assert half.top1_agreement == 1.0
    assert eight.top1_agreement >= 0.95
    assert eight.mean_score_difference < 0.05


def test_first_layers_in_float_keep_their_activations(packages, requests, tmp_path):
    """Of a layer in float the activation must stay, or the network answers nonsense."""
    made = packages["resnet20"]
    files = image_files(requests["resnet20"].parity_images)[::25]
    pixels = [reference_pixels(file.read_bytes(), made.manifest.input) for file in files]
    first = made.path / "fp32.onnx"
    quantiser = Quantiser(first, first, pixels, quiet)
    assert {each.first_in_float for each in quantiser.kinds} == {0, 3}
    layers = {}
    for count in (0, 3):
        kind = Quantisation(
            method="minmax", activations="uint8", operators="all", first_in_float=count
        )
        quantiser.write(kind, tmp_path / f"{count}.onnx")
        graph = onnx.load(tmp_path / f"{count}.onnx").graph
        from_8_bits = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
        layers[count] = [n.input[0] in from_8_bits for n in graph.node if n.op_type == "Conv"]
        answers = ServingGraph(tmp_path / f"{count}.onnx").answer(np.stack(pixels))
        expected = ServingGraph(first).answer(np.stack(pixels))
        assert compare(answers, expected).top1_agreement >= 0.9
    assert layers[3][:3] == [False, False, False]
    assert layers[3][3:] == layers[0][3:]
    assert layers[0][1]


def test_resnet20_in_8_bits_agrees_on_held_out_images(requests, tmp_path):
    """Half of the calibration folder is held out by itself."""
    request = dataclasses.replace(
        requests["resnet20"],
        variants=("int8",),
        calibration_images=requests["resnet20"].parity_images,
    )
    made = load_package(package(request, tmp_path, quiet).path)
    proof = made.manifest.variants[1].proof
    assert (proof.calibration.images, proof.held_out.images) == (128, 248)
    assert proof.held_out.top1_agreement >= 0.97
