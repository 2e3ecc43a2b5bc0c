"""What every room's tests share: the real assets, and a small model that needs none of them."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from benchmarks.failing_network import with_failures
from model_store.package import ModelPackage, Resize, load_package, write_manifest
from model_store.packaging import PackageRequest, package
from tests.registry.server import RegistryServer, running

COLOURS = ("red", "green", "blue")
COLOUR_SIZE = 16  # pixels, height and width of the colour network's input


# A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def quiet(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models and images; absent, the test is skipped with its name."""
    folder = Path(os.environ.get("MILLRACE_TEST_ASSETS", "../shared/assets")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no assets in {folder}: set MILLRACE_TEST_ASSETS")
    return folder


@pytest.fixture(scope="session")
def requests(assets: Path) -> dict[str, PackageRequest]:
    """How each asset model is packaged."""
    models, photos = assets / "models", assets / "images" / "photos"
    cut = Resize(policy="shortest-side", size=256)
    mobilenet = PackageRequest(
        source=models / "mobilenet_v2.onnx",
        name="mobilenet",
        labels=models / "imagenet_labels.txt",
        parity_images=photos,
        input_size=(224, 224),
        crop=(224, 224),
        resize=cut,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        class_offset=1,
    )
    squeezenet = PackageRequest(
        source=models / "squeezenet_fp16.onnx",
        name="squeezenet",
        labels=models / "imagenet_labels.txt",
        parity_images=photos,
        resize=cut,
        channels="BGR",
        mean=(104.0, 117.0, 123.0),
        scores="probabilities",
    )
    resnet = PackageRequest(
        source=models / "resnet20_cifar10.onnx",
        name="resnet20",
        labels=models / "cifar10_labels.txt",
        parity_images=assets / "images" / "cifar10",
        scale=1 / 255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    return {request.name: request for request in (mobilenet, squeezenet, resnet)}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that ``packages`` fills; tests only read it."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def packages(requests: dict[str, PackageRequest], store: Path) -> dict[str, ModelPackage]:
    """The three asset models, packaged once."""
    return {name: package(request, store, quiet) for name, request in requests.items()}


def colour_image(colour: str, kind: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
    """An encoded image of mostly one colour, with noise."""
    pixels = np.random.default_rng(5).integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
    pixels[:, :, COLOURS.index(colour)] += 150
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, kind)
    return encoded.getvalue()


def colour_network() -> onnx.ModelProto:
    """Logits = mean of each colour channel times ten."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    shape = ["batch", 3, COLOUR_SIZE, COLOUR_SIZE]
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.float32(10), "ten")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def package_colours(folder: Path, network: onnx.ModelProto, name: str) -> ModelPackage:
    """A package of a network for red, green and blue images, in a store in ``folder``."""
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n", encoding="utf-8")
    (folder / "images").mkdir()
    for colour in COLOURS:
        (folder / "images" / f"{colour}.jpg").write_bytes(colour_image(colour))
    onnx.save_model(network, str(folder / "colour.onnx"))
    request = PackageRequest(
        source=folder / "colour.onnx",
        name=name,
        labels=folder / "labels.txt",
        parity_images=folder / "images",
        scale=1 / 255,
    )
    return package(request, folder / "store", quiet)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A package that tells red, green and blue images apart; made without any asset."""
    return package_colours(tmp_path_factory.mktemp("colours"), colour_network(), "colours")


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """The same, but at images of ``failing_network``'s colours ONNX Runtime fails."""
    network = with_failures(colour_network())
    return package_colours(tmp_path_factory.mktemp("failing"), network, "failing")


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """An MLflow server that all tests share; each has models of its own there."""
    with running(tmp_path_factory.mktemp("registry")) as server:
        yield server


def as_version(package: ModelPackage, version: int, store: Path, **changes: object) -> ModelPackage:
    """A copy of ``package`` that says it is ``version``, in its place in ``store``."""
    copy = store / package.name / str(version)
    shutil.copytree(package.path, copy)
    write_manifest(copy, package.manifest.model_copy(update={"version": version, **changes}))
    return load_package(copy)
