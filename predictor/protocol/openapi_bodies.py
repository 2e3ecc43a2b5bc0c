"""What OpenAPI says of bodies, headers and parameters, and the words their schemas are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from predictor.protocol.request_id import WELL_FORMED
from predictor.protocol.tensors import INPUT_NAME

Json: TypeAlias = dict[str, Any]

# A PNG of 8 by 8 red pixels.
EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mO8IyfHgA0wMeAAg1MCAOBWAShOAhDlAAAAAElF"
    "TkSuQmCC"
)
RED_PIXELS = [[[220, 30, 30], [220, 30, 30]], [[220, 30, 30], [220, 30, 30]]]


def content(*names: str, **more: Any) -> Json:
    """The content of JSON that is one of the named schemas."""
    references = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"application/json": {"schema": schema, **more}}


def ref(name: str) -> Json:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Json, least: int = 0, most: int | None = None) -> Json:
    """A list of so many ``items``."""
    limits = {"minItems": least} | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": items, **limits}


def exactly(**properties: Any) -> Json:
    """An object as the server writes it: these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def at_least(required: Json, optional: Json | None = None) -> Json:
    """An object as the server reads it: what it does not know it ignores."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
    }


def or_null(schema: Json) -> Json:
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
RGB: Json = list_of(PIXEL, 3, 3)
ENCODED: Json = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "a JPEG, PNG, WebP, BMP or GIF file: standard alphabet, padded, no white space",
}
NAME: Json = {"type": "string", "description": "of a preloaded image, as `/v2/preloaded` lists it"}
DIGEST: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
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
        **content(
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
        **content(
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
