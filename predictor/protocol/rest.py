"""The table of REST routes of one pod: v1, v2 and its extensions, health, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from predictor.classifier import ImageClassifier, all_answers, times
from predictor.errors import BadRequestError, PredictorError
from predictor.metrics import BusyRatios, StageGauges, scrape
from predictor.preloaded import Preloaded
from predictor.protocol import fields, oip, openapi, tensors, v1
from predictor.protocol.aside import Aside
from predictor.protocol.description import Description, index
from predictor.protocol.http import Request, Response, Route, Routes, json_response
from predictor.protocol.openapi_served import Served
from predictor.repository import Repository
from predictor.served_version import ServedVersion
from predictor.types import ClassifyRequest
from predictor.versions import Versions

Parsed = TypeVar("Parsed")

LARGE_JSON_BYTES = 256 * 1024  # about a millisecond of parsing, or ten where it is all numbers
LARGE_BINARY_BYTES = 4 * 1024 * 1024  # a few milliseconds, should it be base64 after all


class RestRoutes:
    """The endpoints of one model.

    Args:
        versions: of the model.
        description: what the pod says about itself.
        repository: index, load and unload.
        preloaded: the images that requests may name.
        aside: for large requests.
        one_priority: there is but one priority level.
    """

    def __init__(
        self,
        versions: Versions,
        description: Description,
        repository: Repository,
        preloaded: Preloaded,
        aside: Aside,
        *,
        one_priority: bool,
    ) -> None:
        self._versions = versions
        self._description = description
        self._repository = repository
        self._preloaded = preloaded
        self._aside = aside
        self._one_priority = one_priority

    def table(self) -> Routes:
        """Every path this pod answers now; others when a version comes or goes."""
        name = self._versions.name
        predict = Route(self._predict, "v1", partial(self._foresee, ""))
        control = f"/v2/repository/models/{name}"
        routes: dict[str, dict[str, Route]] = {
            "/": {"GET": Route(_constant({"status": "alive"}))},
            "/metrics": {"GET": Route(self._metrics)},
            "/openapi.json": {"GET": Route(_constant(openapi.document(self._served())))},
            "/v2": {"GET": Route(_constant(self._description.server()))},
            "/v2/health/live": {"GET": Route(_constant({"live": True}))},
            "/v2/health/ready": {"GET": Route(self._server_ready)},
            "/v2/models": {"GET": Route(_constant({"models": [name]}))},
            "/v2/preloaded": {"GET": Route(self._listing)},
            "/v2/models/stats": {"GET": Route(self._statistics)},
            "/v2/repository/index": {"POST": Route(self._index)},
            f"{control}/load": {"POST": Route(partial(self._control, "load"))},
            f"{control}/unload": {"POST": Route(partial(self._control, "unload"))},
            f"{control}/traffic": {"GET": Route(self._traffic), "POST": Route(self._share)},
            "/v1/models": {"GET": Route(_constant({"models": [name]}))},
            f"/v1/models/{name}": {"GET": Route(self._model_ready)},
            f"/v1/models/{name}:predict": {"POST": predict, "PUT": predict},
        }
        for version in ("", *(served.name for served in self._versions)):
            model = f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
            routes |= {
                model: {"GET": Route(partial(self._model, version=version))},
                f"{model}/ready": {"GET": Route(partial(self._model_ready, version=version))},
                f"{model}/config": {"GET": Route(partial(self._config, version=version))},
                f"{model}/stats": {"GET": Route(partial(self._statistics, version=version))},
                f"{model}/stages": {"GET": Route(partial(self._stages, version=version))},
                f"{model}/infer": {"POST": self._infer_route(version)},
            }
        return routes

    def _infer_route(self, version: str) -> Route:
        """A v2 body may state a priority; where there are several it is read before a refusal."""
        foresee = partial(self._foresee, version) if self._one_priority else None
        return Route(partial(self._infer, version=version), "v2", foresee, version)

    def _foresee(self, version: str, headers: Mapping[bytes, bytes]) -> None:
        self._versions.foresee(version, fields.time_limit_us(headers))

    def _served(self) -> Served:
        return Served(
            self._versions.name,
            tuple(served.name for served in self._versions),
            max(served.classifier.package.manifest.top_k for served in self._versions),
            self._versions.max_images,
            self._repository.open,
        )

    # Inference

    async def _infer(self, request: Request, version: str) -> Response:
        capacity = self._versions.max_images
        large = oip.json_bytes(request.headers, request.body) > LARGE_JSON_BYTES
        call = await self._parsed(
            request,
            lambda: oip.parse(request.body, request.headers, capacity),
            aside=large or len(request.body) > LARGE_BINARY_BYTES,
        )
        classifier = self._chosen(request, version)
        result = await classifier(_limited(call.request, request))
        request.observation.classified(len(result), times(result))
        results = tensors.outputs(all_answers(result), classifier.labels, call.outputs)
        return oip.render(call, classifier.name, classifier.version, results)

    async def _predict(self, request: Request) -> Response:
        capacity = self._versions.max_images
        raw = v1.is_raw(request.method, request.headers)
        parsed = await self._parsed(
            request,
            lambda: v1.parse(request.method, request.headers, request.body, capacity),
            aside=not raw and len(request.body) > LARGE_JSON_BYTES,
        )
        classifier = self._chosen(request)
        result = await classifier(_limited(parsed, request))
        request.observation.classified(len(result), times(result))
        for place, answer in enumerate(result):
            if not isinstance(answer, PredictorError):
                continue
            if not isinstance(answer, BadRequestError):
                raise answer  # a bad image has its error in its place; our own faults are no 200
            request.observation.error = f"image {place}: {answer}"
        return v1.render(result, classifier.labels)

    def _chosen(self, request: Request, version: str = "") -> ImageClassifier:
        served = self._versions.choose(version)
        request.observation.version = served.name
        return served.classifier

    async def _parsed(
        self, request: Request, parse: Callable[[], Parsed], *, aside: bool
    ) -> Parsed:
        """Parse on the event loop, or beside it."""
        parsed = await self._aside.parse(parse) if aside else parse()
        request.observation.parsed_ns = time.monotonic_ns()
        return parsed

    # The pod about itself

    async def _server_ready(self, request: Request) -> Response:
        ready = self._versions.ready
        return json_response({"live": True, "ready": ready}, 200 if ready else 503)

    async def _model_ready(self, request: Request, version: str = "") -> Response:
        ready = self._versions.ready
        if version:
            ready = self._named(version).classifier.ready
        return json_response({"name": self._versions.name, "ready": ready}, 200 if ready else 503)

    async def _model(self, request: Request, version: str) -> Response:
        return json_response(self._description.model(self._named(version)))

    async def _config(self, request: Request, version: str) -> Response:
        return json_response(self._description.config(self._named(version)))

    async def _statistics(self, request: Request, version: str = "") -> Response:
        served = (self._named(version),) if version else tuple(self._versions)
        return json_response(self._description.statistics(served))

    async def _stages(self, request: Request, version: str) -> Response:
        return json_response(self._description.stages(self._named(version)))

    def _named(self, version: str) -> ServedVersion:
        return self._versions.known(self._versions.name, version)

    def _busy_ratios(self) -> dict[int, float]:
        return {
            instance: ratio
            for served in self._versions
            for instance, ratio in served.busy_ratios().items()
        }

    async def _metrics(self, request: Request) -> Response:
        name = self._versions.name
        balance = self._description.report(self._versions.current).balance
        computed = BusyRatios(name, self._busy_ratios()), StageGauges(name, balance)
        # It reads files: not on the event loop.
        body, content_type = await asyncio.to_thread(scrape, *computed)
        return Response(200, body, content_type.encode())

    async def _listing(self, request: Request) -> Response:
        return Response(200, bytes(self._preloaded.listing))

    # The repository

    async def _index(self, request: Request) -> Response:
        self._repository.check(_authorization(request))
        wanted = fields.json_object(request.body or b"{}")
        only_ready = wanted.get("ready", False)
        if not isinstance(only_ready, bool):
            raise BadRequestError("ready must be true or false")
        return json_response(index(self._repository.index(only_ready=only_ready)))

    async def _control(self, action: str, request: Request) -> Response:
        self._repository.check(_authorization(request))
        asked = fields.json_object(request.body or b"{}")
        parameters = asked.get("parameters")
        if not isinstance(parameters, dict | None):
            raise BadRequestError("parameters must be an object")
        await self._repository.control(action, self._versions.name, parameters or {})
        return json_response({"name": self._versions.name, action: True})

    async def _traffic(self, request: Request) -> Response:
        self._repository.check(_authorization(request))
        return json_response({"name": self._versions.name, "traffic": self._versions.traffic})

    async def _share(self, request: Request) -> Response:
        self._repository.check(_authorization(request))
        asked = fields.json_object(request.body or b"{}")
        await self._repository.control("traffic", self._versions.name, asked)
        return json_response({"name": self._versions.name, "traffic": self._versions.traffic})


def _limited(asked: ClassifyRequest, request: Request) -> ClassifyRequest:
    """What was asked, within the time that the request's headers allow."""
    limit_us = fields.time_limit_us(request.headers)
    if limit_us is None:
        return asked
    return replace(asked, options=replace(asked.options, limit_us=limit_us))


def _authorization(request: Request) -> str:
    return request.headers.get(b"authorization", b"").decode("latin-1")


def _constant(content: object) -> Callable[[Request], Awaitable[Response]]:
    response = json_response(content)

    async def answer(request: Request) -> Response:
        return response

    return answer
