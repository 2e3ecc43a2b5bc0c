"""``/openapi.json``: what this pod serves, in OpenAPI's words.

One row for each row of ``rest.py``'s table; a test holds the two together, and another holds the
schemas to what a running pod takes and gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeAlias

from predictor.protocol.description import BACKEND, CONFIG_TYPES, EXTENSIONS, PLATFORM, SERVER_NAME
from predictor.protocol.oip import BASE64, LONGEST_ID, LOWEST_PRIORITY
from predictor.protocol.request_id import WELL_FORMED
from predictor.protocol.tensors import INPUT_NAME, OUTPUT_DATATYPES
from predictor.statistics import BATCH_DURATIONS, DURATIONS

Json: TypeAlias = dict[str, Any]

ABOUT = """\
An image classifier. HEAD is answered wherever GET is, OPTIONS everywhere; another method gets 405
with Allow, another path 404 that says whether the model, its version or the route is unknown. A
slash at the end of a path is ignored. Every error is `{"error": …}`; every response carries
`x-request-id`."""
TAGS = {
    "v2": "Open Inference Protocol with Triton's extensions",
    "v1": "KServe's v1 protocol",
    "health": "whether the pod lives and takes requests",
    "repository": "index, load and unload; needs the repository's token",
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
# A PNG of 8 by 8 red pixels.
EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mO8IyfHgA0wMeAAg1MCAOBWAShOAhDlAAAAAElF"
    "TkSuQmCC"
)
RED_PIXELS = [[[220, 30, 30], [220, 30, 30]], [[220, 30, 30], [220, 30, 30]]]


@dataclass(frozen=True, slots=True)
class Served:
    """What the document depends on.

    Attributes:
        name: the model's, as in its URLs.
        version: the model's.
        top_k: classes in an answer.
        max_images: most images in one request.
        repository_open: whether there is a token, and so a repository at all.
    """

    name: str
    version: str
    top_k: int
    max_images: int
    repository_open: bool


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
            "schemas": _schemas(served),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": {str(status): _refusal(status) for status in REFUSALS},
            "securitySchemes": {"repositoryToken": {"type": "http", "scheme": "bearer"}},
        },
    }


def operations(served: Served) -> dict[str, dict[str, Operation]]:
    """Path → method → what it does."""
    name, version = served.name, served.version
    models = {200: _json("Models")}
    alive = Operation("alive", "health", "Whether the process answers", {200: _json("Alive")})
    live = Operation("serverLive", "health", "Liveness", {200: _json("ServerLive")})
    server = Operation("serverMetadata", "v2", "Name, version, extensions", {200: _json("Server")})
    return {
        "/": {"GET": alive},
        "/metrics": {
            "GET": Operation("metrics", "pod", "Prometheus' metrics of all processes", METRICS)
        },
        "/openapi.json": {
            "GET": Operation("openapi", "pod", "This document", {200: _json("Document")})
        },
        "/v2": {"GET": server},
        "/v2/health/live": {"GET": live},
        "/v2/health/ready": {"GET": _ready("serverReady", "health", "ServerReady")},
        "/v2/models": {"GET": Operation("models", "v2", "Names of the models", models)},
        "/v2/models/stats": {"GET": _statistics("statistics")},
        **_repository(served),
        "/v1/models": {"GET": Operation("modelsV1", "v1", "Names of the models", models)},
        f"/v1/models/{name}": {"GET": _ready("modelReadyV1", "v1", "ModelReady")},
        f"/v1/models/{name}:predict": {
            "POST": _predict("predict", "Classify instances, or one raw image"),
            "PUT": _predict("predictByPut", "The same, as `curl -T` sends it"),
        },
        **_model(f"/v2/models/{name}", ""),
        **_model(f"/v2/models/{name}/versions/{version}", "OfVersion"),
    }


# Operations


def _model(path: str, suffix: str) -> dict[str, dict[str, Operation]]:
    described = Operation(f"model{suffix}", "v2", "Tensors of the model", {200: _json("Model")})
    config = Operation(f"config{suffix}", "v2", "Triton's configuration", {200: _json("Config")})
    answer = {
        **_json("InferResponse"),
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
        f"{path}/infer": {"POST": infer},
    }


def _ready(operation: str, tag: str, schema: str) -> Operation:
    answers = {200: _json(schema), 503: _json(schema, "Error")}
    refusals = tuple(status for status in ANYWHERE if status != 503)
    return Operation(operation, tag, "Whether requests are taken", answers, refusals)


def _statistics(operation: str) -> Operation:
    return Operation(operation, "v2", "Counts and durations", {200: _json("Statistics")})


def _predict(operation: str, summary: str) -> Operation:
    answers = {200: _json("PredictResponse")}
    return Operation(operation, "v1", summary, answers, INFERENCE, PREDICT_BODY)


def _repository(served: Served) -> dict[str, dict[str, Operation]]:
    rows = (
        ("/v2/repository/index", "repositoryIndex", "Models and their states", "Index"),
        (f"/v2/repository/models/{served.name}/load", "load", "Load the model again", "Loaded"),
        (f"/v2/repository/models/{served.name}/unload", "unload", "Stop its instances", "Unloaded"),
    )
    table = {}
    for path, operation, summary, schema in rows:
        body = {"content": _json("IndexRequest" if schema == "Index" else "ControlRequest")}
        answers = {200: _json(schema)} if served.repository_open else {}
        refusals = (*ANYWHERE, 401) if served.repository_open else (*ANYWHERE, 501)
        table[path] = {
            "POST": Operation(
                operation,
                "repository",
                summary,
                answers,
                refusals,
                body,
                token=served.repository_open,
            )
        }
    return table


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
        "content": _json("Error"),
    }


# Schemas


def _json(*names: str, **more: Any) -> Json:
    """The content of JSON that is one of the named schemas."""
    references = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"application/json": {"schema": schema, **more}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Json, least: int = 0, most: int | None = None) -> Json:
    limits = {"minItems": least} | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": items, **limits}


def _exactly(**properties: Any) -> Json:
    """An object as the server writes it: these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _at_least(required: Json, optional: Json | None = None) -> Json:
    """An object as the server reads it: what it does not know it ignores."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
    }


def _or_null(schema: Json) -> Json:
    """Given as null is not given."""
    return {**schema, "type": [schema["type"], "null"]}


TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
COUNT: Json = {"type": "integer", "minimum": 0}
SIZE: Json = {"type": "integer", "minimum": 1}
WHOLE: Json = {
    "type": "integer",
    "minimum": 0,
    "maximum": 2**64 - 1,
    "description": "written without a fraction: 1, not 1.0",
}
PIXEL: Json = {"type": "integer", "minimum": 0, "maximum": 255}
ENCODED: Json = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "a JPEG, PNG, WebP, BMP or GIF file: standard alphabet, padded, no white space",
}
RAW_IMAGE: Json = {"type": "string", "format": "binary", "description": "the image file itself"}
BINARY_ANSWER: Json = {
    "type": "string",
    "format": "binary",
    "description": "InferResponse as JSON, with the parameter `binary_data_size` in place of a "
    "tensor's `data`; then these tensors, in order",
}
METRICS: Mapping[int, Json] = {200: {"text/plain": {"schema": {"type": "string"}}}}

PARAMETERS: Json = {
    "RequestId": {
        "name": "x-request-id",
        "in": "header",
        "description": "comes back when it is 1 to 128 visible ASCII characters; else a new one",
        "schema": TEXT,
    },
    "HeaderLength": {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "bytes of JSON at the front of the body, binary tensors follow; 0 when the "
        "body is one raw image, whose outputs then come binary",
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**10 - 1},
    },
}
HEADERS: Json = {
    "RequestId": {
        "required": True,
        "description": "the request's own, or one made for it",
        "schema": {"type": "string", "pattern": f"^{WELL_FORMED.pattern}$"},
    },
    "HeaderLength": {
        "description": "bytes of JSON at the front; there when the answer is binary",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RetryAfter": {
        "required": True,
        "description": "seconds",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Authenticate": {"required": True, "schema": {"const": "Bearer"}},
    "AcceptEncoding": {
        "required": True,
        "description": "the codings that are taken",
        "schema": {"type": "string"},
    },
}

PREDICT_BODY: Json = {
    "required": True,
    "description": "JSON, or one raw image. A body is an image when its Content-Type is image/* or "
    "application/octet-stream, and by PUT unless it is application/json; JSON otherwise.",
    "content": {
        **_json(
            "PredictRequest",
            examples={
                "b64": {"value": {"instances": [{"b64": EXAMPLE}]}},
                "image_bytes": {"value": {"instances": [{"image_bytes": {"b64": EXAMPLE}}]}},
                "pixels": {"value": {"instances": [RED_PIXELS]}},
            },
        ),
        "image/*": {"schema": RAW_IMAGE},
        "application/octet-stream": {"schema": RAW_IMAGE},
    },
}
BYTES_EXAMPLE: Json = {"name": INPUT_NAME, "datatype": "BYTES", "shape": [1], "data": [EXAMPLE]}
PIXELS_EXAMPLE: Json = {
    "name": INPUT_NAME,
    "datatype": "UINT8",
    "shape": [1, 2, 2, 3],
    "data": [RED_PIXELS],
}
INFER_BODY: Json = {
    "required": True,
    "description": "JSON, whatever the Content-Type; the header's length tells where binary "
    "tensors begin.",
    "content": {
        **_json(
            "InferRequest",
            examples={
                "encoded": {"value": {"inputs": [BYTES_EXAMPLE]}},
                "pixels": {"value": {"id": "7", "inputs": [PIXELS_EXAMPLE]}},
                "chosen": {
                    "summary": "only the labels, of the best class",
                    "value": {
                        "inputs": [BYTES_EXAMPLE],
                        "outputs": [{"name": "labels"}],
                        "parameters": {"top_k": 1},
                    },
                },
                "classification": {
                    "value": {
                        "inputs": [BYTES_EXAMPLE],
                        "outputs": [{"name": "scores", "parameters": {"classification": 1}}],
                    }
                },
            },
        ),
        "application/octet-stream": {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "InferRequest as JSON, with the parameter `binary_data_size` in "
                "place of the tensor's `data`; then the tensor: row-major little-endian pixels, or "
                "for BYTES each element behind its length of 4 bytes, little-endian. With a header "
                "of length 0: the image file itself",
            }
        },
    },
}


def _schemas(served: Served) -> Json:
    return {
        "Error": _exactly(error=TEXT),
        "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
        **_pod_schemas(served),
        **_model_schemas(served),
        **_v1_schemas(served),
        **_infer_request_schemas(served),
        **_infer_response_schemas(served),
    }


def _pod_schemas(served: Served) -> Json:
    name = {"const": served.name}
    entry = _exactly(
        name=name,
        version={"const": served.version},
        state={"enum": ["READY", "UNAVAILABLE"]},
        reason=TEXT,
    )
    return {
        "Alive": _exactly(status={"const": "alive"}),
        "ServerLive": _exactly(live={"const": True}),
        "ServerReady": _exactly(live={"const": True}, ready=FLAG),
        "ModelReady": _exactly(name=name, ready=FLAG),
        "Models": _exactly(models=_list(name, 1, 1)),
        "Server": _exactly(
            name={"const": SERVER_NAME},
            version=TEXT,
            extensions=_list({"enum": [*EXTENSIONS, "model_repository"]}),
        ),
        "IndexRequest": _at_least({}, {"ready": FLAG}),
        "Index": _list(entry, 0, 1),
        "ControlRequest": _at_least({}),
        "Loaded": _exactly(name=name, load={"const": True}),
        "Unloaded": _exactly(name=name, unload={"const": True}),
    }


def _model_schemas(served: Served) -> Json:
    name, version = {"const": served.name}, {"const": served.version}
    tensor = _exactly(name=TEXT, datatype=TEXT, shape=_list({"type": "integer"}, 2, 2))
    described = {"name": TEXT, "data_type": {"enum": list(CONFIG_TYPES.values())}}
    dimensions = _list(SIZE, 1, 1)
    duration = _exactly(count=COUNT, ns=COUNT)
    batch = dict.fromkeys(BATCH_DURATIONS, duration)
    return {
        "Model": _exactly(
            name=name,
            versions=_list(version, 1, 1),
            platform={"const": PLATFORM},
            inputs=_list(tensor, 1, 1),
            outputs=_list(tensor, len(OUTPUT_DATATYPES), len(OUTPUT_DATATYPES)),
        ),
        "Config": _exactly(
            name=name,
            platform={"const": PLATFORM},
            backend={"const": BACKEND},
            version_policy=_exactly(specific=_exactly(versions=_list(SIZE, 0, 1))),
            max_batch_size={"const": served.max_images},
            input=_list(_exactly(**described, format=TEXT, dims=dimensions), 1, 1),
            output=_list(_exactly(**described, dims=dimensions)),
            instance_group=_list(
                _exactly(
                    name=TEXT,
                    kind={"enum": ["KIND_CPU", "KIND_GPU"]},
                    count=SIZE,
                    gpus=_list(COUNT),
                )
            ),
            default_model_filename=TEXT,
            dynamic_batching=_exactly(
                preferred_batch_size=_list(SIZE), max_queue_delay_microseconds=COUNT
            ),
            model_transaction_policy=_exactly(decoupled={"const": False}),
        ),
        "Statistics": _exactly(
            model_stats=_list(
                _exactly(
                    name=name,
                    version=version,
                    last_inference=COUNT,
                    inference_count=COUNT,
                    execution_count=COUNT,
                    inference_stats=_exactly(
                        **dict.fromkeys((*DURATIONS, "cache_hit", "cache_miss"), duration)
                    ),
                    batch_stats=_list(_exactly(batch_size=SIZE, **batch)),
                ),
                1,
                1,
            )
        ),
    }


def _v1_schemas(served: Served) -> Json:
    ranked = {"label": TEXT, "index": COUNT, "score": {"type": "number"}}
    pixels = _list(_list(_list(PIXEL, 3, 3), 1), 1)
    pixels["description"] = "rows of RGB pixels, [H][W][3]"
    instance = {
        "anyOf": [
            _at_least({"b64": ENCODED}),
            _at_least({"image_bytes": _at_least({"b64": ENCODED})}),
            pixels,
        ],
        "description": "one that is none of these, or no image, gets an error in its place",
    }
    return {
        "PredictRequest": _at_least({"instances": _list(instance, 1, served.max_images)}),
        "PredictResponse": _exactly(
            predictions=_list({"anyOf": [_ref("Prediction"), _ref("Error")]}, 1, served.max_images)
        ),
        "Prediction": _exactly(**ranked, top=_list(_exactly(**ranked), 1, served.top_k)),
    }


def _infer_request_schemas(served: Served) -> Json:
    shapeless = {"name": {"const": INPUT_NAME}}
    no_shared_memory = {"propertyNames": {"not": {"pattern": "^shared_memory_"}}}
    bytes_parameters = _at_least({}, {"content_type": {"enum": [BASE64, None]}}) | no_shared_memory
    images = {"type": "integer", "minimum": 1, "maximum": served.max_images}
    return {
        "InferRequest": _at_least(
            {"inputs": _list({"anyOf": [_ref("EncodedImages"), _ref("PixelImages")]}, 1, 1)},
            {
                "id": _or_null({"type": "string", "maxLength": LONGEST_ID}),
                "parameters": _ref("InferParameters"),
                "outputs": _or_null(_list(_ref("OutputWanted"), 0, len(OUTPUT_DATATYPES))),
            },
        ),
        "InferParameters": _or_null(
            _at_least(
                {},
                {
                    "timeout": _or_null(WHOLE) | {"description": "microseconds; 0: the default"},
                    "priority": _or_null(WHOLE) | {"maximum": LOWEST_PRIORITY},
                    "top_k": _or_null(WHOLE) | {"minimum": 1, "maximum": served.top_k},
                    "binary_data_output": _or_null(FLAG),
                },
            )
        ),
        "EncodedImages": _at_least(
            shapeless
            | {
                "datatype": {"const": "BYTES"},
                "shape": {
                    "type": "array",
                    "prefixItems": [images, {"const": 1}],
                    "minItems": 1,
                    "maxItems": 2,
                    "description": "[N] or [N,1]",
                },
                "data": _list({"anyOf": [ENCODED, _list(ENCODED, 1, 1)]}, 1, served.max_images),
            },
            {"parameters": _or_null(bytes_parameters)},
        ),
        "PixelImages": _at_least(
            shapeless
            | {
                "datatype": {"enum": ["UINT8", "FP32"]},
                "shape": {
                    "type": "array",
                    "prefixItems": [images, SIZE, SIZE, {"const": 3}],
                    "minItems": 4,
                    "maxItems": 4,
                    "description": "[N,H,W,3]",
                },
                "data": {
                    "anyOf": [_list(PIXEL, 12), _list(_list(_list(_list(PIXEL, 3, 3), 1), 1), 1)],
                    "description": "flat in row order, or nested as the shape says",
                },
            },
            {"parameters": _or_null(_at_least({}) | no_shared_memory)},
        ),
        "OutputWanted": _at_least(
            {"name": {"enum": list(OUTPUT_DATATYPES)}},
            {
                "parameters": _or_null(
                    _at_least(
                        {},
                        {
                            "binary_data": _or_null(FLAG),
                            "classification": _or_null(WHOLE)
                            | {"description": "BYTES `score:index:label` of so many classes"},
                        },
                    )
                    | no_shared_memory
                )
            },
        ),
    }


def _infer_response_schemas(served: Served) -> Json:
    name, shape = {"enum": list(OUTPUT_DATATYPES)}, _list(SIZE, 2, 2)
    numbers = _exactly(
        name=name,
        datatype={"enum": ["INT64", "FP32"]},
        shape=shape,
        data=_list({"type": "number"}, 1),
    )
    texts = _exactly(name=name, datatype={"const": "BYTES"}, shape=shape, data=_list(TEXT, 1))
    return {
        "InferResponse": _exactly(
            model_name={"const": served.name},
            model_version={"const": served.version},
            id=TEXT,
            outputs=_list({"anyOf": [numbers, texts]}, 1, len(OUTPUT_DATATYPES)),
        )
    }
