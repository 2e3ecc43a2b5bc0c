"""The table of REST routes of one pod: v1, v2 and its extensions, health, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from predictor.classifier import ImageClassifier, all_answers, times
from predictor.errors import BadRequestError, PredictorError
from predictor.metrics import BusyRatios, scrape
from predictor.protocol import fields, oip, openapi, tensors, v1
from predictor.protocol.aside import Aside
from predictor.protocol.description import Description, index
from predictor.protocol.http import Request, Response, Route, Routes, json_response
from predictor.protocol.openapi_schemas import Served
from predictor.repository import Repository

Parsed = TypeVar("Parsed")

LARGE_JSON_BYTES = 256 * 1024  # about a millisecond of parsing, or ten where it is all numbers
LARGE_BINARY_BYTES = 4 * 1024 * 1024  # a few milliseconds, should it be base64 after all


class RestRoutes:
    """The endpoints of one served model.

    Args:
        classifier: the model.
        description: what the pod says about itself.
        repository: index, load and unload.
        busy: how busy the instances are, for the scrape.
        aside: for large requests.
        ready: whether the pod takes requests.
    """

    def __init__(
        self,
        classifier: ImageClassifier,
        description: Description,
        repository: Repository,
        busy: BusyRatios,
        aside: Aside,
        ready: Callable[[], bool],
    ) -> None:
        self._classifier = classifier
        self._description = description
        self._repository = repository
        self._busy = busy
        self._aside = aside
        self._ready = ready

    def table(self) -> Routes:
        """Every path this pod answers."""
        name, version = self._classifier.name, self._classifier.version
        predict = Route(self._predict, "v1")
        routes: dict[str, dict[str, Route]] = {
            "/": {"GET": Route(_constant({"status": "alive"}))},
            "/metrics": {"GET": Route(self._metrics)},
            "/openapi.json": {"GET": Route(_constant(openapi.document(self._served())))},
            "/v2": {"GET": Route(_constant(self._description.server()))},
            "/v2/health/live": {"GET": Route(_constant({"live": True}))},
            "/v2/health/ready": {"GET": Route(self._server_ready)},
            "/v2/models": {"GET": Route(_constant({"models": [name]}))},
            "/v2/models/stats": {"GET": Route(self._statistics)},
            "/v2/repository/index": {"POST": Route(self._index)},
            f"/v2/repository/models/{name}/load": {"POST": Route(self._load)},
            f"/v2/repository/models/{name}/unload": {"POST": Route(self._unload)},
            "/v1/models": {"GET": Route(_constant({"models": [name]}))},
            f"/v1/models/{name}": {"GET": Route(self._model_ready)},
            f"/v1/models/{name}:predict": {"POST": predict, "PUT": predict},
        }
        for model in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            routes |= {
                model: {"GET": Route(_constant(self._description.model()))},
                f"{model}/ready": {"GET": Route(self._model_ready)},
                f"{model}/config": {"GET": Route(self._config)},
                f"{model}/stats": {"GET": Route(self._statistics)},
                f"{model}/infer": {"POST": Route(self._infer, "v2")},
            }
        return routes

    def _served(self) -> Served:
        classifier = self._classifier
        return Served(
            classifier.name,
            classifier.version,
            classifier.package.manifest.top_k,
            classifier.dispatcher.capacity,
            self._repository.open,
        )

    # Inference

    async def _infer(self, request: Request) -> Response:
        capacity = self._classifier.dispatcher.capacity
        large = oip.json_bytes(request.headers, request.body) > LARGE_JSON_BYTES
        call = await self._parsed(
            request,
            lambda: oip.parse(request.body, request.headers, capacity),
            aside=large or len(request.body) > LARGE_BINARY_BYTES,
        )
        result = await self._classifier(call.request)
        request.observation.classified(len(result), times(result))
        results = tensors.outputs(all_answers(result), self._classifier.labels, call.outputs)
        return oip.render(call, self._classifier.name, self._classifier.version, results)

    async def _predict(self, request: Request) -> Response:
        capacity = self._classifier.dispatcher.capacity
        raw = v1.is_raw(request.method, request.headers)
        parsed = await self._parsed(
            request,
            lambda: v1.parse(request.method, request.headers, request.body, capacity),
            aside=not raw and len(request.body) > LARGE_JSON_BYTES,
        )
        result = await self._classifier(parsed)
        request.observation.classified(len(result), times(result))
        for place, answer in enumerate(result):
            if not isinstance(answer, PredictorError):
                continue
            if not isinstance(answer, BadRequestError):
                raise answer  # a bad image has its error in its place; our own faults are no 200
            request.observation.error = f"image {place}: {answer}"
        return v1.render(result, self._classifier.labels)

    async def _parsed(
        self, request: Request, parse: Callable[[], Parsed], *, aside: bool
    ) -> Parsed:
        """Parse on the event loop, or beside it."""
        parsed = await self._aside.parse(parse) if aside else parse()
        request.observation.parsed_ns = time.monotonic_ns()
        return parsed

    # The pod about itself

    async def _server_ready(self, request: Request) -> Response:
        ready = self._ready()
        return json_response({"live": True, "ready": ready}, 200 if ready else 503)

    async def _model_ready(self, request: Request) -> Response:
        ready = self._ready()
        content = {"name": self._classifier.name, "ready": ready}
        return json_response(content, 200 if ready else 503)

    async def _config(self, request: Request) -> Response:
        return json_response(self._description.config())

    async def _statistics(self, request: Request) -> Response:
        return json_response(self._description.statistics())

    async def _metrics(self, request: Request) -> Response:
        # It reads files: not on the event loop.
        body, content_type = await asyncio.to_thread(scrape, self._busy)
        return Response(200, body, content_type.encode())

    # The repository

    async def _index(self, request: Request) -> Response:
        self._repository.check(_authorization(request))
        wanted = fields.json_object(request.body or b"{}")
        only_ready = wanted.get("ready", False)
        if not isinstance(only_ready, bool):
            raise BadRequestError("ready must be true or false")
        return json_response(index(self._repository.index(only_ready=only_ready)))

    async def _load(self, request: Request) -> Response:
        return await self._control("load", request)

    async def _unload(self, request: Request) -> Response:
        return await self._control("unload", request)

    async def _control(self, action: str, request: Request) -> Response:
        self._repository.check(_authorization(request))
        fields.json_object(
            request.body or b"{}"
        )  # Triton's parameters: none of them means anything here
        await self._repository.control(action, self._classifier.name)
        return json_response({"name": self._classifier.name, action: True})


def _authorization(request: Request) -> str:
    return request.headers.get(b"authorization", b"").decode("latin-1")


def _constant(content: object) -> Callable[[Request], Awaitable[Response]]:
    response = json_response(content)

    async def answer(request: Request) -> Response:
        return response

    return answer
