"""A network that costs next to nothing, so that what is left of a request is the wire."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.failing_network import with_failures
from benchmarks.models import Model

CLASSES = 10
SEED = 7
OPSET, IR_VERSION = 17, 9


def idle_model(like: Model, size: int, folder: Path, *, failing: bool = False) -> Model:
    """A model for the photos of ``like``: mean colour at ``size`` by ``size``, times a matrix.

    Its network and labels are written into ``folder``. One that is ``failing`` does so at images
    of the colours of ``failing_network``.
    """
    name = f"failing{size}" if failing else f"idle{size}"
    folder.mkdir(parents=True, exist_ok=True)
    network, labels = folder / f"{name}.onnx", folder / "labels.txt"
    idle = _network(size)
    onnx.save(with_failures(idle, low=-1.0) if failing else idle, network)
    labels.write_text("".join(f"class {number}\n" for number in range(CLASSES)), encoding="utf-8")
    return replace(
        like,
        name=name,
        source=str(network.resolve()),
        labels=str(labels.resolve()),
        package_options=f"--input-size {size} --resize exact --mean 127.5 --std 127.5",
        frontends=1,
        instances=1,
    )


def _network(size: int) -> onnx.ModelProto:
    weights = np.random.default_rng(SEED).normal(size=(3, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "idle",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
