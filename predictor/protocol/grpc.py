"""The gRPC service of a pod: Open Inference Protocol and Triton's extensions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf.json_format import ParseDict

from predictor.classifier import all_answers, times
from predictor.errors import PredictorError, StoppingError, UnknownModelError
from predictor.observation import Observation
from predictor.observer import Observer
from predictor.protocol import grpc_parse, tensors
from predictor.protocol.aside import Aside
from predictor.protocol.description import Description, index
from predictor.protocol.messages import SERVICE, message
from predictor.protocol.request_id import request_id
from predictor.protocol.status import GENERIC_TEXT, client_text, grpc_code
from predictor.repository import Repository
from predictor.versions import Versions

logger = logging.getLogger(__name__)

METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
LARGE_CONTENTS = 16_384  # numbers; about a millisecond of parsing
LARGE_MESSAGE_BYTES = 4 * 1024 * 1024  # a few milliseconds, should it be base64

ModelInferRequest = message("ModelInferRequest")


class Received(NamedTuple):
    """A request to infer, and how large it came."""

    request: Any
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Received:
        """Out of the wire."""
        return cls(ModelInferRequest.FromString(data), len(data))

    @property
    def is_large(self) -> bool:
        """Whether parsing it would hold up everybody else on the event loop."""
        return self.size_bytes > LARGE_MESSAGE_BYTES or any(
            len(tensor.contents.uint_contents) + len(tensor.contents.fp32_contents) > LARGE_CONTENTS
            for tensor in self.request.inputs
        )


class InferenceService:
    """The gRPC methods of one served model; each is named as in inference.proto.

    Args:
        versions: of the model.
        description: what the pod says about itself.
        repository: index, load and unload.
        aside: for large requests.
        observer: told of every inference request.
    """

    def __init__(
        self,
        versions: Versions,
        description: Description,
        repository: Repository,
        aside: Aside,
        observer: Observer,
    ) -> None:
        self._versions = versions
        self._description = description
        self._repository = repository
        self._aside = aside
        self._observer = observer
        self._refusing = False
        self.refused = 0

    def refuse(self) -> None:
        """Take no more calls, since the pod is about to stop; ``refused`` counts what comes."""
        self._refusing = True

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve these methods on ``server``."""
        methods = {}
        for name in METHODS:
            behaviour = getattr(self, name)
            inference = name == "ModelInfer"
            methods[name] = grpc.unary_unary_rpc_method_handler(
                behaviour if inference else _answered(behaviour),
                request_deserializer=(
                    Received.of if inference else message(f"{name}Request").FromString
                ),
                response_serializer=message(f"{name}Response").SerializeToString,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return message("ServerReadyResponse")(ready=self._versions.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        served = self._versions.known(request.name, request.version)
        ready = served.classifier.ready if request.version else self._versions.ready
        return message("ModelReadyResponse")(ready=ready)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        return message("ServerMetadataResponse")(**self._description.server())

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        served = self._versions.known(request.name, request.version)
        return message("ModelMetadataResponse")(**self._description.model(served))

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        served = self._versions.known(request.name, request.version)
        config = {"config": self._description.config(served)}
        return ParseDict(config, message("ModelConfigResponse")())

    async def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Without a name: of all models, which is this one; without a version: of all of them."""
        served = tuple(self._versions)
        if request.name:
            named = self._versions.known(request.name, request.version)
            served = (named,) if request.version else served
        content = self._description.statistics(served)
        return ParseDict(content, message("ModelStatisticsResponse")())

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        self._repository.check(_metadata(context).get("authorization", ""))
        entries = self._repository.index(only_ready=request.ready)
        return message("RepositoryIndexResponse")(models=index(entries))

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        name = await self._control("load", request, context)
        return message("RepositoryModelLoadResponse")(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802, D102
        name = await self._control("unload", request, context)
        return message("RepositoryModelUnloadResponse")(model_name=name, isUnloaded=True)

    async def ModelInfer(self, received: Received, context: Any) -> Any:  # noqa: N802
        """Classify; every way out is observed once, under its code's name."""
        given = _metadata(context)
        request = received.request
        observation = Observation(
            "grpc",
            f"{SERVICE}/ModelInfer",
            request_id(given.get("x-request-id", "")),
            given.get("traceparent", ""),
            version=request.model_version,
            began_ns=time.monotonic_ns(),
        )
        context.set_trailing_metadata((("x-request-id", observation.request_id),))
        if self._refusing:
            self.refused += 1
            await _abort(context, *_refusal(StoppingError()))
        try:
            self._versions.known(request.model_name, request.model_version)
        except UnknownModelError as error:  # nothing of this model's, so not observed
            await _abort(context, *_refusal(error))
        try:
            response = await self._infer(received, context, observation)
        except asyncio.CancelledError:
            remaining_s = context.time_remaining()
            late = remaining_s is not None and remaining_s <= 0
            observation.code = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            observation.error = "the client's deadline passed" if late else "the client left"
            raise
        except Exception as error:  # noqa: BLE001 (answered and logged in one place)
            code, text = _refusal(error)
            observation.code, observation.error = code.name, text
            await _abort(context, code, text)
        else:
            observation.code = "OK"
            return response
        finally:
            self._observer.finished(observation)

    async def _infer(self, received: Received, context: Any, observation: Observation) -> Any:
        request = received.request
        capacity, left_s = self._versions.max_images, context.time_remaining()
        observation.read_ns = time.monotonic_ns()
        if received.is_large:
            call = await self._aside.parse(lambda: grpc_parse.parse(request, left_s, capacity))
        else:
            call = grpc_parse.parse(request, left_s, capacity)
        observation.parsed_ns = time.monotonic_ns()
        served = self._versions.choose(request.model_version)
        observation.version, classifier = served.name, served.classifier
        result = await classifier(call.request)
        observation.classified(len(result), times(result))
        answers = all_answers(result)
        return grpc_parse.render(
            call,
            classifier.name,
            classifier.version,
            tensors.outputs(answers, classifier.labels, call.outputs),
            raw=bool(request.raw_input_contents),
        )

    async def _control(self, action: str, request: Any, context: Any) -> str:
        self._repository.check(_metadata(context).get("authorization", ""))
        name: str = request.model_name or request.repository_name  # Triton's field or KServe's
        parameters = {
            key: getattr(value, chosen)
            for key, value in request.parameters.items()
            if (chosen := value.WhichOneof("parameter_choice"))
        }
        await self._repository.control(action, name, parameters)
        return name


def _answered(behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Any]:
    """A method whose errors become the gRPC statuses of the one table."""

    async def method(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 (answered and logged in one place)
            await _abort(context, *_refusal(error))

    return method


def _refusal(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The code and text for an error; of what nobody foresaw only the log has the trace."""
    if isinstance(error, PredictorError):
        return grpc_code(error), client_text(error)
    logger.error("gRPC request failed", exc_info=error)
    return grpc.StatusCode.INTERNAL, GENERIC_TEXT


def _metadata(context: Any) -> dict[str, Any]:
    return dict(context.invocation_metadata() or ())


async def _abort(context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")
