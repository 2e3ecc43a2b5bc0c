"""``/openapi.json``: what this pod serves, in OpenAPI's words.

One row for each row of ``rest.py``'s table; a test holds the two together, and another holds the
schemas to what a running pod takes and gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from predictor.protocol.description import SERVER_NAME
from predictor.protocol.openapi_bodies import (
    BINARY_ANSWER,
    HEADERS,
    INFER_BODY,
    METRICS,
    PARAMETERS,
    PREDICT_BODY,
    Json,
    content,
)
from predictor.protocol.openapi_schemas import schemas
from predictor.protocol.openapi_served import Served

ABOUT = """\
An image classifier. HEAD is answered wherever GET is, OPTIONS everywhere; another method gets 405
with Allow, another path 404 that says whether the model, its version or the route is unknown. A
slash at the end of a path is ignored. Every error is `{"error": …}`; every response carries
`x-request-id`."""
TAGS = {
    "v2": "Open Inference Protocol with Triton's extensions",
    "v1": "KServe's v1 protocol",
    "health": "whether the pod lives and takes requests",
    "repository": "index, load, unload and traffic; needs the repository's token",
    "pod": "what serves all of these",
}
REFUSALS = {
    400: "The request is not what it must be; the text says what is wrong and what is taken",
    401: "No token, or another one than the repository's",
    408: "The body did not arrive in time (`body_timeout_s`); the connection is closed",
    413: "The body is over `max_body_bytes`",
    415: "The body has a Content-Encoding other than gzip, deflate or identity",
    500: "Something failed here; the log has it under the `x-request-id`",
    501: "The repository is off in this pod (`repository_token`)",
    503: "Every slot is taken, or no instance takes work now; try again",
    504: "The answer could not be had in the time the request allows",
}
REFUSAL_HEADERS = {
    401: {"WWW-Authenticate": "Authenticate"},
    415: {"Accept-Encoding": "AcceptEncoding"},
    503: {"Retry-After": "RetryAfter"},
}
ANYWHERE = (400, 408, 413, 415, 500, 503)  # a body is read, and may be refused, on every route
INFERENCE = (*ANYWHERE, 504)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; ``answers`` are those that are no ``{"error": …}``."""

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Json]  # status → media type → what it holds
    refusals: tuple[int, ...] = ANYWHERE
    body: Json = field(default_factory=dict)
    parameters: tuple[str, ...] = ("RequestId",)
    token: bool = False


