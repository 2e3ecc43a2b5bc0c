"""The table of REST routes of one pod: v1, v2, health, metadata and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import TypeVar

from predictor.classifier import ImageClassifier
from predictor.errors import BadRequestError, PredictorError
from predictor.metrics import scrape
from predictor.protocol import oip, tensors, v1
from predictor.protocol.http import Request, Response, Route, Routes, json_response
from predictor.protocol.tensors import INPUT_NAME, OUTPUT_DATATYPES
from predictor.types import Answer, ClassifyResult

Parsed = TypeVar("Parsed")

LARGE_JSON_BYTES = 256 * 1024  # about a millisecond of parsing, or ten where it is all numbers
SERVER_NAME = "millrace"
PLATFORM = "millrace_onnx"
EXTENSIONS = ("binary_tensor_data", "classification", "parameters")


def server_metadata() -> dict[str, object]:
    """Name, version and the extensions that work."""
    return {
        "name": SERVER_NAME,
        "version": metadata.version("millrace"),
        "extensions": list(EXTENSIONS),
    }


def model_metadata(classifier: ImageClassifier) -> dict[str, object]:
    """Names, types and shapes of a model's tensors, for REST and gRPC alike."""
    top_k = classifier.package.manifest.top_k
    return {
        "name": classifier.name,
        "versions": [classifier.version],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT_NAME, "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, top_k]}
            for name, datatype in OUTPUT_DATATYPES.items()
        ],
    }


def all_answers(result: ClassifyResult) -> list[Answer]:
    """The answers of a v2 request, which is answered whole or refused whole.

    Raises:
        PredictorError: the first image that has none; the text carries its 0-based place.
    """
    answers = []
    for place, answer in enumerate(result):
        if isinstance(answer, PredictorError):
            raise type(answer)(f"image {place}: {answer}")
        answers.append(answer)
    return answers


class RestRoutes:
    """The endpoints of one served model.

    Args:
        classifier: the model.
        draining: whether the pod is about to stop.
    """

    def __init__(self, classifier: ImageClassifier, draining: Callable[[], bool]) -> None:
        self._classifier = classifier
        self._draining = draining
        self._receive_seconds = classifier.dispatcher.metrics.stage("receive")

    def table(self) -> Routes:
        """Every path this pod answers."""
        name, version = self._classifier.name, self._classifier.version
        model, dated = f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"
        metadata_route = {"GET": Route(_constant(model_metadata(self._classifier)))}
        ready_route = {"GET": Route(self._model_ready)}
        infer_route = {"POST": Route(self._infer, "v2")}
        predict = Route(self._predict, "v1")
        return {
            "/": {"GET": Route(_constant({"status": "alive"}))},
            "/metrics": {"GET": Route(_metrics)},
            "/v2": {"GET": Route(_constant(server_metadata()))},
            "/v2/health/live": {"GET": Route(_constant({"live": True}))},
            "/v2/health/ready": {"GET": Route(self._server_ready)},
            "/v2/models": {"GET": Route(_constant({"models": [name]}))},
            model: metadata_route,
            dated: metadata_route,
            f"{model}/ready": ready_route,
            f"{dated}/ready": ready_route,
            f"{model}/infer": infer_route,
            f"{dated}/infer": infer_route,
            "/v1/models": {"GET": Route(_constant({"models": [name]}))},
            f"/v1/models/{name}": ready_route,
            f"/v1/models/{name}:predict": {"POST": predict, "PUT": predict},
        }

    @property
    def ready(self) -> bool:
        """An instance takes work and the pod is not about to stop."""
        return bool(self._classifier.ready) and not self._draining()

    async def _infer(self, request: Request) -> Response:
        capacity = self._classifier.dispatcher.capacity
        call = await self._parsed(
            request, lambda: oip.parse(request.body, request.headers, capacity)
        )
        answers = all_answers(await self._classifier(call.request))
        results = tensors.outputs(answers, self._classifier.labels, call.outputs)
        return oip.render(call, self._classifier.name, self._classifier.version, results)

    async def _predict(self, request: Request) -> Response:
        capacity = self._classifier.dispatcher.capacity
        parsed = await self._parsed(
            request, lambda: v1.parse(request.method, request.headers, request.body, capacity)
        )
        result = await self._classifier(parsed)
        for answer in result:  # a bad image has its error in its place; our own faults are no 200
            if isinstance(answer, PredictorError) and not isinstance(answer, BadRequestError):
                raise answer
        return v1.render(result, self._classifier.labels)

    async def _parsed(self, request: Request, parse: Callable[[], Parsed]) -> Parsed:
        """Parse on the event loop, or in a thread where it would hold up everybody else."""
        began = time.perf_counter()
        large = len(request.body) > LARGE_JSON_BYTES and oip.HEADER_LENGTH not in request.headers
        parsed = await asyncio.to_thread(parse) if large else parse()
        self._receive_seconds.observe(time.perf_counter() - began)
        return parsed

    async def _server_ready(self, request: Request) -> Response:
        return json_response({"live": True, "ready": self.ready}, 200 if self.ready else 503)

    async def _model_ready(self, request: Request) -> Response:
        content = {"name": self._classifier.name, "ready": self.ready}
        return json_response(content, 200 if self.ready else 503)


def _constant(content: object) -> Callable[[Request], Awaitable[Response]]:
    response = json_response(content)

    async def answer(request: Request) -> Response:
        return response

    return answer


async def _metrics(request: Request) -> Response:
    body, content_type = await asyncio.to_thread(scrape)  # reads files: not on the event loop
    return Response(200, body, content_type.encode())
