"""The models that are measured: how they are packaged and served, and the photos they are shown."""

from __future__ import annotations

import csv
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.errors import BenchmarkError
from examples.server import MILLRACE
from model_store.package import ModelPackage, load_package
from model_store.store import resolve

PHOTOS = 16  # as many as the lowest concurrency, so that h2load can hold each in flight once
JPEG_QUALITY = 95
# Not winml_fish.png: MobileNetV2 gives it two classes of almost equal score, and any JPEG tips it.
RECODED = ("skimage_chelsea.png", "skimage_coffee.png", "winml_kitten_224.png", "coral_bird.bmp")


@dataclass(frozen=True, slots=True)
class Photo:
    """A JPEG file and the class indices that are right for it."""

    file: Path
    accepted: frozenset[int]


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the comparison."""

    name: str
    source: str  # under the assets folder, as are the other two, unless absolute
    labels: str
    parity_images: str
    package_options: str
    photos: Callable[[Path, Path], list[Photo]]  # (assets, folder to write JPEGs into)
    frontends: int
    instances: int


def _imagenet_photos(assets: Path, folder: Path) -> list[Photo]:
    """The 12 JPEG photos as they are, and 4 others as JPEGs."""
    photos = []
    with (assets / "images/photos/labels.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            file = assets / "images/photos" / row["file"]
            accepted = frozenset(int(index) for index in row["accepted_class_indices"].split())
            if file.suffix == ".jpg":
                photos.append(Photo(file, accepted))
            elif file.name in RECODED:
                photos.append(Photo(_as_jpeg(file, folder), accepted))
    return photos


def _cifar_photos(assets: Path, folder: Path) -> list[Photo]:
    """Two 32x32 images of each of the first 8 classes, as JPEGs."""
    labels = (assets / "models/cifar10_labels.txt").read_text(encoding="utf-8").split()
    return [
        Photo(_as_jpeg(file, folder / label), frozenset({index}))
        for index, label in list(enumerate(labels))[: PHOTOS // 2]
        for file in sorted((assets / "images/cifar10" / label).glob("*.png"))[:2]
    ]


def _as_jpeg(file: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    jpeg = folder / f"{file.stem}.jpg"
    with Image.open(file) as image:
        image.convert("RGB").save(jpeg, quality=JPEG_QUALITY)
    return jpeg


# One single-threaded instance per core of a 2-core machine, one frontend: the best found there.
MODELS = {
    "mobilenet_v2": Model(
        name="mobilenet_v2",
        source="models/mobilenet_v2.onnx",
        labels="models/imagenet_labels.txt",
        parity_images="images/photos",
        package_options=(
            "--input-size 224 --resize shortest-side:256 --crop 224 --channels RGB "
            "--mean 127.5,127.5,127.5 --std 127.5,127.5,127.5 --class-offset 1 "
            "--scores logits"
        ),
        photos=_imagenet_photos,
        frontends=1,
        instances=2,
    ),
    "resnet20_cifar10": Model(
        name="resnet20_cifar10",
        source="models/resnet20_cifar10.onnx",
        labels="models/cifar10_labels.txt",
        parity_images="images/cifar10",
        package_options=(
            "--input-size 32 --resize exact --channels RGB --scale 1/255 "
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --scores logits"
        ),
        photos=_cifar_photos,
        frontends=1,
        instances=2,
    ),
}


def package(model: Model, assets: Path, store: Path) -> ModelPackage:
    """Package ``model`` into ``store`` by the command line, as a user would.

    Raises:
        BenchmarkError: when the command refuses; its own words are on the terminal.
    """
    command: list[str | Path] = [MILLRACE, "package", assets / model.source, "--name", model.name]
    command += ["--labels", assets / model.labels, *shlex.split(model.package_options)]
    command += ["--parity-images", assets / model.parity_images, "--store", store]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        raise BenchmarkError(f"packaging {model.name} was refused")
    return load_package(resolve(model.name, store))
