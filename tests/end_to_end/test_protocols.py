"""Every protocol with its own real client, against two frontends and two instances."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton_http
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.conftest import COLOURS, colour_image

IMAGES = {colour: colour_image(colour) for colour in COLOURS}


def base64_text(data: bytes) -> str:
    """As JSON carries an image."""
    return base64.b64encode(data).decode()


def v2_json(*images: bytes, **more: object) -> dict[str, object]:
    """A v2 JSON request."""
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"content_type": "base64"},
        "data": [base64_text(image) for image in images],
    }
    return {"inputs": [tensor], **more}


@pytest.mark.parametrize("colour", COLOURS)
def test_v1_json_gives_a_label(pod, colour):
    """Both documented object forms and nested pixels, in one request."""
    pixels = np.zeros((16, 16, 3), int)
    pixels[:, :, COLOURS.index(colour)] = 255
    text = base64_text(IMAGES[colour])
    instances = [{"image_bytes": {"b64": text}}, {"b64": text}, pixels.tolist()]

    answer = httpx.post(f"{pod.url}/v1/models/colours:predict", json={"instances": instances})

    predictions = answer.json()["predictions"]
    assert [colour] * 3 == [prediction["label"] for prediction in predictions]
    assert COLOURS.index(colour) == predictions[0]["index"]
    assert predictions[0]["top"][0]["score"] == predictions[0]["score"]
    assert len(predictions[0]["top"]) == 3


def test_v1_answers_a_bad_instance_in_its_place(pod):
    """The good ones beside it are answered."""
    instances = [
        {"b64": base64_text(IMAGES["red"])},
        {"b64": base64_text(b"no image")},
        {"b64": "no base64!"},
        {"b64": base64_text(IMAGES["blue"])},
    ]

    answer = httpx.post(f"{pod.url}/v1/models/colours:predict", json={"instances": instances})

    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["predictions"]
    assert (first["label"], fourth["label"]) == ("red", "blue")
    assert "known format" in second["error"]
    assert "not base64" in third["error"]


def test_curl_sends_a_raw_image_by_put_and_by_post(pod, tmp_path):
    """``curl -T`` and ``curl --data-binary`` with an image type."""
    file = tmp_path / "green.jpg"
    file.write_bytes(IMAGES["green"])
    url = f"{pod.url}/v1/models/colours:predict"
    by_post = ["-H", "Content-Type: image/jpeg", "--data-binary", f"@{file}"]
    for arguments in (["-T", str(file)], by_post):
        ran = subprocess.run(["curl", "-sS", *arguments, url], capture_output=True, check=True)

        assert json.loads(ran.stdout)["predictions"][0]["label"] == "green"


def test_v2_json_gives_all_outputs_and_echoes_the_id(pod):
    """Shapes are [N, k]; the best class is first."""
    request = v2_json(IMAGES["red"], IMAGES["blue"], id="forty-two")

    answer = httpx.post(f"{pod.url}/v2/models/colours/versions/1/infer", json=request).json()

    outputs = {output["name"]: output for output in answer["outputs"]}
    assert answer["id"] == "forty-two"
    assert (answer["model_name"], answer["model_version"]) == ("colours", "1")
    assert list(outputs) == ["indices", "scores", "labels"]
    assert outputs["indices"]["shape"] == [2, 3]
    assert [outputs["indices"]["data"][0], outputs["indices"]["data"][3]] == [0, 2]
    assert [outputs["labels"]["data"][0], outputs["labels"]["data"][3]] == ["red", "blue"]
    assert outputs["scores"]["data"][0] > outputs["scores"]["data"][1]


def test_v2_refuses_a_request_with_a_bad_image_and_says_which(pod):
    """One answer for all: 400 with the place, counted from 0."""
    answer = httpx.post(
        f"{pod.url}/v2/models/colours/infer", json=v2_json(IMAGES["red"], b"no image")
    )

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("image 1: ")


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_triton_http_client_sends_raw_jpegs(pod, shape):
    """BYTES [N] and [N,1] in the binary extension, binary outputs back."""
    client = triton_http.InferenceServerClient(pod.http)
    images = np.array([IMAGES[colour] for colour in COLOURS], object).reshape(shape)
    tensor = triton_http.InferInput("image", list(shape), "BYTES")
    tensor.set_data_from_numpy(images)

    answer = client.infer("colours", [tensor])

    assert answer.as_numpy("indices")[:, 0].tolist() == [0, 1, 2]
    assert np.float32 == answer.as_numpy("scores").dtype
    assert answer.as_numpy("labels")[:, 0].tolist() == [b"red", b"green", b"blue"]
    client.close()


def test_triton_http_client_sends_pixels_and_chooses_outputs(pod):
    """UINT8 [N,H,W,3] of another size is resized; the outputs come in the order asked."""
    client = triton_http.InferenceServerClient(pod.http)
    pixels = np.zeros((2, 20, 30, 3), np.uint8)
    pixels[0, :, :, 1] = pixels[1, :, :, 2] = 255
    tensor = triton_http.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    wanted = [
        triton_http.InferRequestedOutput("labels", binary_data=False),
        triton_http.InferRequestedOutput("scores", class_count=2),
    ]

    answer = client.infer("colours", [tensor], outputs=wanted)

    described = answer.get_response()["outputs"]
    assert [output["name"] for output in described] == ["labels", "scores"]
    assert answer.as_numpy("labels")[0, 0] == "green"
    assert answer.as_numpy("scores")[1, 0].decode().endswith(":2:blue")
    client.close()


def test_triton_grpc_client(pod, tmp_path):
    """Raw contents in, raw contents out, metadata and readiness."""
    file = tmp_path / "green.jpg"
    file.write_bytes(IMAGES["green"])
    script = Path(__file__).with_name("ask_with_triton_grpc.py")

    ran = subprocess.run(
        [sys.executable, script, pod.grpc, "colours", file], capture_output=True, check=True
    )

    expected = {
        "id": "seven",
        "label": "green",
        "server_ready": True,
        "model_ready": True,
        "input_shape": [-1, 1],
        "refusal": "[StatusCode.NOT_FOUND] no model 'nobody' here",
    }
    assert expected == json.loads(ran.stdout)


def test_kserve_clients_get_the_same_answer_over_rest_and_grpc(pod):
    """KServe's own InferenceRESTClient (v1 and v2) and InferenceGRPCClient."""

    async def ask() -> tuple[str, int, int]:
        v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
        v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
        rpc = InferenceGRPCClient(pod.grpc)
        text = base64_text(IMAGES["blue"])
        tensor = InferInput("image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([IMAGES["blue"]], object), binary_data=True)
        request = InferRequest("colours", [tensor])
        old = await v1.infer(pod.url, {"instances": [{"b64": text}]}, model_name="colours")
        new = await v2.infer(pod.url, request, model_name="colours")
        over_grpc = await rpc.infer(request)
        await v1.close()
        await v2.close()
        await rpc.close()
        return (
            old["predictions"][0]["label"],
            int(new.outputs[0].as_numpy().ravel()[0]),
            int(over_grpc.outputs[0].as_numpy().ravel()[0]),
        )

    assert asyncio.run(ask()) == ("blue", 2, 2)


def test_metadata_and_health(pod):
    """Live, ready, names, versions, shapes, and what works."""
    client = httpx.Client(base_url=pod.url)

    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert client.get("/v2/models/colours/ready").json() == {"name": "colours", "ready": True}
    assert client.get("/v1/models/colours").json() == {"name": "colours", "ready": True}
    assert client.get("/v2/").json()["name"] == "millrace"
    model = client.get("/v2/models/colours").json()
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}]
    client.close()


