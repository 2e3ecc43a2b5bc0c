"""Networks on which a runtime really fails: at images of certain colours, and at no others.

What a runtime does when it fails cannot be played by a fake: it raises from inside, with its own
words, in the middle of a batch, and its memory arena is in whatever state that leaves.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

# By what they do, as RGB. No photo is of one colour.
RAISES = (255, 0, 255)  # an index that its table does not have
NO_MEMORY = (255, 255, 0)  # more memory than there is anywhere
NO_MEMORY_FOR_TWO = (0, 255, 255)  # the same, if two of them are in one batch
TOLERANCE = 0.01  # of the range of a channel's mean
HUGE = 2**46  # floats: 256 TiB, which no allocator gives however much it overcommits


def with_failures(network: onnx.ModelProto, low: float = 0.0, high: float = 1.0) -> onnx.ModelProto:
    """A copy of ``network`` that gives the same answers, but fails at images of these colours.

    Args:
        network: opset 13 to 17; float32 pixels (n, 3, H, W) in, scores (n, classes) out.
        low: what the network is given for the byte 0.
        high: the same for 255.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    scores = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["unfailing" if name == scores else name for name in node.output]
    colours = {"raises": RAISES, "fills": NO_MEMORY, "halves": NO_MEMORY_FOR_TWO}
    graph.node.extend(_means(graph.input[0].name))
    for name in colours:
        graph.node.extend(_matches(name))
    graph.node.extend(_raising("raises_count"))
    graph.node.extend(_filling("fills_count", "halves_count"))
    graph.node.append(helper.make_node("Sum", ["unfailing", "looked_up", "filled"], [scores]))
    graph.initializer.extend(_constants(colours, low, high))
    onnx.checker.check_model(model)
    return model


def one_colour(colour: Sequence[int], size: int, kind: str = "PNG") -> bytes:
    """An encoded image of nothing but ``colour``, ``size`` by ``size`` pixels."""
    encoded = io.BytesIO()
    Image.new("RGB", (size, size), tuple(colour)).save(encoded, kind)
    return encoded.getvalue()


def _means(pixels: str) -> list[onnx.NodeProto]:
    """Mean of each channel: (n, 3)."""
    return [
        helper.make_node("GlobalAveragePool", [pixels], ["failing_pooled"]),
        helper.make_node("Flatten", ["failing_pooled"], ["failing_means"], axis=1),
    ]


def _matches(name: str) -> list[onnx.NodeProto]:
    """``name_count``: 1 for each image of the colour ``name``, else 0; int64 (n, 1)."""
    return [
        helper.make_node("Sub", ["failing_means", name], [f"{name}_off"]),
        helper.make_node("Abs", [f"{name}_off"], [f"{name}_away"]),
        helper.make_node("ReduceMax", [f"{name}_away"], [f"{name}_most"], axes=[1], keepdims=1),
        helper.make_node("Less", [f"{name}_most", "tolerance"], [f"{name}_is"]),
        helper.make_node("Cast", [f"{name}_is"], [f"{name}_count"], to=TensorProto.INT64),
    ]


def _raising(count: str) -> list[onnx.NodeProto]:
    """``looked_up``: 0 (n, 1), out of a table of one element; its place 1 is out of bounds."""
    return [helper.make_node("Gather", ["table", count], ["looked_up"], axis=0)]


def _filling(alone: str, halves: str) -> list[onnx.NodeProto]:
    """``filled``: 0 (1,), the largest of as many zeros as the batch's images ask for."""
    return [
        helper.make_node("Mul", [alone, "two"], ["fills_twice"]),
        helper.make_node("Add", ["fills_twice", halves], ["thirst"]),
        helper.make_node("ReduceSum", ["thirst"], ["all_thirst"], keepdims=0),
        helper.make_node("Greater", ["all_thirst", "one"], ["too_much"]),
        helper.make_node("Cast", ["too_much"], ["too_much_count"], to=TensorProto.INT64),
        helper.make_node("Mul", ["too_much_count", "huge"], ["more_zeros"]),
        helper.make_node("Add", ["more_zeros", "one"], ["zeros_wanted"]),
        helper.make_node("Expand", ["table", "zeros_wanted"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["filled"], keepdims=1),
    ]


def _constants(
    colours: Mapping[str, tuple[int, int, int]], low: float, high: float
) -> list[onnx.TensorProto]:
    values = {
        "tolerance": np.float32(TOLERANCE * (high - low)),
        "table": np.zeros(1, np.float32),
        "one": np.array([1], np.int64),
        "two": np.int64(2),
        "huge": np.int64(HUGE),
        **{
            name: np.float32(low) + np.float32(high - low) * np.array(colour, np.float32) / 255
            for name, colour in colours.items()
        },
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
