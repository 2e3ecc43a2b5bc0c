"""A classifier that costs next to nothing, for pods whose devices are emulated anyway."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from model_store.package import ModelPackage
from model_store.packaging import PackageRequest, package

NAME = "tiny"
SIDE = 32  # pixels, height and width
CLASSES = 10
SEED = 7
COLOURS = ((220, 40, 40), (40, 220, 40), (40, 40, 220))
OPSET, IR_VERSION = 17, 9


def tiny_package(folder: Path) -> ModelPackage:
    """Mean colour times a matrix, packaged into the store ``folder / "store"``.

    Raises:
        ModelStoreError: it could not be packaged.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (SIDE, SIDE), colour).save(images / f"{number}.jpg")
    labels, network = folder / "labels.txt", folder / "tiny.onnx"
    labels.write_text("".join(f"class {number}\n" for number in range(CLASSES)), encoding="utf-8")
    onnx.save(mean_colour_network(SIDE), network)
    request = PackageRequest(
        source=network, name=NAME, labels=labels, parity_images=images, scale=1 / 255
    )
    return package(request, folder / "store", _quiet)


def _quiet(_what: str, _done: int, _total: int) -> None:
    """It takes a second."""


def mean_colour_network(side: int) -> onnx.ModelProto:
    """Logits: the mean colour of (N, 3, side, side) float32 pixels, times a matrix of ``SEED``."""
    weights = np.random.default_rng(SEED).normal(size=(3, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
