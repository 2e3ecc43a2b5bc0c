"""The document at ``/openapi.json`` against the pod that serves it, by schemathesis."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection

from predictor.protocol import openapi
from predictor.protocol.openapi_bodies import BYTES_EXAMPLE, EXAMPLE
from predictor.protocol.openapi_served import Served
from tests.end_to_end.conftest import Pod

TOKEN = "sesame"
CLOSED = Served("colours", "1", top_k=3, max_images=256, repository_open=False)
OPEN = Served("colours", "1", top_k=3, max_images=256, repository_open=True)
INFER_REQUEST = jsonschema_rs.Draft202012Validator(
    {"$ref": "#/components/schemas/InferRequest"} | openapi.document(CLOSED)
)

IMAGE = base64.b64decode(EXAMPLE)
BINARY = {
    "inputs": [
        {
            "name": "image",
            "datatype": "BYTES",
            "shape": [1],
            "parameters": {"binary_data_size": 4 + len(IMAGE)},
        }
    ],
    "parameters": {"binary_data_output": True},
}

NOTHING_DRAWN_FROM_ANSWERS = {"extra-data-sources": {"responses": False}}  # they differ, run by run
CONFIG: dict[str, Any] = {
    "seed": 1,
    "cache": {"enabled": False},
    "generation": {"max-examples": 15, "deterministic": True, "database": "none"},
    "checks": {
        # 501 is the closed repository's; 504 comes of a timeout of a few microseconds.
        "not_a_server_error": {"expected-statuses": ["2xx", "4xx", 501, 504]},
        # JSON Schema cannot say that a tensor's data fill its shape, that base64 is an image, that
        # an output is asked for once. So only the document's own examples must be accepted here.
        "positive_data_acceptance": {"enabled": False},
    },
    "phases": {
        "examples": NOTHING_DRAWN_FROM_ANSWERS
        | {"checks": {"positive_data_acceptance": {"enabled": True}}},
        "coverage": NOTHING_DRAWN_FROM_ANSWERS,
        "fuzzing": NOTHING_DRAWN_FROM_ANSWERS | {"error-feedback": {"enabled": False}},
    },
}


def read(served: Served, **more: object) -> schemathesis.BaseSchema:
    """A pod's document as schemathesis reads it, before there is a pod."""
    config = schemathesis.Config.from_dict(CONFIG | more)
    return schemathesis.openapi.from_dict(openapi.document(served), config=config)


closed = read(CLOSED)
opened = read(OPEN, auth={"openapi": {"repositoryToken": {"bearer": TOKEN}}})


@pytest.fixture(scope="module")
def open_pod(colours) -> Iterator[Pod]:
    """A pod whose repository has a token."""
    running = Pod(colours.path, "--repository-token", TOKEN, "--drain-delay-s", "0")
    yield running
    running.close()


def test_the_document_is_served(pod, open_pod):
    """By a pod with a closed repository and by one with an open one."""
    assert openapi.document(CLOSED) == httpx.get(f"{pod.url}/openapi.json").json()
    assert openapi.document(OPEN) == httpx.get(f"{open_pod.url}/openapi.json").json()


@closed.exclude(tag="v1").parametrize()
def test_the_pod_does_what_its_document_says(case, pod):
    """Statuses, content types, headers, bodies and methods; what breaks the schema is refused."""
    case.call_and_validate(base_url=pod.url)


@closed.include(tag="v1").parametrize()
def test_the_pod_does_what_its_document_says_of_v1(case, pod):
    """The same, but that an instance which breaks the schema gets its error in a 200."""
    answer = case.call_and_validate(base_url=pod.url, excluded_checks=[negative_data_rejection])

    wrong = case.meta.is_negative_at(ParameterLocation.BODY)
    if wrong and answer.request.method in ("POST", "PUT") and answer.status_code == 200:
        assert any("error" in prediction for prediction in answer.json()["predictions"])


@closed.include(operation_id="infer").parametrize()
def test_around_an_image_exactly_what_is_described_is_accepted(case, pod):
    """Id, parameters and outputs of every kind, right and wrong, in a request with an image."""
    if case.media_type != "application/json" or not isinstance(case.body, dict):
        return
    case.body = with_an_image(case.body)
    case.headers = {}

    answer = case.call_and_validate(base_url=pod.url, excluded_checks=[negative_data_rejection])

    if answer.request.method == "POST" and answer.status_code != 504:
        assert (answer.status_code == 200) == INFER_REQUEST.is_valid(case.body)


def with_an_image(body: dict[str, Any]) -> dict[str, Any]:
    """A request body with an image, and without what JSON Schema cannot rule out."""
    # To JSON Schema 1.0 is an integer like 1; here it is none.
    body = json.loads(json.dumps(body), parse_float=lambda text: as_integer(float(text)))
    outputs = body.get("outputs")
    if isinstance(outputs, list):  # each asked for once
        body["outputs"] = list({json.dumps(name_of(output)): output for output in outputs}.values())
    return body | {"inputs": [BYTES_EXAMPLE]}


def as_integer(number: float) -> int | float:
    """A whole number without its fraction."""
    return int(number) if number.is_integer() else number


def name_of(output: object) -> object:
    """The name of an output that is asked for, where it has one."""
    return output.get("name") if isinstance(output, dict) else output


@pytest.mark.parametrize("model", ["/v2/models/colours", "/v2/models/colours/versions/1"])
@pytest.mark.parametrize("header", [b"", json.dumps(BINARY).encode()], ids=["raw image", "tensor"])
def test_a_binary_request_is_answered_as_described(pod, model, header):
    """The header's length tells JSON from tensors, both ways; 0 stands before a raw image."""
    prefix = len(IMAGE).to_bytes(4, "little") if header else b""
    case = closed[f"{model}/infer"]["POST"].Case(
        body=header + prefix + IMAGE,
        media_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(len(header))},
    )

    answer = case.call_and_validate(base_url=pod.url)

    assert answer.status_code == 200
    length = int(answer.headers["inference-header-content-length"][0])
    outputs = json.loads(answer.content[:length])["outputs"]
    sizes = [output["parameters"]["binary_data_size"] for output in outputs]
    assert len(answer.content) == length + sum(sizes)


@pytest.mark.parametrize(("coding", "status"), [("zstd", 415), ("gzip", 400)])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/models/colours:predict"), ("GET", "/")])
def test_a_coded_body_is_refused_as_described(pod, method, path, coding, status):
    """On every route: a coding that is not taken, and data that are not in theirs."""
    case = closed[path][method].Case(headers={"Content-Encoding": coding})

    answer = case.call(base_url=pod.url, data=b"no gzip")
    case.validate_response(answer)

    assert status == answer.status_code


@opened.include(tag="repository").parametrize()
def test_an_open_repository_does_what_its_document_says(case, open_pod):
    """With the token; without it, or with another, nothing (``ignored_auth``)."""
    case.call_and_validate(base_url=open_pod.url)
