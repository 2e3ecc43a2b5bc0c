"""A network exported for one fixed batch size, made to take any.

What a fixed export bakes in is the batch dimension: of the declared shapes, of the constant
targets of Reshape, and of constants that are joined to activations, such as a vision
transformer's class token. The network is run once as it is to learn every shape; then, node by
node, shape inference says where the batch went. Whether the result is right is not argued here
but measured: packaging compares it with the original on real images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_store.session import open_session

BATCH = "N"

# Shape inference reads small constants (targets, axes) but copies all it is given, weights too.
_SMALL_ELEMENTS = 64


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one run of the fixed network showed.

    ``activations`` are the values computed from the pixels; ``targets`` the integer vectors that
    are not, which is what a baked Reshape takes.
    """

    batch: int
    activations: frozenset[str]
    shapes: dict[str, tuple[int, ...]]
    targets: dict[str, tuple[int, ...]]


def make_batch_dynamic(
    model: onnx.ModelProto, input_name: str, pixels: np.ndarray, prefix: str
) -> None:
    """Change ``model`` in place from a fixed number of images at a time to any number.

    ``pixels`` is an input of the fixed shape. New values and nodes get names that begin with
    ``prefix``.

    Raises:
        Exception: one of ``RUNTIME_ERRORS``, when ONNX Runtime does not run the network.
    """
    seen = _run_once(model, input_name, pixels)
    graph = model.graph
    del graph.value_info[:]
    for value in graph.input:
        if value.name == input_name:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")

    partial = _without_nodes(model)
    for number, node in enumerate(graph.node):
        name = f"{prefix}batch_{number}"
        if node.op_type == "Reshape" and node.input[0] in seen.activations:
            _free_reshape(partial, node, seen, name)
        elif node.op_type == "Concat":
            _repeat_constants(partial, node, seen, name)
        partial.graph.node.append(node)
    weights = {weight.name for weight in graph.initializer}
    graph.initializer.extend(w for w in partial.graph.initializer if w.name not in weights)
    del graph.node[:]
    graph.node.extend(partial.graph.node)


def _run_once(model: onnx.ModelProto, input_name: str, pixels: np.ndarray) -> _Seen:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [name for node in probe.graph.node for name in node.output if name]
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = open_session(probe.SerializeToString()).run(names, {input_name: pixels})
    activations = {input_name}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and activations.intersection(node.input):
            activations.update(node.output)
    shapes: dict[str, tuple[int, ...]] = {input_name: pixels.shape}
    targets: dict[str, tuple[int, ...]] = {}
    found = dict(zip(names, values, strict=True))
    found |= {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            shapes[name] = value.shape
            if name not in activations and value.ndim == 1 and value.dtype == np.int64:
                targets[name] = tuple(int(dim) for dim in value)
    return _Seen(len(pixels), frozenset(activations), shapes, targets)


def _without_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without nodes, its large weights reduced to inputs of the same shape."""
    partial = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    partial.graph.name = "partial"
    partial.graph.input.extend(model.graph.input)
    declared = {value.name for value in model.graph.input}
    for weight in model.graph.initializer:
        if math.prod(weight.dims) <= _SMALL_ELEMENTS:
            partial.graph.initializer.append(weight)
        elif weight.name not in declared:
            partial.graph.input.append(
                helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
            )
    return partial


def _batch_axis(partial: onnx.ModelProto, value: str) -> int:
    """Which dimension of ``value`` is no longer fixed; the first, if inference cannot tell."""
    for inferred in [
        *partial.graph.input,
        *onnx.shape_inference.infer_shapes(partial).graph.value_info,
    ]:
        if inferred.name == value:
            for axis, dim in enumerate(inferred.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    return axis
    return 0


def _free_reshape(partial: onnx.ModelProto, node: onnx.NodeProto, seen: _Seen, name: str) -> None:
    """Let a constant Reshape take its batch dimension from the data.

    Row-major order keeps what lies before the batch before it, so the batch is found in the output
    behind as many elements as in the input, perhaps merged with windows or heads.
    """
    given, result = seen.shapes[node.input[0]], seen.shapes[node.output[0]]
    target = seen.targets.get(node.input[1])
    if target is None:
        return
    before = math.prod(given[: _batch_axis(partial, node.input[0])])
    for axis, dim in enumerate(result):
        if math.prod(result[:axis]) == before and dim % seen.batch == 0:
            free = np.array([*result[:axis], -1, *result[axis + 1 :]], dtype=np.int64)
            partial.graph.initializer.append(numpy_helper.from_array(free, name))
            node.input[1] = name
            return


def _repeat_constants(
    partial: onnx.ModelProto, node: onnx.NodeProto, seen: _Seen, name: str
) -> None:
    """Repeat the constants that a Concat joins to activations once per image.

    A vision transformer's class token is one: ``[1, 1, C]`` beside ``[N, patches, C]``.
    """
    beside = next((value for value in node.input if value in seen.activations), None)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    if beside is None or axis == 0 or _batch_axis(partial, beside) != 0:
        return
    first, one = f"{name}_first", f"{name}_one"
    added: list[onnx.NodeProto] = []
    for position, value in enumerate(node.input):
        dims = seen.shapes.get(value, ())
        if value in seen.activations or len(dims) < 1 or dims[0] != seen.batch:
            continue
        part = f"{name}_{position}"
        added += [
            helper.make_node("Gather", [value, first], [f"{part}_single"], axis=0),
            helper.make_node("Shape", [beside], [f"{part}_shape"]),
            helper.make_node("Gather", [f"{part}_shape", first], [f"{part}_batch"], axis=0),
            helper.make_node(
                "Concat", [f"{part}_batch", *[one] * (len(dims) - 1)], [f"{part}_target"], axis=0
            ),
            helper.make_node("Expand", [f"{part}_single", f"{part}_target"], [f"{part}_repeated"]),
        ]
        node.input[position] = f"{part}_repeated"
    if added:
        for constant, number in ((first, 0), (one, 1)):
            array = np.array([number], dtype=np.int64)
            partial.graph.initializer.append(numpy_helper.from_array(array, constant))
        partial.graph.node.extend(added)
