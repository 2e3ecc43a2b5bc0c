"""The serving graph: the user's network with everything that surrounds it put inside.

Input ``image`` uint8 [N, H, W, 3] RGB; outputs ``indices`` int64 [N, k] and ``scores`` float32
[N, k], best first. The order of the steps before the network is the cheapest one measured with
ONNX Runtime on a CPU (about 0.1 ms for 224x224): transpose and reorder channels while the pixels
are still bytes, then one multiplication and one addition on the planes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store.dynamic_batch import BATCH, make_batch_dynamic
from model_store.errors import SourceError
from model_store.network import Network
from model_store.package import ImageInput, OriginalInput, OriginalOutput
from model_store.session import RUNTIME_ERRORS, reason

IMAGE = "image"
INDICES = "indices"
SCORES = "scores"
_PREFIX = "millrace/"

# From version 4 of the format on, weights need not be listed among the inputs.
_OLDEST_IR = 8
_SLICE_TAKES_INPUTS_FROM = 10
_TOPK_TAKES_K_FROM = 10
_REFUSALS: tuple[type[Exception], ...] = (*RUNTIME_ERRORS, onnx.checker.ValidationError)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Nodes in a row, each fed by the one before; every name begins with ``prefix``."""

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def weight(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, self.prefix + name))
        return self.prefix + name

    def then(self, op: str, value: str, *weights: str, **attributes: int | list[int]) -> str:
        output = f"{self.prefix}{len(self.nodes)}_{op.lower()}"
        inputs = [value, *weights]
        node = helper.make_node(op, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(*given) for given in attributes.items())
        self.nodes.append(node)
        return output


def build_serving_graph(
    network: Network, image: ImageInput, output: OriginalOutput, top_k: int
) -> onnx.ModelProto:
    """Wrap ``network`` so that bytes go in and the ``top_k`` best classes come out.

    Raises:
        SourceError: when the result is not a valid ONNX network.
    """
    try:
        model = _wrapped(network, image, output, top_k)
        onnx.checker.check_model(model)
    except _REFUSALS as error:
        raise SourceError(f"{network.path}: cannot be wrapped: {reason(error)}") from error
    return model


def is_surrounding(node_name: str) -> bool:
    """Whether a node of a serving graph was put around the user's network."""
    # A network that has such names itself gets underscores before ours, one more than its own.
    return node_name.lstrip("_").startswith((f"{_PREFIX}before_", f"{_PREFIX}after_"))


def _wrapped(
    network: Network, image: ImageInput, output: OriginalOutput, top_k: int
) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    graph = model.graph
    prefix = _unused_prefix(graph)
    clashes = {name: prefix + name for name in (IMAGE, INDICES, SCORES)}
    _rename(graph, clashes)
    input_name = clashes.get(network.input_name, network.input_name)
    output_name = clashes.get(output.name, output.name)
    if network.fixed_batch is not None:
        planes = (3, image.height, image.width)
        shape = planes if network.layout == "NCHW" else image.shape
        pixels = np.zeros((network.fixed_batch, *shape), dtype=network.dtype)
        make_batch_dynamic(model, input_name, pixels, prefix)

    before = _Steps(prefix + "before_")
    ready = _network_input(before, image.original)
    before.nodes.append(helper.make_node("Identity", [ready], [input_name], name=prefix + "input"))
    after = _Steps(prefix + "after_")
    _answer(after, output_name, output, top_k, network.opset)

    nodes = [*before.nodes, *(_copy(node) for node in graph.node), *after.nodes]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.weights, *after.weights])
    graph.input.append(
        helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [BATCH, *image.shape])
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info(INDICES, TensorProto.INT64, [BATCH, top_k]),
            helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [BATCH, top_k]),
        ]
    )
    model.ir_version = max(model.ir_version, _OLDEST_IR)
    model.producer_name = "millrace"
    return model


