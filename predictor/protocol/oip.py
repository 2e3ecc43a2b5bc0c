"""Open Inference Protocol over REST (v2) with Triton's binary and parameters extensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from predictor.errors import BadRequestError, BadTensorError
from predictor.protocol import fields, tensors
from predictor.protocol.http import Response, json_response
from predictor.protocol.request_id import new_id
from predictor.protocol.tensors import OUTPUT_DATATYPES, OutputTensor, OutputWanted, TensorSpec
from predictor.types import ClassifyRequest, Reference, Sent

HEADER_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class InferCall:
    """A v2 inference request: what to classify, and how the answer is to look."""

    id: str
    request: ClassifyRequest
    outputs: tuple[OutputWanted, ...]


def parse(body: bytes, headers: Mapping[bytes, bytes], max_images: int) -> InferCall:
    """Read a v2 inference request body of at most ``max_images`` images.

    Raises:
        BadRequestError: malformed; BadTensorError: a tensor is wrong.
    """
    view = memoryview(body)
    header_length = _header_length(headers.get(HEADER_LENGTH), len(body))
    if header_length == 0:
        return _raw_call(view)
    binary = view[len(body) if header_length is None else header_length :]
    header = fields.json_object(
        view if header_length is None else view[:header_length],
        "binary tensors behind it need Inference-Header-Content-Length",
    )
    identifier = fields.request_id(header.get("id"))
    parameters = _object(header, "parameters")
    asked = fields.options(parameters)
    default = _flag(parameters, "binary_data_output", default=False)
    wanted = _wanted(header.get("outputs"), default)
    images = _images(_only_input(header), binary, max_images)  # last: it alone can take long
    return InferCall(identifier, ClassifyRequest(images, asked), wanted)


def render(call: InferCall, model: str, version: str, results: Iterable[OutputTensor]) -> Response:
    """The response to a v2 inference request, JSON or JSON with binary tensors behind it."""
    described = []
    blobs = []
    for tensor in results:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
        }
        if tensor.binary:
            blobs.append(tensor.raw())
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        elif isinstance(tensor.values, tuple):
            entry["data"] = [value.decode() for value in tensor.values]
        else:
            entry["data"] = tensor.values.ravel()
        described.append(entry)
    content = {
        "model_name": model,
        "model_version": version,
        "id": call.id,
        "outputs": described,
    }
    head = json_response(content)
    if not blobs:
        return head
    length = (b"inference-header-content-length", str(len(head.body)).encode())
    return Response(200, b"".join([head.body, *blobs]), BINARY, (length,))


def json_bytes(headers: Mapping[bytes, bytes], body: bytes) -> int:
    """How much of a body is JSON, and so takes long to parse.

    Raises:
        BadRequestError: the header's length is none.
    """
    length = _header_length(headers.get(HEADER_LENGTH), len(body))
    return len(body) if length is None else length


def _header_length(given: bytes | None, body_length: int) -> int | None:
    if given is None:
        return None
    if not (given.isdigit() and given.isascii() and len(given) <= 10):
        raise BadRequestError("Inference-Header-Content-Length must be a plain decimal number")
    length = int(given)
    if length > body_length:
        raise BadRequestError(
            f"Inference-Header-Content-Length is {length}, the body has {body_length} bytes"
        )
    return length


def _raw_call(body: memoryview) -> InferCall:
    """Triton's raw binary request: the body is the one image."""
    if not body:
        raise BadRequestError("Inference-Header-Content-Length is 0 and so is the body")
    every = tuple(OutputWanted(name, binary=True) for name in OUTPUT_DATATYPES)
    return InferCall(new_id(), ClassifyRequest((body,)), every)


def _object(container: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = container.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequestError(f"{key} must be an object")
    return value


def _only_input(header: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = header.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(item, dict) for item in inputs):
        raise BadRequestError("inputs must be a list of one tensor")
    tensors.check_one_input(len(inputs))
    only: dict[str, Any] = inputs[0]
    return only


def _images(tensor: Mapping[str, Any], binary: memoryview, max_images: int) -> tuple[Sent, ...]:
    shape = tensor.get("shape")
    if not isinstance(shape, list):
        raise BadTensorError("shape must be a list")
    spec = tensors.declared(tensor.get("name"), tensor.get("datatype"), shape, max_images)
    parameters = _object(tensor, "parameters")
    tensors.refuse_shared_memory(parameters)
    size = fields.whole(parameters, "binary_data_size")
    data = tensor.get("data")
    if (data is None) == (size is None):
        raise BadTensorError("an input has either data or binary_data_size")
    if size is not None:
        return _binary_images(spec, size, binary, parameters)
    if len(binary):
        raise BadRequestError(f"{len(binary)} bytes follow the header, but no tensor takes them")
    if not isinstance(data, list):
        raise BadTensorError("data must be a list")
    if spec.datatype == "BYTES":
        return _listed_images(spec, data, parameters)
    return tensors.pixels_from_values(spec, data)


def _binary_images(
    spec: TensorSpec, size: int, binary: memoryview, parameters: Mapping[str, Any]
) -> tuple[Sent, ...]:
    if size != len(binary):
        raise BadTensorError(
            f"binary_data_size is {size}, but {len(binary)} bytes follow the header"
        )
    if spec.datatype == "BYTES":
        return fields.declared_elements(tensors.split_elements(binary, spec.images), parameters)
    return tensors.pixels_from_raw(spec, binary)


def _listed_images(
    spec: TensorSpec, data: Sequence[Any], parameters: Mapping[str, Any]
) -> tuple[Sent, ...]:
    """JSON cannot carry raw bytes, so its BYTES are base64, declared or not; or names."""
    content_type = parameters.get("content_type")
    if content_type not in (None, fields.BASE64, fields.REFERENCE):
        raise BadTensorError("content_type of BYTES in JSON must be base64 or ref, or left out")
    tensors.check_values(spec, len(data))
    if len(spec.shape) > 1 and all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [row[0] for row in data]
    if not all(isinstance(item, str) for item in data):
        raise BadTensorError(
            "data of BYTES in JSON must be base64 strings, one for each image, or names of "
            "preloaded images by content_type ref"
        )
    if content_type == fields.REFERENCE:
        return tuple(map(Reference, data))
    return tuple(fields.decode_base64(item, f"element {place}") for place, item in enumerate(data))


def _wanted(requested: Any, binary_default: bool) -> tuple[OutputWanted, ...]:
    if requested is None or requested == []:
        return tuple(OutputWanted(name, binary_default) for name in OUTPUT_DATATYPES)
    if not isinstance(requested, list) or not all(isinstance(item, dict) for item in requested):
        raise BadRequestError("outputs must be a list of objects")
    wanted: list[OutputWanted] = []
    for item in requested:
        parameters = _object(item, "parameters")
        tensors.refuse_shared_memory(parameters)
        wanted.append(
            OutputWanted(
                tensors.wanted_output(item.get("name"), wanted),
                _flag(parameters, "binary_data", default=binary_default),
                fields.whole(parameters, "classification") or 0,
            )
        )
    return tuple(wanted)


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRequestError(f"parameter {name} must be true or false")
    return value
