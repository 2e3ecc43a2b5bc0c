"""Open Inference Protocol tensors ⇄ images and answers, alike for REST and gRPC.

Everything here is checked before anything is allocated: a shape that lies costs a comparison.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.errors import BadRequestError, BadTensorError, echo
from predictor.protocol.pixels import listed_pixels, whole_pixels
from predictor.types import Answer, Image

INPUT_NAME = "image"
INPUT_DATATYPES = ("BYTES", "UINT8", "FP32")
OUTPUT_DATATYPES = {"indices": "INT64", "scores": "FP32", "labels": "BYTES"}
LENGTH = struct.Struct("<I")  # the prefix of every element of a raw BYTES tensor
PIXEL_DTYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype(np.uint8),
    "FP32": np.dtype("<f4"),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input tensor as declared: its datatype is known and its shape fits it."""

    datatype: str
    shape: tuple[int, ...]

    @property
    def images(self) -> int:
        """How many images it holds."""
        return self.shape[0]


@dataclass(frozen=True, slots=True)
class OutputWanted:
    """One output a client asked for; ``classification`` > 0 turns it into ``score:index:label``."""

    name: str
    binary: bool = False
    classification: int = 0


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output to send: numbers (N, k), or for BYTES the elements in row order."""

    name: str
    datatype: str
    shape: tuple[int, int]
    binary: bool
    values: NDArray[Any] | tuple[bytes, ...]

    def raw(self) -> bytes:
        """Little-endian row-major bytes; each element of a BYTES tensor behind its length."""
        if isinstance(self.values, tuple):
            return b"".join(LENGTH.pack(len(value)) + value for value in self.values)
        return self.values.tobytes()


def check_count(images: int, max_images: int) -> None:
    """Refuse a request that could never be accepted, before anything is built for it."""
    if images > max_images:
        raise BadRequestError(
            f"the request has {images} images; the limit is {max_images} (max_queue_size)"
        )


def check_one_input(count: int) -> None:
    """Refuse a request of no input, or of several."""
    if count != 1:
        raise BadTensorError(f"a request has one input, {INPUT_NAME!r}; this one has {count}")


def declared(name: object, datatype: object, shape: Sequence[Any], max_images: int) -> TensorSpec:
    """Check an input's name, datatype and shape.

    Raises:
        BadTensorError: says what is wrong and what is taken.
    """
    if name != INPUT_NAME:
        raise BadTensorError(f"there is no input {echo(name)}; the input is called {INPUT_NAME!r}")
    if not isinstance(datatype, str) or datatype not in INPUT_DATATYPES:
        raise BadTensorError(
            f"input {INPUT_NAME!r} takes {', '.join(INPUT_DATATYPES)}, not {echo(datatype)}"
        )
    if len(shape) > len("NHWC"):
        raise BadTensorError(f"a shape has at most 4 numbers, not {len(shape)}")
    dimensions = tuple(shape)
    if any(type(size) is not int or size < 1 for size in dimensions):
        raise BadTensorError("a shape is of whole numbers of at least 1")
    if datatype == "BYTES":
        if not (len(dimensions) == 1 or (len(dimensions) == 2 and dimensions[1] == 1)):
            raise BadTensorError(f"shape {list(dimensions)} of BYTES must be [N] or [N,1]")
    elif len(dimensions) != 4 or dimensions[3] != 3:
        raise BadTensorError(f"shape {list(dimensions)} of {datatype} must be [N,H,W,3]")
    check_count(dimensions[0], max_images)
    return TensorSpec(datatype, dimensions)


def refuse_shared_memory(parameters: Iterable[str]) -> None:
    """Refuse a tensor that lies, or is to be put, in shared memory; takes its parameters' names.

    Such a parameter cannot be ignored like other unknown ones: the client would look for its answer
    where none ever comes.
    """
    if any(name.startswith("shared_memory_") for name in parameters):
        raise BadTensorError("shared memory is not supported; send the tensor in the request")


def check_values(spec: TensorSpec, given: int) -> None:
    """Refuse data that are not as many values as the shape says."""
    expected = math.prod(spec.shape)
    if given != expected:
        raise BadTensorError(f"shape {list(spec.shape)} takes {expected} values, got {given}")


def pixels_from_raw(spec: TensorSpec, raw: memoryview) -> tuple[Image, ...]:
    """The images of a tensor of pixels in its binary form, without copying UINT8.

    Raises:
        BadTensorError: the bytes are not what the shape says.
    """
    dtype = PIXEL_DTYPES[spec.datatype]
    expected = math.prod(spec.shape) * dtype.itemsize
    if len(raw) != expected:
        raise BadTensorError(
            f"{spec.datatype} {list(spec.shape)} takes {expected} bytes, got {len(raw)}"
        )
    return tuple(whole_pixels(np.frombuffer(raw, dtype).reshape(spec.shape)))


def pixels_from_values(spec: TensorSpec, values: Sequence[Any]) -> tuple[Image, ...]:
    """The images of a numeric tensor given as numbers, flat or nested like its shape.

    Raises:
        BadTensorError: not as many numbers as the shape says, or no pixel values.
    """
    array = listed_pixels(values)
    check_values(spec, array.size)
    if array.shape not in (spec.shape, (array.size,)):
        raise BadTensorError(
            f"data is nested like {list(array.shape)}; it must be flat or like {list(spec.shape)}"
        )
    return tuple(array.reshape(spec.shape))


def split_elements(raw: memoryview, count: int) -> tuple[memoryview, ...]:
    """Take apart a raw BYTES tensor of ``count`` elements, each behind a 4-byte length.

    Raises:
        BadTensorError: a length that lies, or bytes left over.
    """
    elements = []
    offset = 0
    for number in range(count):
        start = offset + LENGTH.size
        if start > len(raw):
            raise BadTensorError(f"BYTES tensor ends before element {number} of {count}")
        (length,) = LENGTH.unpack_from(raw, offset)
        offset = start + length
        if offset > len(raw):
            raise BadTensorError(
                f"element {number} claims {length} bytes, {len(raw) - start} are left"
            )
        elements.append(raw[start:offset])
    if offset != len(raw):
        raise BadTensorError(f"{len(raw) - offset} bytes left over after {count} elements")
    return tuple(elements)


def outputs(
    answers: Sequence[Answer], labels: Sequence[bytes], wanted: Sequence[OutputWanted]
) -> tuple[OutputTensor, ...]:
    """The outputs asked for, in the order asked."""
    indices = np.stack([answer.indices for answer in answers])  # (N, k) int64
    scores = np.stack([answer.scores for answer in answers])  # (N, k) float32
    tensors = []
    for want in wanted:
        if want.classification:
            tensors.append(_classification(want, indices, scores, labels))
            continue
        values: NDArray[Any] | tuple[bytes, ...] = indices
        if want.name == "scores":
            values = scores
        elif want.name == "labels":
            values = tuple(labels[index] for index in indices.ravel().tolist())
        shape = (indices.shape[0], indices.shape[1])
        tensors.append(
            OutputTensor(want.name, OUTPUT_DATATYPES[want.name], shape, want.binary, values)
        )
    return tuple(tensors)


def _classification(
    want: OutputWanted,
    indices: NDArray[np.int64],
    scores: NDArray[np.float32],
    labels: Sequence[bytes],
) -> OutputTensor:
    count = min(want.classification, indices.shape[1])
    values = tuple(
        f"{score:f}:{index}:".encode() + labels[index]
        for index, score in zip(
            indices[:, :count].ravel().tolist(), scores[:, :count].ravel().tolist(), strict=True
        )
    )
    return OutputTensor(want.name, "BYTES", (indices.shape[0], count), want.binary, values)


def wanted_output(name: object, seen: Sequence[OutputWanted]) -> str:
    """Check the name of an output a client asks for, given those it asked for before.

    Raises:
        BadTensorError: it does not exist, or was asked for twice.
    """
    if not isinstance(name, str) or name not in OUTPUT_DATATYPES:
        raise BadTensorError(
            f"unknown output {echo(name)}; there are {', '.join(OUTPUT_DATATYPES)}"
        )
    if any(want.name == name for want in seen):
        raise BadTensorError(f"output {name!r} is asked for twice")
    return name
