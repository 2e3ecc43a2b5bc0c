"""A serving graph computed in half precision; what goes in and comes out stays as it is."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from model_store.errors import SourceError
from model_store.serving_graph import is_surrounding
from model_store.session import reason


def write_half(serving: Path, source: Path, file: Path) -> None:
    """Write the graph ``serving`` with the user's network in float16.

    Normalising, softmax and top-k stay in float32, where 255 levels and small scores are exact.

    Raises:
        SourceError: naming ``source``, when it cannot be converted.
    """
    model = onnx.load(str(serving))
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{number}_{node.op_type}"
    outside = [node.name for node in model.graph.node if is_surrounding(node.name)]
    try:
        with warnings.catch_warnings():
            # Of every weight that is too large or too small; what that costs is proven.
            warnings.simplefilter("ignore")
            half = convert_float_to_float16(
                onnx.shape_inference.infer_shapes(model),
                keep_io_types=True,
                disable_shape_infer=True,
                node_block_list=outside,
            )
    # The converter raises whatever its parts raise.
    except Exception as error:
        raise SourceError(f"{source}: cannot be converted to float16: {reason(error)}") from error
    onnx.save_model(half, str(file))
