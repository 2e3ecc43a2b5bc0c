"""A serving graph computed in 8 bits: static quantisation as ONNX Runtime does it (QDQ).

Normalising, softmax and top-k stay in float: they cost little, and scores are to be scores. So does
the last layer with weights, where there are others: 256 steps from the least to the largest of a
thousand logits are coarse (MobileNetV2: the largest score difference fell from 0.18 to 0.08 on
cuts of 10 photos, and hardly on those of 10 others, for 3 % of the speed).
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization as ort_quantization
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from model_store.errors import SourceError
from model_store.original import Progress
from model_store.package import Quantisation
from model_store.reference import Pixels
from model_store.serving_graph import IMAGE, is_surrounding
from model_store.session import reason

Method = Literal["minmax", "percentile", "entropy"]

# What is tried, in this order. Which activations are fast depends on the CPU: MobileNetV2 with
# AVX-512 VNNI is 2.2 times as fast as fp32 with uint8, 0.9 times with int8. Ranges cut by
# percentile or entropy serve networks with outliers, weighted operators alone those with delicate
# activations.
# The first layers see raw pixels and err most (MobileNetV2: the first three make a third of what
# all its layers err, one at a time), and are a small part of the work: in float they cost no speed.
_FIRST = 3
KINDS = (
    Quantisation(method="minmax", activations="uint8", operators="all"),
    Quantisation(method="percentile", activations="uint8", operators="all", first_in_float=_FIRST),
    Quantisation(method="minmax", activations="uint8", operators="all", first_in_float=_FIRST),
    Quantisation(method="minmax", activations="int8", operators="all"),
    Quantisation(method="minmax", activations="uint8", operators="weighted"),
    Quantisation(method="percentile", activations="uint8", operators="all"),
    Quantisation(method="entropy", activations="uint8", operators="all", first_in_float=_FIRST),
)
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ALREADY = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger")
_METHODS = {
    "minmax": ort_quantization.CalibrationMethod.MinMax,
    "percentile": ort_quantization.CalibrationMethod.Percentile,
    "entropy": ort_quantization.CalibrationMethod.Entropy,
}
_TYPES = {"uint8": ort_quantization.QuantType.QUInt8, "int8": ort_quantization.QuantType.QInt8}
_OPSET = 13  # from here on there are weights with a scale per channel
# Histograms are gathered from the activations of so many images at a time (MobileNetV2: 27 MB
# each), and of so many altogether: each costs 0.2 s.
_AT_ONCE = 4
_MOST_FOR_HISTOGRAMS = 48

Ranges = Any  # onnxruntime.quantization.TensorsData, which has no types


@dataclass(frozen=True, slots=True)
class _Images:
    """A CalibrationDataReader: one image at a time, then None."""

    get_next: Callable[[], dict[str, np.ndarray] | None]

    @classmethod
    def of(cls, pixels: Sequence[Pixels]) -> _Images:
        left = iter([{IMAGE: one[np.newaxis]} for one in pixels])
        return cls(lambda: next(left, None))


class Quantiser:
    """Quantises one serving graph in several ways; what they have in common is done once.

    Args:
        serving: the graph, in float32.
        source: the user's file, for error messages.
        pixels: the images to calibrate on.
        progress: is told how far calibration is.

    Raises:
        SourceError: there is nothing in the network to quantise, or it is quantised already.
    """

    def __init__(
        self, serving: Path, source: Path, pixels: list[Pixels], progress: Progress
    ) -> None:
        self._source = source
        self._pixels = pixels
        self._progress = progress
        self._model = self._prepared(serving)
        self._ranges: dict[Method, Ranges] = {}

    @property
    def kinds(self) -> tuple[Quantisation, ...]:
        """The ways worth trying: the first layers stay in float only where many others do not."""
        layers = sum(node.op_type in WEIGHTED for node in self._model.graph.node)
        return tuple(each for each in KINDS if 2 * each.first_in_float < layers)

    def write(self, kind: Quantisation, file: Path) -> None:
        """Write the graph, quantised as ``kind`` says.

        Raises:
            SourceError: it cannot be quantised so.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        try:
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=_TYPES["int8"],
                activation_qType=_TYPES[kind.activations],
                tensors_range=self._calibrated(kind.method),
                nodes_to_quantize=[],
                nodes_to_exclude=_in_float(self._model.graph, kind.first_in_float),
                op_types_to_quantize=_operators(kind),
                extra_options={},
            )
            quantizer.quantize_model()
            made = quantizer.model.model
        # The quantiser's own complaints have no base class short of Exception.
        except Exception as error:
            raise SourceError(f"{self._source}: cannot be quantised: {reason(error)}") from error
        onnx.save_model(made, str(file))

    def _prepared(self, serving: Path) -> onnx.ModelProto:
        """The graph with batch normalisation and constants folded, every node named."""
        operators = {node.op_type for node in onnx.load(str(serving)).graph.node}
        if operators.intersection(_ALREADY):
            raise SourceError(f"{self._source}: is quantised already; leave --variants int8 away")
        with tempfile.TemporaryDirectory() as folder:
            newer, folded = Path(folder, "newer.onnx"), Path(folder, "folded.onnx")
            try:
                onnx.save_model(_with_opset(onnx.load(str(serving))), str(newer))
                _fold(newer, folded)
                model = onnx.shape_inference.infer_shapes(onnx.load(str(folded)))
            # The errors of converter, runtime and shape inference share no base class either.
            except Exception as error:
                raise SourceError(
                    f"{self._source}: cannot be prepared for 8 bits: {reason(error)}"
                ) from error
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{number}_{node.op_type}"
        inside = [n.op_type for n in model.graph.node if not is_surrounding(n.name)]
        if not set(inside).intersection(WEIGHTED):
            raise SourceError(
                f"{self._source}: has no {', '.join(WEIGHTED)} that 8 bits would make faster; "
                "leave --variants int8 away"
            )
        return model

    def _calibrated(self, method: Method) -> Ranges:
        if method not in self._ranges:
            self._ranges[method] = self._calibrate(method)
        return self._ranges[method]

    def _calibrate(self, method: Method) -> Ranges:
        pixels = self._pixels
        if method != "minmax":
            pixels = pixels[:: -(-len(pixels) // _MOST_FOR_HISTOGRAMS)]
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, "plain.onnx")
            onnx.save_model(self._model, str(plain))
            # It prints what it is doing, and stdout is the command's answer.
            with contextlib.redirect_stdout(io.StringIO()):
                calibrator = ort_quantization.create_calibrator(
                    plain,
                    sorted({*QDQRegistry, *QLinearOpsRegistry}),
                    augmented_model_path=str(Path(folder, "augmented.onnx")),
                    calibrate_method=_METHODS[method],
                )
                for start in range(0, len(pixels), _AT_ONCE):
                    calibrator.collect_data(_Images.of(pixels[start : start + _AT_ONCE]))
                    done = min(start + _AT_ONCE, len(pixels))
                    self._progress(f"calibration, {method}", done, len(pixels))
                return calibrator.compute_data()


def _in_float(graph: onnx.GraphProto, first: int) -> list[str]:
    """The nodes around the network, its ``first`` layers with weights and its last one.

    What comes before the next layer stays with the former, and what comes after the last one too:
    an activation in 8 bits behind a layer in float would be taken out of the graph.
    """
    names = [node.name for node in graph.node]
    surrounding = [name for name in names if is_surrounding(name)]
    weighted = [place for place, node in enumerate(graph.node) if node.op_type in WEIGHTED]
    last = weighted[-1] if len(weighted) > 1 else len(names)
    front = weighted[first] if 0 < first < len(weighted) else 0
    return list(dict.fromkeys([*surrounding, *names[:front], *names[last:]]))


def _operators(kind: Quantisation) -> list[str]:
    if kind.operators == "weighted":
        return list(WEIGHTED)
    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _with_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return model if opset >= _OPSET else onnx.version_converter.convert_version(model, _OPSET)


def _fold(graph: Path, folded: Path) -> None:
    """Write ``graph`` as ONNX Runtime simplifies it for every device."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
