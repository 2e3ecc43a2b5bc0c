"""A gRPC inference message ⇄ images and answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from predictor.errors import BadRequestError, BadTensorError
from predictor.protocol import fields, oip, tensors
from predictor.protocol.messages import message
from predictor.protocol.tensors import OUTPUT_DATATYPES, OutputTensor, OutputWanted
from predictor.types import ClassifyRequest, Sent

MOST_PARAMETERS = 256  # more than there are, and few enough to look at each
PARAMETER_FIELDS = ("bool_param", "int64_param", "string_param", "uint64_param")

ModelInferResponse = message("ModelInferResponse")


def parse(request: Any, remaining_s: float | None, max_images: int) -> oip.InferCall:
    """Read a ``ModelInferRequest``.

    Args:
        request: the message.
        remaining_s: seconds to the call's deadline; None without one.
        max_images: the most images a request may hold.

    Raises:
        BadRequestError: malformed; BadTensorError: a tensor is wrong.
    """
    parameters = _parameters(request.parameters)
    asked = fields.options(parameters)
    if remaining_s is not None:
        left_us = max(1, int(min(remaining_s * 1e6, fields.LONGEST_TIMEOUT_US)))
        asked = replace(asked, limit_us=left_us)
    wanted: list[OutputWanted] = []
    for output in request.outputs:
        name = tensors.wanted_output(output.name, wanted)
        tensors.refuse_shared_memory(output.parameters)
        classes = fields.whole(_parameters(output.parameters), "classification") or 0
        wanted.append(OutputWanted(name, classification=classes))
    every = [OutputWanted(name) for name in OUTPUT_DATATYPES]
    return oip.InferCall(
        fields.request_id(request.id),
        ClassifyRequest(_images(request, max_images), asked),
        tuple(wanted or every),
    )


def render(
    call: oip.InferCall, model: str, version: str, results: Iterable[OutputTensor], *, raw: bool
) -> Any:
    """A ``ModelInferResponse``, its contents raw or typed as the request's were."""
    response = ModelInferResponse(model_name=model, model_version=version, id=call.id)
    for tensor in results:
        _add_output(response, tensor, raw=raw)
    return response


def _images(request: Any, max_images: int) -> tuple[Sent, ...]:
    tensors.check_one_input(len(request.inputs))
    tensor = request.inputs[0]
    spec = tensors.declared(tensor.name, tensor.datatype, tensor.shape, max_images)
    tensors.refuse_shared_memory(tensor.parameters)
    parameters = _parameters(tensor.parameters)
    if request.raw_input_contents:
        if len(request.raw_input_contents) != 1 or tensor.HasField("contents"):
            raise BadTensorError("a request has raw_input_contents for every input, or contents")
        raw = memoryview(request.raw_input_contents[0])
        if spec.datatype != "BYTES":
            return tensors.pixels_from_raw(spec, raw)
        return fields.declared_elements(tensors.split_elements(raw, spec.images), parameters)
    contents = tensor.contents
    if spec.datatype == "BYTES":
        tensors.check_values(spec, len(contents.bytes_contents))
        return fields.declared_elements(contents.bytes_contents, parameters)
    numbers: Sequence[Any] = (
        contents.uint_contents if spec.datatype == "UINT8" else contents.fp32_contents
    )
    return tensors.pixels_from_values(spec, numbers)


def _parameters(given: Any) -> dict[str, Any]:
    """Give gRPC parameters as plain values; kinds this server does not know are left out."""
    if len(given) > MOST_PARAMETERS:
        raise BadRequestError(f"{len(given)} parameters; the limit is {MOST_PARAMETERS}")
    return {
        name: getattr(value, kind)
        for name, value in given.items()
        if (kind := value.WhichOneof("parameter_choice")) in PARAMETER_FIELDS
    }


def _add_output(response: Any, tensor: OutputTensor, *, raw: bool) -> None:
    output = response.outputs.add(
        name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape)
    )
    if raw:
        response.raw_output_contents.append(tensor.raw())
    elif isinstance(tensor.values, tuple):
        output.contents.bytes_contents.extend(tensor.values)
    elif tensor.datatype == "INT64":
        output.contents.int64_contents.extend(tensor.values.ravel().tolist())
    else:
        output.contents.fp32_contents.extend(tensor.values.ravel().tolist())