def _network_input(steps: _Steps, original: OriginalInput) -> str:
    """From ``image`` to what the network eats: ``(pixel * scale - mean) / std`` in its layout."""
    planes = original.layout == "NCHW"
    value = IMAGE
    if planes:
        value = steps.then("Transpose", value, perm=[0, 3, 1, 2])
    if original.channels == "BGR":
        reverse = steps.weight("reverse", np.array([2, 1, 0], dtype=np.int64))
        value = steps.then("Gather", value, reverse, axis=1 if planes else 3)
    if original.dtype == "uint8":
        return value
    value = steps.then("Cast", value, to=TensorProto.FLOAT)
    mean, std = np.array(original.mean), np.array(original.std)
    shape = (1, 3, 1, 1) if planes else (1, 1, 1, 3)
    factor, offset = original.scale / std, -mean / std
    # A single value broadcasts faster than three that vary along the innermost dimension.
    if np.any(factor != 1):
        value = steps.then("Mul", value, steps.weight("factor", _per_channel(factor, shape)))
    if np.any(offset != 0):
        value = steps.then("Add", value, steps.weight("offset", _per_channel(offset, shape)))
    if original.dtype == "float16":
        value = steps.then("Cast", value, to=TensorProto.FLOAT16)
    return value


def _per_channel(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if np.all(values == values[0]):
        return np.array(values[0], dtype=np.float32)
    return values.astype(np.float32).reshape(shape)


def _answer(steps: _Steps, value: str, output: OriginalOutput, top_k: int, opset: int) -> None:
    """From the network's output, [N, C] with any trailing 1s, to ``scores`` and ``indices``."""
    value = steps.then("Flatten", value, axis=1)
    value = steps.then("Cast", value, to=TensorProto.FLOAT)
    if output.scores == "logits":
        value = steps.then("Softmax", value, axis=1)
    if output.class_offset:
        value = _without_front(steps, value, output.class_offset, opset)
    best = [SCORES, INDICES]
    name = steps.prefix + "topk"
    if opset < _TOPK_TAKES_K_FROM:
        steps.nodes.append(helper.make_node("TopK", [value], best, name=name, axis=1, k=top_k))
    else:
        k = steps.weight("k", np.array([top_k], dtype=np.int64))
        steps.nodes.append(helper.make_node("TopK", [value, k], best, name=name, axis=1))


def _without_front(steps: _Steps, value: str, count: int, opset: int) -> str:
    end = np.iinfo(np.int32).max
    if opset < _SLICE_TAKES_INPUTS_FROM:
        return steps.then("Slice", value, starts=[count], ends=[end], axes=[1])
    bounds = [
        steps.weight(name, np.array([bound], dtype=np.int64))
        for name, bound in (("start", count), ("end", end), ("axis", 1))
    ]
    return steps.then("Slice", value, *bounds)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _unused_prefix(graph: onnx.GraphProto) -> str:
    names = {name for part in _with_subgraphs(graph) for name in _names(part)}
    prefix = _PREFIX
    while any(name.startswith(prefix) for name in names):
        prefix = "_" + prefix
    return prefix


def _names(graph: onnx.GraphProto) -> Iterable[str]:
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
    yield from (weight.name for weight in graph.initializer)
    yield from (value.name for value in [*graph.input, *graph.output])


def _with_subgraphs(graph: onnx.GraphProto) -> Iterable[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _with_subgraphs(inner)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename values in ``graph`` and the graphs inside it.

    Not ``onnx.compose.add_prefix``: in 1.23 it misses a subgraph's use of an outer weight.
    """
    for part in _with_subgraphs(graph):
        for node in part.node:
            for values in (node.input, node.output):
                for position, name in enumerate(values):
                    values[position] = names.get(name, name)
        for weight in part.initializer:
            weight.name = names.get(weight.name, weight.name)
        for value in [*part.input, *part.output, *part.value_info]:
            value.name = names.get(value.name, value.name)
