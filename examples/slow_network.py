"""The same network made slow: it gives the very same answers, after work that nobody needs.

Such a candidate passes every test of what it answers, and fails where it must answer in time::

    python -m examples.slow_network digits.onnx slow.onnx --layers 40
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 64  # at 32 x 32 pixels a layer is 75 million multiplications, 1 to 3 ms of a core
LAYERS = 20
PREFIX = "needless_"


def slowed(network: onnx.ModelProto, layers: int = LAYERS) -> onnx.ModelProto:
    """A copy of ``network`` with so many convolutions beside it, whose result is taken times zero.

    No optimiser may leave that out, since what is no number times zero is none; here all are, as
    each layer ends in a tanh. All layers share their weights: the file is hardly larger.

    Args:
        network: float32 pixels (n, channels, H, W) in, scores (n, classes) out.
        layers: how many.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    pixels, scores = graph.input[0], graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{PREFIX}fast" if name == scores else name for name in node.output]
    graph.node.extend(_work(pixels.name, layers))
    graph.node.append(helper.make_node("Add", [f"{PREFIX}fast", f"{PREFIX}zero"], [scores]))
    graph.initializer.extend(_weights(pixels.type.tensor_type.shape.dim[1].dim_value))
    onnx.checker.check_model(model)
    return model


def _work(pixels: str, layers: int) -> Iterator[onnx.NodeProto]:
    """``zero``: (n, 1)."""
    yield _convolution(pixels, "first", 0)
    for number in range(layers):
        yield helper.make_node("Tanh", [f"{PREFIX}{number}"], [f"{PREFIX}{number}_bounded"])
        yield _convolution(f"{PREFIX}{number}_bounded", "next", number + 1)
    last = f"{PREFIX}{layers}"
    yield helper.make_node("Tanh", [last], [f"{last}_bounded"])
    yield helper.make_node("GlobalAveragePool", [f"{last}_bounded"], [f"{PREFIX}pooled"])
    yield helper.make_node("Conv", [f"{PREFIX}pooled", f"{PREFIX}sum"], [f"{PREFIX}summed"])
    yield helper.make_node("Flatten", [f"{PREFIX}summed"], [f"{PREFIX}one"], axis=1)
    yield helper.make_node("Mul", [f"{PREFIX}one", f"{PREFIX}nothing"], [f"{PREFIX}zero"])


def _convolution(inputs: str, weights: str, number: int) -> onnx.NodeProto:
    names = [inputs, f"{PREFIX}{weights}"]
    return helper.make_node("Conv", names, [f"{PREFIX}{number}"], pads=[1, 1, 1, 1])


def _weights(channels: int) -> Iterator[onnx.TensorProto]:
    random = np.random.default_rng(7)
    for name, shape in (
        ("first", (CHANNELS, channels, 3, 3)),
        ("next", (CHANNELS, CHANNELS, 3, 3)),
        ("sum", (1, CHANNELS, 1, 1)),
    ):
        values = random.normal(0, 0.05, shape).astype(np.float32)
        yield numpy_helper.from_array(values, f"{PREFIX}{name}")
    yield helper.make_tensor(f"{PREFIX}nothing", TensorProto.FLOAT, [1], [0.0])


def main() -> int:
    """Read one file and write the other."""
    parser = argparse.ArgumentParser(prog="python -m examples.slow_network", description=__doc__)
    parser.add_argument("network", type=Path, help="an ONNX file")
    parser.add_argument("slow", type=Path, help="where the slow one is written")
    parser.add_argument("--layers", type=int, default=LAYERS, help="needless layers")
    given = parser.parse_args()
    onnx.save_model(slowed(onnx.load_model(given.network), given.layers), given.slow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