def test_metrics_of_all_processes_come_in_one_scrape(pod):
    """Whichever frontend is asked, requests of both and batches of both instances are counted."""
    for _ in range(20):
        httpx.post(f"{pod.url}/v2/models/colours/infer", json=v2_json(*IMAGES.values()))

    text = httpx.get(f"{pod.url}/metrics").text

    assert 'millrace_requests_total{code="200",model="colours",protocol="v2",version="1"}' in text
    assert 'millrace_instance_up{instance="0",model="colours"} 1.0' in text
    assert 'millrace_instance_up{instance="1",model="colours"} 1.0' in text
    for stage in ("receive", "decode", "queue", "copy", "infer", "collect", "respond"):
        assert f'millrace_stage_seconds_count{{model="colours",stage="{stage}"}}' in text


BAD_REQUESTS = {
    "unknown model": ("POST", "/v2/models/nobody/infer", {}, b"{}", 404, "no model 'nobody'"),
    "unknown v1 model": ("POST", "/v1/models/nobody:predict", {}, b"{}", 404, "no model 'nobody'"),
    "unknown version": (
        "POST",
        "/v2/models/colours/versions/9/infer",
        {},
        b"{}",
        404,
        "version '9'",
    ),
    "unknown route": ("GET", "/nowhere", {}, b"", 404, "no route"),
    "wrong method": ("GET", "/v2/models/colours/infer", {}, b"", 405, "not allowed"),
    "no JSON": ("POST", "/v2/models/colours/infer", {}, b"{", 400, "not valid JSON"),
    "no object": ("POST", "/v2/models/colours/infer", {}, b"[]", 400, "JSON object"),
    "no inputs": ("POST", "/v2/models/colours/infer", {}, b"{}", 400, "inputs"),
    "no instances": (
        "POST",
        "/v1/models/colours:predict",
        {},
        b'{"instances":[]}',
        400,
        "at least one",
    ),
    "header length that lies": (
        "POST",
        "/v2/models/colours/infer",
        {"Inference-Header-Content-Length": "99"},
        b"{}",
        400,
        "is 99, the body has 2",
    ),
    "top_k out of range": (
        "POST",
        "/v2/models/colours/infer",
        {},
        json.dumps(v2_json(IMAGES["red"], parameters={"top_k": 9})).encode(),
        400,
        "1 to 3",
    ),
    "compressed body": (
        "POST",
        "/v2/models/colours/infer",
        {"Content-Encoding": "zstd"},
        b"{}",
        415,
        "zstd is not taken",
    ),
    "unknown output": (
        "POST",
        "/v2/models/colours/infer",
        {},
        json.dumps(v2_json(IMAGES["red"], outputs=[{"name": "nobody"}])).encode(),
        400,
        "unknown output",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_gets_its_status_and_a_reason(pod, name):
    """Always ``{"error": …}`` as plain application/json, on a connection that goes on."""
    method, path, headers, body, status, words = BAD_REQUESTS[name]
    with httpx.Client(base_url=pod.url) as client:
        answer = client.request(method, path, headers=headers, content=body)

        assert status == answer.status_code
        assert words in answer.json()["error"]
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        assert client.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    "instance",
    [[["x" * 10_000, *[""] * 1000]], [[[1, 2, 3], [4, 5]]], [[[1, 2, 0.5]]], [[[None, 1, 2]]], 7],
    ids=["text", "uneven", "fractions", "null", "number"],
)
def test_pixels_that_are_none_fail_in_their_place(pod, instance):
    """Whatever hides in the lists, the instance beside them is answered."""
    instances = [instance, {"b64": base64_text(IMAGES["red"])}]

    answer = httpx.post(f"{pod.url}/v1/models/colours:predict", json={"instances": instances})

    bad, good = answer.json()["predictions"]
    assert "error" in bad
    assert good["label"] == "red"
