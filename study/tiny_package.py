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
    onnx.save(_network(), network)
    request = PackageRequest(
        source=network, name=NAME, labels=labels, parity_images=images, scale=1 / 255
    )
    return package(request, folder / "store", _quiet)


def _quiet(_what: str, _done: int, _total: int) -> None:
    """It takes a second."""


def _network() -> onnx.ModelProto:
    weights = np.random.default_rng(7).normal(size=(3, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
