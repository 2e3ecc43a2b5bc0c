"""Open Inference Protocol over gRPC (v2), on KServe's own stubs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs

from predictor.classifier import ImageClassifier
from predictor.errors import (
    BadRequestError,
    BadTensorError,
    PredictorError,
    UnknownModelError,
)
from predictor.metrics import FrontendMetrics
from predictor.protocol import oip, tensors
from predictor.protocol.rest import all_answers, model_metadata, server_metadata
from predictor.protocol.status import GENERIC_TEXT, client_text, grpc_code
from predictor.protocol.tensors import OUTPUT_DATATYPES, OutputTensor, OutputWanted
from predictor.types import ClassifyRequest, Image, Options

logger = logging.getLogger(__name__)

PARAMETER_FIELDS = ("bool_param", "int64_param", "string_param")


class InferenceService(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc]  # no types
    """The gRPC methods of one served model.

    Args:
        classifier: the model.
        ready: whether it takes requests.
        metrics: where to count.
    """

    def __init__(
        self, classifier: ImageClassifier, ready: Callable[[], bool], metrics: FrontendMetrics
    ) -> None:
        self._classifier = classifier
        self._ready = ready
        self._metrics = metrics

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return pb.ServerReadyResponse(ready=self._ready())

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        await self._answer(context, self._known(request.name, request.version))
        return pb.ModelReadyResponse(ready=self._ready())

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return pb.ServerMetadataResponse(**server_metadata())

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        await self._answer(context, self._known(request.name, request.version))
        return pb.ModelMetadataResponse(**model_metadata(self._classifier))

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Classify; every way out is counted once, under its code's name."""
        try:
            response = await self._answer(context, self._infer(request, context))
        except grpc.aio.AbortError:
            self._metrics.answered("grpc", context.code().name)
            raise
        except asyncio.CancelledError:
            self._metrics.answered("grpc", "CANCELLED")
            raise
        self._metrics.answered("grpc", "OK")
        return response

    async def _answer(self, context: Any, result: Awaitable[Any]) -> Any:
        """Await ``result``, turning errors into the gRPC statuses of the one table."""
        try:
            return await result
        except PredictorError as error:
            await _abort(context, grpc_code(error), client_text(error))
        # What nobody foresaw: the client learns nothing of our insides, the log has the trace.
        except Exception:
            logger.exception("gRPC request failed")
            await _abort(context, grpc.StatusCode.INTERNAL, GENERIC_TEXT)

    async def _known(self, name: str, version: str) -> None:
        if name != self._classifier.name:
            raise UnknownModelError(f"no model {name!r} here")
        if version not in ("", self._classifier.version):
            raise UnknownModelError(f"no version {version!r} of model {name!r} here")

    async def _infer(self, request: Any, context: Any) -> Any:
        await self._known(request.model_name, request.model_version)
        capacity = self._classifier.dispatcher.capacity
        call = _parse(request, context.time_remaining(), capacity)
        answers = all_answers(await self._classifier(call.request))
        results = tensors.outputs(answers, self._classifier.labels, call.outputs)
        response = pb.ModelInferResponse(
            model_name=self._classifier.name,
            model_version=self._classifier.version,
            id=call.id,
        )
        for tensor in results:
            _add_output(response, tensor, raw=bool(request.raw_input_contents))
        return response


def _parse(request: Any, remaining_s: float | None, max_images: int) -> oip.InferCall:
    parameters = _parameters(request.parameters)
    asked = oip.options(parameters)
    if remaining_s is not None:
        left_us = max(1, int(min(remaining_s * 1e6, oip.LONGEST_TIMEOUT_US)))
        asked = Options(min(left_us, asked.timeout_us or left_us), asked.priority, asked.top_k)
    wanted: list[OutputWanted] = []
    for output in request.outputs:
        name = tensors.wanted_output(output.name, wanted)
        classes = oip.whole(_parameters(output.parameters), "classification") or 0
        wanted.append(OutputWanted(name, classification=classes))
    every = [OutputWanted(name) for name in OUTPUT_DATATYPES]
    return oip.InferCall(
        request.id or oip.new_id(),
        ClassifyRequest(_images(request, max_images), asked),
        tuple(wanted or every),
    )


def _images(request: Any, max_images: int) -> tuple[Image, ...]:
    if len(request.inputs) != 1:
        raise BadRequestError("inputs must be one tensor")
    tensor = request.inputs[0]
    spec = tensors.declared(tensor.name, tensor.datatype, list(tensor.shape), max_images)
    if request.raw_input_contents:
        if len(request.raw_input_contents) != 1 or tensor.HasField("contents"):
            raise BadTensorError("a request has raw_input_contents for every input, or contents")
        return tensors.images_from_raw(spec, memoryview(request.raw_input_contents[0]))
    contents = tensor.contents
    if spec.datatype == "BYTES":
        if len(contents.bytes_contents) != spec.images:
            raise BadTensorError(
                f"shape {list(spec.shape)} takes {spec.images} values, "
                f"got {len(contents.bytes_contents)}"
            )
        return tuple(contents.bytes_contents)
    numbers: Sequence[Any] = (
        contents.uint_contents if spec.datatype == "UINT8" else contents.fp32_contents
    )
    return tensors.images_from_values(spec, numbers)


def _parameters(given: Any) -> dict[str, Any]:
    """Give gRPC parameters as plain values; kinds this server does not know are left out."""
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


async def _abort(context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")
