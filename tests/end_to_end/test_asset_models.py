"""The three real networks, served, on real photos."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image

from model_store.package import ModelPackage
from model_store.reference import reference_pixels
from predictor.decode import decode
from predictor.runtimes.onnx import OnnxRuntime
from tests.end_to_end.conftest import Pod

Accepted = dict[str, set[int]]  # file → class indices that are right


@pytest.fixture(scope="module")
def photos(assets: Path) -> Path:
    """The folder of labelled photos."""
    return assets / "images" / "photos"


@pytest.fixture(scope="module")
def accepted(photos: Path) -> Accepted:
    """What is right for each photo."""
    with (photos / "labels.csv").open(newline="", encoding="utf-8") as rows:
        return {
            row["file"]: {int(index) for index in row["accepted_class_indices"].split()}
            for row in csv.DictReader(rows)
        }


@pytest.fixture(scope="module")
def ask(packages: dict[str, ModelPackage], request: pytest.FixtureRequest) -> Iterator[object]:
    """Serve the package named by the test's parameter; asks it in the binary extension."""
    package = packages[request.param]
    pod = Pod(package.path, "--instances", "2", "--drain-delay-s", "0")
    client = triton.InferenceServerClient(pod.http)

    def classify(files: list[bytes]) -> np.ndarray:
        tensor = triton.InferInput("image", [len(files)], "BYTES")
        tensor.set_data_from_numpy(np.array(files, object))
        return client.infer(package.name, [tensor]).as_numpy("indices")

    classify.pod = pod
    yield classify
    client.close()
    pod.close()


@pytest.mark.parametrize("ask", ["mobilenet"], indirect=True)
def test_mobilenet_gets_every_photo_right(ask, photos, accepted):
    """fp32, RGB, class offset 1: all twenty photos, JPEG, PNG and BMP, in one request."""
    found = ask([(photos / file).read_bytes() for file in accepted])

    wrong = {
        file: int(top[0])
        for (file, right), top in zip(accepted.items(), found, strict=True)
        if top[0] not in right
    }
    assert wrong == {}


@pytest.mark.parametrize("ask", ["squeezenet"], indirect=True)
def test_squeezenet_is_as_right_as_it_is_by_itself(ask, photos, accepted):
    """float16, BGR, batch fixed at 1: known to be right on about six photos in ten."""
    found = ask([(photos / file).read_bytes() for file in accepted])

    right = sum(top[0] in accepted[file] for file, top in zip(accepted, found, strict=True))
    assert right >= 0.6 * len(accepted)


@pytest.mark.parametrize("ask", ["resnet20"], indirect=True)
def test_resnet_knows_its_own_images(ask, assets):
    """32×32, ImageNet mean and std: 0.998 right on lossless training images."""
    folder = assets / "images" / "cifar10"
    files = sorted(folder.glob("*/*.png"))[::5]

    found = ask([file.read_bytes() for file in files])

    labels = (assets / "models" / "cifar10_labels.txt").read_text(encoding="utf-8").split()
    right = sum(labels[top[0]] == file.parent.name for file, top in zip(files, found, strict=True))
    assert right >= len(files) - 1


@pytest.mark.parametrize("ask", ["resnet20"], indirect=True)
def test_hostile_images_get_an_error_each_and_disturb_nobody(ask, assets, hostile):
    """Sent one by one beside good ones; the good answers stay the same and the pod stays ready."""
    good = sorted((assets / "images" / "cifar10").glob("*/*.png"))[0].read_bytes()
    before = ask([good]).tolist()
    url = f"{ask.pod.url}/v1/models/resnet20:predict"

    for name, data in hostile.items():
        answer = httpx.put(url, content=data, timeout=60)
        assert answer.status_code == (200 if data else 400), name  # nothing is not even an image
        told = answer.json()["predictions"][0] if data else answer.json()
        assert "error" in told, name
        assert ask([good]).tolist() == before, name
    assert httpx.get(f"{ask.pod.url}/v2/health/ready").status_code == 200


def variations(photo: Image.Image) -> Iterator[bytes]:
    """The photo as JPEGs of three sizes, decoded at 1, 1/2 or 1/4, and flipped."""
    width, height = photo.size
    for scale in (1.0, 1.6, 3.0):
        resized = photo.resize((round(width * scale), round(height * scale)))
        for picture in (resized, resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=90)
            yield stream.getvalue()


def test_the_fast_decode_is_as_right_as_pillows_plain_way(packages, photos, accepted):
    """On 120 JPEGs made of the photos: the same answer for every one."""
    package = packages["mobilenet"]
    target = package.manifest.input
    runtime = OnnxRuntime(package.path / package.manifest.variants[0].file, "cpu", threads=2)
    plain = fast = same = total = 0
    for file, right in accepted.items():
        with Image.open(photos / file) as photo:
            files = list(variations(photo.convert("RGB")))
        ways = [
            np.stack([reference_pixels(data, target) for data in files]),
            np.stack([decode(data, target, scaled=True) for data in files]),
        ]
        expected, got = (runtime.run(pixels).indices[:, 0].tolist() for pixels in ways)
        total += len(files)
        plain += sum(index in right for index in expected)
        fast += sum(index in right for index in got)
        same += sum(a == b for a, b in zip(expected, got, strict=True))
    assert total == 120
    assert fast == plain
    assert same == total