def document(served: Served) -> Json:
    """The OpenAPI 3.1 document of one pod."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{SERVER_NAME}: {served.name}",
            "version": metadata.version("millrace"),
            "description": ABOUT,
        },
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": {
            path: {method.lower(): _described(operation) for method, operation in methods.items()}
            for path, methods in operations(served).items()
        },
        "components": {
            "schemas": schemas(served),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": {str(status): _refusal(status) for status in REFUSALS},
            "securitySchemes": {"repositoryToken": {"type": "http", "scheme": "bearer"}},
        },
    }


def operations(served: Served) -> dict[str, dict[str, Operation]]:
    """Path → method → what it does."""
    name = served.name
    models = {200: content("Models")}
    alive = Operation("alive", "health", "Whether the process answers", {200: content("Alive")})
    live = Operation("serverLive", "health", "Liveness", {200: content("ServerLive")})
    server = Operation(
        "serverMetadata", "v2", "Name, version, extensions", {200: content("Server")}
    )
    preloaded = Operation(
        "preloaded", "pod", "Images that requests may name", {200: content("Preloaded")}
    )
    table = {
        "/": {"GET": alive},
        "/metrics": {
            "GET": Operation("metrics", "pod", "Prometheus' metrics of all processes", METRICS)
        },
        "/openapi.json": {
            "GET": Operation("openapi", "pod", "This document", {200: content("Document")})
        },
        "/v2": {"GET": server},
        "/v2/health/live": {"GET": live},
        "/v2/health/ready": {"GET": _ready("serverReady", "health", "ServerReady")},
        "/v2/models": {"GET": Operation("models", "v2", "Names of the models", models)},
        "/v2/models/stats": {"GET": _statistics("statistics")},
        "/v2/preloaded": {"GET": preloaded},
        **_repository(served),
        "/v1/models": {"GET": Operation("modelsV1", "v1", "Names of the models", models)},
        f"/v1/models/{name}": {"GET": _ready("modelReadyV1", "v1", "ModelReady")},
        f"/v1/models/{name}:predict": {
            "POST": _predict("predict", "Classify instances, or one raw image"),
            "PUT": _predict("predictByPut", "The same, as `curl -T` sends it"),
        },
        **_model(f"/v2/models/{name}", ""),
    }
    for version in served.versions:
        table |= _model(f"/v2/models/{name}/versions/{version}", f"OfVersion{version}")
    return table


# Operations


def _model(path: str, suffix: str) -> dict[str, dict[str, Operation]]:
    described = Operation(f"model{suffix}", "v2", "Tensors of the model", {200: content("Model")})
    config = Operation(f"config{suffix}", "v2", "Triton's configuration", {200: content("Config")})
    stages = Operation(
        f"stages{suffix}",
        "v2",
        "What each stage could do, and which one limits",
        {200: content("Stages")},
    )
    answer = {
        **content("InferResponse"),
        "application/octet-stream": {"schema": BINARY_ANSWER},
    }
    infer = Operation(
        f"infer{suffix}",
        "v2",
        "Classify images",
        {200: answer},
        INFERENCE,
        INFER_BODY,
        ("RequestId", "HeaderLength"),
    )
    return {
        path: {"GET": described},
        f"{path}/ready": {"GET": _ready(f"modelReady{suffix}", "v2", "ModelReady")},
        f"{path}/config": {"GET": config},
        f"{path}/stats": {"GET": _statistics(f"modelStatistics{suffix}")},
        f"{path}/stages": {"GET": stages},
        f"{path}/infer": {"POST": infer},
    }


def _ready(operation: str, tag: str, schema: str) -> Operation:
    answers = {200: content(schema), 503: content(schema, "Error")}
    refusals = tuple(status for status in ANYWHERE if status != 503)
    return Operation(operation, tag, "Whether requests are taken", answers, refusals)


def _statistics(operation: str) -> Operation:
    return Operation(operation, "v2", "Counts and durations", {200: content("Statistics")})


def _predict(operation: str, summary: str) -> Operation:
    answers = {200: content("PredictResponse")}
    return Operation(operation, "v1", summary, answers, INFERENCE, PREDICT_BODY)


def _repository(served: Served) -> dict[str, dict[str, Operation]]:
    model = f"/v2/repository/models/{served.name}"
    rows = (
        ("/v2/repository/index", "index", "Models and their states", "Index"),
        (f"{model}/load", "load", "Load a version, instead of others or beside them", "Load"),
        (f"{model}/unload", "unload", "Unload a version, or all", "Unload"),
        (f"{model}/traffic", "traffic", "Share requests out among versions", "Traffic"),
    )
    answer = {"Load": "Loaded", "Unload": "Unloaded"}
    table = {
        path: {
            "POST": _control(
                served, operation, summary, answer.get(schema, schema), f"{schema}Request"
            )
        }
        for path, operation, summary, schema in rows
    }
    table[f"{model}/traffic"]["GET"] = _control(served, "trafficNow", "The shares now", "Traffic")
    return table


def _control(
    served: Served, operation: str, summary: str, answer: str, asked: str = ""
) -> Operation:
    """An operation that needs the repository's token."""
    is_open = served.repository_open
    return Operation(
        operation,
        "repository",
        summary,
        {200: content(answer)} if is_open else {},
        (*ANYWHERE, 401) if is_open else (*ANYWHERE, 501),
        {"content": content(asked)} if asked else {},
        token=is_open,
    )


# Their description


def _described(operation: Operation) -> Json:
    responses = {str(status): _answer(status, operation) for status in operation.answers} | {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in operation.refusals
    }
    described: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            {"$ref": f"#/components/parameters/{name}"} for name in operation.parameters
        ],
        "responses": dict(sorted(responses.items())),
    }
    if operation.body:
        described["requestBody"] = operation.body
    if operation.token:
        described["security"] = [{"repositoryToken": []}]
    return described


def _answer(status: int, operation: Operation) -> Json:
    content = operation.answers[status]
    headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    if "application/octet-stream" in content:
        headers["Inference-Header-Content-Length"] = {"$ref": "#/components/headers/HeaderLength"}
    description = operation.summary if status == 200 else "Not ready"
    return {"description": description, "headers": headers, "content": content}


def _refusal(status: int) -> Json:
    headers = {"x-request-id": "RequestId"} | REFUSAL_HEADERS.get(status, {})
    return {
        "description": REFUSALS[status],
        "headers": {
            name: {"$ref": f"#/components/headers/{header}"} for name, header in headers.items()
        },
        "content": content("Error"),
    }
