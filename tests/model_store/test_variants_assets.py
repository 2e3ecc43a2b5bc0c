"""The real networks in 8 bits and in half precision."""

from __future__ import annotations

import dataclasses

from PIL import Image, ImageOps

from model_store.package import load_package
from model_store.packaging import package
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
