"""The schemas of inference, by v1 and by v2, for OpenAPI."""

from __future__ import annotations

from predictor.protocol.fields import BASE64, LONGEST_ID, REFERENCE
from predictor.protocol.openapi_bodies import (
    COUNT,
    ENCODED,
    FLAG,
    NAME,
    PIXEL,
    RGB,
    SIZE,
    TEXT,
    WHOLE,
    Json,
    at_least,
    exactly,
    list_of,
    or_null,
    ref,
)
from predictor.protocol.openapi_served import Served
from predictor.protocol.tensors import INPUT_NAME, OUTPUT_DATATYPES

NO_SHARED_MEMORY = {"propertyNames": {"not": {"pattern": "^shared_memory_"}}}


def inference_schemas(served: Served) -> Json:
    """Those of requests and answers, by name."""
    return {
        **_v1_schemas(served),
        **_infer_request_schemas(served),
        **_infer_response_schemas(served),
    }


def _v1_schemas(served: Served) -> Json:
    ranked = {"label": TEXT, "index": COUNT, "score": {"type": "number"}}
    pixels = list_of(list_of(list_of(PIXEL, 3, 3), 1), 1)
    pixels["description"] = "rows of RGB pixels, [H][W][3]"
    instance = {
        "anyOf": [
            at_least({"b64": ENCODED}),
            at_least({"image_bytes": at_least({"b64": ENCODED})}),
            at_least({"ref": NAME}),
            pixels,
        ],
        "description": "one that is none of these, or no image, gets an error in its place",
    }
    return {
        "PredictRequest": at_least({"instances": list_of(instance, 1, served.max_images)}),
        "PredictResponse": exactly(
            predictions=list_of({"anyOf": [ref("Prediction"), ref("Error")]}, 1, served.max_images)
        ),
        "Prediction": exactly(**ranked, top=list_of(exactly(**ranked), 1, served.top_k)),
    }


def _infer_request_schemas(served: Served) -> Json:
    bytes_parameters = at_least({}, {"content_type": {"enum": [BASE64, None]}}) | NO_SHARED_MEMORY
    tensors = [ref(name) for name in ("EncodedImages", "PreloadedImages", "PixelImages")]
    return {
        "InferRequest": at_least(
            {"inputs": list_of({"anyOf": tensors}, 1, 1)},
            {
                "id": or_null({"type": "string", "maxLength": LONGEST_ID}),
                "parameters": ref("InferParameters"),
                "outputs": or_null(list_of(ref("OutputWanted"), 0, len(OUTPUT_DATATYPES))),
            },
        ),
        "InferParameters": or_null(
            at_least(
                {},
                {
                    "timeout": or_null(WHOLE) | {"description": "microseconds; 0: the default"},
                    "priority": or_null(WHOLE),
                    "top_k": or_null(WHOLE) | {"minimum": 1, "maximum": served.top_k},
                    "binary_data_output": or_null(FLAG),
                },
            )
        ),
        "EncodedImages": at_least(
            _elements(ENCODED, served.max_images), {"parameters": or_null(bytes_parameters)}
        ),
        "PreloadedImages": at_least(
            _elements(NAME, served.max_images)
            | {"parameters": at_least({"content_type": {"const": REFERENCE}}) | NO_SHARED_MEMORY}
        ),
        "PixelImages": at_least(
            {
                "name": {"const": INPUT_NAME},
                "datatype": {"enum": ["UINT8", "FP32"]},
                "shape": {
                    "type": "array",
                    "prefixItems": [_images(served.max_images), SIZE, SIZE, {"const": 3}],
                    "minItems": 4,
                    "maxItems": 4,
                    "description": "[N,H,W,3]",
                },
                "data": {
                    "anyOf": [list_of(PIXEL, 12), list_of(list_of(list_of(RGB, 1), 1), 1)],
                    "description": "flat in row order, or nested as the shape says",
                },
            },
            {"parameters": or_null(at_least({}) | NO_SHARED_MEMORY)},
        ),
        "OutputWanted": at_least(
            {"name": {"enum": list(OUTPUT_DATATYPES)}},
            {
                "parameters": or_null(
                    at_least(
                        {},
                        {
                            "binary_data": or_null(FLAG),
                            "classification": or_null(WHOLE)
                            | {"description": "BYTES `score:index:label` of so many classes"},
                        },
                    )
                    | NO_SHARED_MEMORY
                )
            },
        ),
    }


def _images(most: int) -> Json:
    return {"type": "integer", "minimum": 1, "maximum": most}


def _elements(element: Json, most: int) -> Json:
    """What a BYTES tensor must have: its elements, one for each image."""
    return {
        "name": {"const": INPUT_NAME},
        "datatype": {"const": "BYTES"},
        "shape": {
            "type": "array",
            "prefixItems": [_images(most), {"const": 1}],
            "minItems": 1,
            "maxItems": 2,
            "description": "[N] or [N,1]",
        },
        "data": list_of({"anyOf": [element, list_of(element, 1, 1)]}, 1, most),
    }


def _infer_response_schemas(served: Served) -> Json:
    name, shape = {"enum": list(OUTPUT_DATATYPES)}, list_of(SIZE, 2, 2)
    numbers = exactly(
        name=name,
        datatype={"enum": ["INT64", "FP32"]},
        shape=shape,
        data=list_of({"type": "number"}, 1),
    )
    texts = exactly(name=name, datatype={"const": "BYTES"}, shape=shape, data=list_of(TEXT, 1))
    return {
        "InferResponse": exactly(
            model_name={"const": served.name},
            model_version={"enum": list(served.versions)},
            id=TEXT,
            outputs=list_of({"anyOf": [numbers, texts]}, 1, len(OUTPUT_DATATYPES)),
        )
    }
