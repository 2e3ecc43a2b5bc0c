"""A network that costs next to nothing, so that what is left of a request is the wire."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.errors import BenchmarkError
from examples.server import MILLRACE
from model_store.package import ModelPackage, load_package
from model_store.store import resolve

CLASSES = 10
SEED = 7
OPSET, IR_VERSION = 17, 9


def package_idle_network(size: int, images: Path, folder: Path) -> ModelPackage:
    """Package the mean colour of ``size`` by ``size`` pixels times a matrix, into ``folder/store``.

    Raises:
        BenchmarkError: the package command refuses; its own words are on the terminal.
    """
    name = f"idle{size}"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_network(size), folder / f"{name}.onnx")
    labels = folder / "labels.txt"
    labels.write_text("".join(f"class {number}\n" for number in range(CLASSES)), encoding="utf-8")
    command: list[str | Path] = [MILLRACE, "package", folder / f"{name}.onnx", "--name", name]
    command += ["--labels", labels, "--input-size", str(size), "--resize", "exact"]
    command += ["--mean", "127.5", "--std", "127.5", "--parity-images", images]
    command += ["--store", folder / "store"]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        raise BenchmarkError(f"packaging {name} was refused")
    return load_package(resolve(name, folder / "store"))


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
