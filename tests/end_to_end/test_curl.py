"""curl through real sockets, in every form that people send an image."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.test_protocols import IMAGES, base64_text, v2_json

V1 = "v1/models/colours:predict"
V2 = "v2/models/colours/infer"
JSON_TYPE = ("-H", "Content-Type: application/json")
CURL = {
    "v1 JSON": (V1, *JSON_TYPE, "-d", "@v1.json"),
    "v1 JSON of no stated type": (V1, "-d", "@v1.json"),
    "v1 JSON, gzip": (V1, "-H", "Content-Encoding: gzip", "--data-binary", "@v1.json.gz"),
    "v1 image by POST": (V1, "-H", "Content-Type: image/jpeg", "--data-binary", "@green.jpg"),
    "v1 image by PUT": (V1, "-T", "green.jpg"),
    "v1 image, compressed answer": (V1, "--compressed", "-T", "green.jpg"),
    "v2 JSON": (V2, *JSON_TYPE, "-d", "@v2.json"),
    "v2 JSON, compressed answer": (V2, "--compressed", *JSON_TYPE, "-d", "@v2.json"),
    "v2 JSON, gzip": (
        *(V2, *JSON_TYPE),
        *("-H", "Content-Encoding: gzip", "--data-binary", "@v2.json.gz"),
    ),
    "v2 JSON in chunks": (V2, *JSON_TYPE, "-H", "Transfer-Encoding: chunked", "-d", "@v2.json"),
}


@pytest.fixture(scope="module")
def bodies(folder) -> Path:
    """The green image as every body that curl is given."""
    image = IMAGES["green"]
    v1 = json.dumps({"instances": [{"b64": base64_text(image)}]}).encode()
    v2 = json.dumps(v2_json(image, outputs=[{"name": "labels"}])).encode()
    for name, body in {"v1.json": v1, "v2.json": v2}.items():
        (folder / name).write_bytes(body)
        (folder / f"{name}.gz").write_bytes(gzip.compress(body))
    return folder


def curl(folder: Path, *arguments: str) -> bytes:
    """What curl prints; an error status is an error."""
    command = ["curl", "-sS", "--fail-with-body", *arguments]
    ran = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert ran.returncode == 0, ran
    return ran.stdout


@pytest.mark.parametrize("form", CURL)
def test_curl_sends_an_image_in_every_form(pod, bodies, form):
    """JSON and raw images, compressed and not, by POST and PUT."""
    path, *arguments = CURL[form]

    answer = json.loads(curl(bodies, *arguments, f"{pod.url}/{path}"))

    label = answer["predictions"][0]["label"] if path == V1 else answer["outputs"][0]["data"][0]
    assert label == "green"


def test_curl_sends_tritons_raw_binary_request(pod, bodies):
    """No header at all: the body is the one image, and all outputs come back binary."""
    raw = ("-H", "Inference-Header-Content-Length: 0", "--data-binary", "@green.jpg")

    answer = curl(bodies, *raw, f"{pod.url}/{V2}")

    end = answer.index(b"]}") + 2
    described = json.loads(answer[:end])["outputs"]
    sizes = [output["parameters"]["binary_data_size"] for output in described]
    assert len(answer) - end == sum(sizes)
    assert answer[end + sizes[0] + sizes[1] :].startswith(b"\5\0\0\0green")
