"""The user's own network: read from an ONNX file, checked, and described."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from model_store.errors import SourceError
from model_store.package import Dtype, Layout
from model_store.session import (
    ONNXRUNTIME_VERSION,
    RUNTIME_ERRORS,
    Session,
    open_session,
    reason,
)

_DTYPES: dict[int, Dtype] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
}
# Below opset 7 arithmetic has no numpy broadcasting, and ONNX Runtime promises nothing.
_OLDEST_OPSET = 7
# Protobuf cannot hold more in one message, and a package's graph is one self-contained file.
_LARGEST_FILE_BYTES = 2**31 - 1
_COLOURS = 3


@dataclass(frozen=True, slots=True)
class Network:
    """A network that ONNX Runtime loads, with one image input.

    ``height`` and ``width`` are None where the network leaves them open; ``fixed_batch`` is None
    where it takes any batch. ``model`` carries its weights inside, whatever the file did.
    """

    path: Path
    model: onnx.ModelProto
    input_name: str
    dtype: Dtype
    layout: Layout
    height: int | None
    width: int | None
    fixed_batch: int | None

    @property
    def opset(self) -> int:
        """The version of the default operator set."""
        return _opset(self.model)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Every output, in the network's order."""
        return tuple(output.name for output in self.model.graph.output)

    def outputs_of_size(self, count: int) -> tuple[str, ...]:
        """The outputs whose declared shape holds ``count`` numbers per image."""
        return tuple(
            output.name
            for output in self.model.graph.output
            if math.prod(d.dim_value for d in output.type.tensor_type.shape.dim[1:]) == count
        )

    @property
    def half_precision(self) -> bool:
        """Whether most of the weights are float16."""
        single, half = self._weights(TensorProto.FLOAT), self._weights(TensorProto.FLOAT16)
        return half > single or (single == half == 0 and self.dtype == "float16")

    def _weights(self, data_type: int) -> int:
        weights = self.model.graph.initializer
        return sum(math.prod(w.dims) for w in weights if w.data_type == data_type)


def read_network(path: Path, layout: Layout | None = None) -> Network:
    """Read and check the ONNX file at ``path``; ``layout`` is only for what the shape leaves open.

    Raises:
        SourceError: with the file and the reason, in one line.
    """
    model = _parse(path)
    try:
        _check(path, model)
        return _described(path, model, layout)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: is damaged: it holds a name that is no text") from error


def _described(path: Path, model: onnx.ModelProto, layout: Layout | None) -> Network:
    inputs = _image_inputs(model)
    if len(inputs) != 1:
        raise SourceError(
            f"{path}: has {len(inputs)} inputs ({', '.join(i.name for i in inputs) or 'none'}); "
            "an image classifier has one"
        )
    name, tensor = inputs[0].name, inputs[0].type.tensor_type
    if tensor.elem_type not in _DTYPES:
        given = onnx.helper.tensor_dtype_to_string(tensor.elem_type).removeprefix("TensorProto.")
        raise SourceError(f"{path}: input {name!r} is {given}; float32, float16 or uint8 expected")
    # Some exporters write -1 for a dimension that is open.
    dims = [d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim]
    if len(dims) != len(("N", "C", "H", "W")):
        raise SourceError(
            f"{path}: input {name!r} has {len(dims)} dimensions; an image batch has four"
        )
    layout = _layout(path, dims, layout)
    batch, height, width = dims[0], *(dims[2:4] if layout == "NCHW" else dims[1:3])
    return Network(
        path=path,
        model=model,
        input_name=name,
        dtype=_DTYPES[tensor.elem_type],
        layout=layout,
        height=height,
        width=width,
        fixed_batch=batch,
    )


def _parse(path: Path) -> onnx.ModelProto:
    if path.is_dir():
        raise SourceError(f"{path}: is a folder; give the .onnx file inside it")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise SourceError(f"{path}: is empty (0 bytes)")
    if content.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        raise SourceError(
            f"{path}: is not ONNX but a torch checkpoint or archive; give module:factory as the "
            "source and the file as --checkpoint, or an exported program (.pt2)"
        )
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise SourceError(f"{path}: is not an ONNX file, or is truncated") from None
    if not model.graph.node:
        raise SourceError(f"{path}: is not an ONNX network: it holds no graph with operators")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise SourceError(
            f"{path}: its weights in external data files cannot be read: {reason(error)}"
        ) from error
    return model


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside the ONNX file at ``path`` that hold its weights; by name."""
    model = onnx.load_model(str(path), load_external_data=False)
    names = {
        entry.value
        for weight in _tensors(model.graph)
        for entry in weight.external_data
        if entry.key == "location"
    }
    return tuple(path.parent / name for name in sorted(names))


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Weights, and the constants of operators, in branches and loops too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _check(path: Path, model: onnx.ModelProto) -> None:
    if model.ByteSize() > _LARGEST_FILE_BYTES:
        raise SourceError(f"{path}: is larger than 2 GiB, the most that one ONNX file can hold")
    newest = onnx.defs.onnx_opset_version()
    if _opset(model) > newest:
        raise SourceError(
            f"{path}: opset {_opset(model)} is not supported; the newest known here is {newest}: "
            "export with a lower opset_version"
        )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise SourceError(f"{path}: is not a valid ONNX network: {reason(error)}") from error
    if _opset(model) < _OLDEST_OPSET:
        raise SourceError(
            f"{path}: opset {_opset(model)} is not supported; the oldest is {_OLDEST_OPSET}: "
            "export again, or convert it with onnx.version_converter"
        )
    open_original(path)


def open_original(path: Path) -> Session:
    """The network at ``path`` just as it is, in ONNX Runtime.

    Raises:
        SourceError: when ONNX Runtime does not load it.
    """
    try:
        return open_session(path)
    except RUNTIME_ERRORS as error:
        said = reason(error)
        if "opset" in said.lower():
            raise SourceError(
                f"{path}: its opset is not supported by onnxruntime "
                f"{ONNXRUNTIME_VERSION}; export with a lower opset_version ({said})"
            ) from error
        raise SourceError(f"{path}: onnxruntime cannot load it: {said}") from error


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def _image_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    # Until IR version 4 weights had to be listed among the inputs as well.
    weights = {weight.name for weight in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _layout(path: Path, dims: list[int | None], told: Layout | None) -> Layout:
    first, last = dims[1], dims[3]
    if told is not None:
        given = first if told == "NCHW" else last
        if given not in (None, _COLOURS):
            raise SourceError(f"{path}: as {told} its input has {given} channels, not {_COLOURS}")
        return told
    if (first == _COLOURS) != (last == _COLOURS):
        return "NCHW" if first == _COLOURS else "NHWC"
    shape = "x".join("?" if d is None else str(d) for d in dims)
    if None in (first, last) or first == last == _COLOURS:
        raise SourceError(f"{path}: input shape {shape} does not tell the layout; give --layout")
    raise SourceError(
        f"{path}: input shape {shape} has no dimension of {_COLOURS} channels; "
        "colour images are needed"
    )
