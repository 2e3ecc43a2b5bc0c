"""Every client that people have, through real sockets, in the forms that they use it in."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as kserve_pb2
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import InferResponse, RequestedOutput

from model_store.package import ModelPackage
from tests.conftest import COLOURS
from tests.end_to_end.conftest import Pod
from tests.end_to_end.test_protocols import IMAGES, base64_text, v2_json

TRITON_CLIENTS = ("http", "http.aio", "grpc", "grpc.aio")
TOKEN = "a-repository-token"
MESSAGE_LIMIT = 100_000  # bytes
SERVICE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
WAIT_S = 30
EVERY_TENSOR = {"indices": "INT64", "scores": "FP32", "labels": "BYTES"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One JPEG of every colour, as files."""
    folder = tmp_path_factory.mktemp("images")
    for colour, image in IMAGES.items():
        (folder / f"{colour}.jpg").write_bytes(image)
    return folder


@pytest.fixture(scope="module")
def guarded(colours: ModelPackage) -> Iterator[Pod]:
    """A pod of one instance with an open repository and a narrow gRPC limit."""
    token = ("--repository-token", TOKEN)
    limit = ("--grpc-max-message-bytes", str(MESSAGE_LIMIT))
    running = Pod(colours.path, "--frontends", "2", *token, *limit, "--drain-delay-s", "0")
    yield running
    running.close()


class Said:
    """What one of tritonclient's clients was told, by question."""

    def __init__(self, client: str, url: str, *arguments: object) -> None:
        self.grpc = client.startswith("grpc")
        script = Path(__file__).with_name("clients") / "triton.py"
        command = [sys.executable, script, client, url, *arguments]
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
        self._answers = json.loads(ran.stdout)

    def __getitem__(self, question: str):
        answer = self._answers[question]
        failed = isinstance(answer, dict) and answer.get("failed")
        assert not failed, f"{question}: {failed}"
        return answer

    def status(self, http: str, grpc: str) -> str:
        """The status expected over this client's protocol."""
        return grpc if self.grpc else http


@pytest.fixture(scope="module", params=TRITON_CLIENTS)
def said(request, pod, folder) -> Said:
    """A conversation about inference by each of the four clients."""
    url = pod.grpc if request.param.startswith("grpc") else pod.http
    return Said(request.param, url, "infer", folder)


def until(happened: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "it never came"


# tritonclient


def test_triton_counts_are_exactly_what_was_sent(said):
    """Two requests of four images succeed and one fails; durations count requests."""
    durations = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    expected = {"fail": 1, "inference_count": 4, "images in batches": 4}

    assert expected | dict.fromkeys(durations, 2) == said["statistics"]


def test_triton_finds_everything_ready(said):
    """Server live, server ready, model ready, and its version."""
    assert said["health"] == [True] * 4


def test_triton_finds_no_unknown_version_ready(said):
    """Over HTTP tritonclient says False to a 404; over gRPC it raises what it is told."""
    answer = said["unknown_version_ready"]

    assert said.status("OK", "NOT_FOUND") == answer["status"]
    assert said.status("False", "no version '9' of model 'colours' here") == answer["text"]


def test_triton_reads_the_server_metadata(said):
    """Name, version and the extensions that work; the repository is not among them here."""
    answer = said["server_metadata"]

    assert answer["name"] == "millrace"
    assert answer["version"]
    assert {"binary_tensor_data", "classification", "statistics"} <= set(answer["extensions"])
    assert "model_repository" not in answer["extensions"]


def test_triton_reads_the_model_metadata(said):
    """The first dimension is the batch's."""
    tensors = [["image", "BYTES", [-1, 1]]]
    tensors += [[name, datatype, [-1, 3]] for name, datatype in EVERY_TENSOR.items()]

    assert {"name": "colours", "versions": ["1"], "tensors": tensors} == said["model_metadata"]


def test_triton_reads_the_model_config(said):
    """It batches, so dimensions leave the batch's out."""
    tensors = [
        ["image", "TYPE_STRING", [1]],
        ["indices", "TYPE_INT64", [3]],
        ["scores", "TYPE_FP32", [3]],
        ["labels", "TYPE_STRING", [3]],
    ]

    assert {"name": "colours", "batches": True, "tensors": tensors} == said["model_config"]


def test_triton_sends_encoded_images(said):
    """BYTES [N] and [N,1]; all outputs come back with types and the best class first."""
    for answer in said["encoded_images"]:
        assert answer["ids"][1:] == ["colours", "1"]
        assert answer["datatypes"] == EVERY_TENSOR
        assert [row[0] for row in answer["outputs"]["labels"]] == list(COLOURS)
        assert [row[0] for row in answer["outputs"]["indices"]] == [0, 1, 2]
        assert all(row == sorted(row, reverse=True) for row in answer["outputs"]["scores"])


def test_triton_sends_pixels(said):
    """UINT8 and FP32 [N,H,W,3] get the same answers."""
    assert said["pixels"] == [["green", "blue"], ["green", "blue"]]


def test_triton_chooses_outputs(said):
    """Those asked for, in the order asked."""
    outputs = said["chosen_outputs"]

    assert list(outputs) == ["labels", "indices"]
    assert outputs["labels"][0][0] == "blue"
    assert outputs["indices"][0][0] == 2


def test_triton_asks_for_classes(said):
    """``score:index:label``, best first; asking for more than there are gives all."""
    two, many = said["classification"]

    assert [len(two[0]), len(many[0])] == [2, 3]
    for (first, *others), *_ in (two, many):
        assert re.fullmatch(r"0\.\d+:2:blue", first)
        assert all(re.fullmatch(r"[\d.e-]+:[01]:(red|green)", other) for other in others)


def test_triton_gets_its_id_back(said):
    """And one of the server's making where it gave none."""
    given, generated = said["ids"]

    assert given == ["forty-two", "colours", "1"]
    assert generated


def test_triton_states_a_priority(said):
    """Any is answered."""
    assert said["priority"] == [["green"], ["green"]]


def test_triton_is_answered_within_its_timeout(said):
    """An ample one changes nothing."""
    assert said["ample_timeout"] == ["green"]


def test_triton_is_told_of_a_timeout_that_cannot_be_met(said):
    """One microsecond: late, or too much to ask."""
    late = said.status("504", "DEADLINE_EXCEEDED")
    too_much = said.status("503", "RESOURCE_EXHAUSTED")

    assert said["hopeless_timeout"]["status"] in (late, too_much)


def test_triton_sends_parameters(said):
    """``top_k`` is obeyed; others, of whatever type, are ignored."""
    ((first, second),) = said["parameters"]

    assert first == 0
    assert second in (1, 2)


def test_triton_compresses(said):
    """Gzip and deflate, of requests and responses."""
    assert said["compression"] == [list(COLOURS)] * 2


def test_triton_asks_several_at_once(said):
    """Everybody gets the answer to their own request."""
    assert [[colour] for colour in COLOURS] == said["several_at_once"]


def test_triton_is_refused_what_does_not_exist(said):
    """Not found, with words that name it; also where only descriptions are asked."""
    refusals = said["refusals"]
    missing = said.status("404", "NOT_FOUND")

    for name in ("model", "metadata", "config", "statistics"):
        assert [missing, "no model 'nobody' here"] == list(refusals[name].values())
    assert refusals["version"]["status"] == missing
    assert "version '9'" in refusals["version"]["text"]


def test_triton_reads_long_refusals(said):
    """http.aio says that it takes gzip, and reads it in answers to inference only."""
    refusal = said["refusals"]["long name"]

    assert refusal["status"] == said.status("404", "NOT_FOUND")
    assert refusal["text"].startswith("no model 'nobodynobody")


def test_triton_is_refused_what_is_wrong(said):
    """An unknown output; a request with a bad image, whose place is named."""
    refusals = said["refusals"]
    invalid = said.status("400", "INVALID_ARGUMENT")

    assert [invalid, invalid] == [refusals[name]["status"] for name in ("output", "image")]
    assert "unknown output 'nobody'" in refusals["output"]["text"]
    assert refusals["image"]["text"].startswith("image 1: ")


def test_triton_is_refused_shared_memory(said):
    """An output that is looked for where it never comes would be worse."""
    invalid = said.status("400", "INVALID_ARGUMENT")

    for refusal in said["shared_memory"]:
        assert refusal["status"] == invalid
        assert "shared memory" in refusal["text"]


def test_triton_makes_and_reads_bodies_that_others_carry(said):
    """``generate_request_body`` and ``parse_response_body``; gRPC has no such thing."""
    assert said.status(["by hand", ["green"]], None) == said["body_by_hand"]


def test_triton_finds_the_repository_closed(said):
    """Index, load and unload are off without a token of the pod's."""
    assert len(said["closed_repository"]) == 3
    assert set(said["closed_repository"]) <= ({"UNAVAILABLE"} if said.grpc else {"404", "501"})


@pytest.mark.parametrize("client", TRITON_CLIENTS)
def test_triton_unloads_and_loads_the_model(guarded, folder, client):
    """With the token; without it, or with another, everything is refused."""
    url = guarded.grpc if client.startswith("grpc") else guarded.http
    said = Said(client, url, "repository", folder, TOKEN)
    answer = said["repository"]

    ready = [[["colours", "1", "READY"]], True]
    assert [said.status("401", "UNAUTHENTICATED")] * 4 == answer["refused"]
    assert said.status("404", "NOT_FOUND") == answer["unknown"]
    assert [ready, ready] == [answer["before"], answer["loaded"]]
    assert answer["unloaded"] == [[["colours", "1", "UNAVAILABLE"]], False]
    assert answer["infer"] in (("UNAVAILABLE", "NOT_FOUND") if said.grpc else ("404", "503"))
    assert answer["labels"] == ["red"]


# KServe


def kserve_tensor(*images: bytes) -> InferInput:
    """A BYTES input in the binary form."""
    tensor = InferInput("image", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, object), binary_data=True)
    return tensor


def rest(protocol: str) -> InferenceRESTClient:
    """KServe's REST client."""
    return InferenceRESTClient(RESTConfig(protocol=protocol))


def best_labels(response) -> list[str]:
    """The best label of every image, out of bytes or text."""
    values = response.get_output_by_name("labels").as_numpy()[:, 0].tolist()
    return [value.decode() if isinstance(value, bytes) else value for value in values]


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserve_rest_client_finds_everything_ready(pod, protocol):
    """Live, model ready and, in v2, server ready; an unknown model is not."""

    async def ask() -> list[object]:
        async with rest(protocol) as client:
            live = await client.is_server_live(pod.url)
            ready = protocol == "v1" or await client.is_server_ready(pod.url)
            return [live, ready, await client.is_model_ready(pod.url, "colours")]

    assert asyncio.run(ask()) == [True, True, True]


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserve_rest_client_shows_the_servers_words(pod, protocol):
    """It reads them only from a body whose type is exactly application/json."""
    image = kserve_tensor(IMAGES["red"])
    request = {"instances": [1]} if protocol == "v1" else InferRequest("nobody", [image])

    async def ask() -> None:
        async with rest(protocol) as client:
            await client.infer(pod.url, request, model_name="nobody")

    with pytest.raises(httpx.HTTPStatusError, match=r"no model 'nobody' here, '404 Not Found'"):
        asyncio.run(ask())


def test_kserve_rest_client_infers_by_v1(pod):
    """Base64 instances."""

    async def ask() -> list[str]:
        async with rest("v1") as client:
            instances = [{"b64": base64_text(image)} for image in IMAGES.values()]
            said = await client.infer(pod.url, {"instances": instances}, model_name="colours")
            return [prediction["label"] for prediction in said["predictions"]]

    assert list(COLOURS) == asyncio.run(ask())


@pytest.mark.parametrize("binary", [False, True])
def test_kserve_rest_client_infers_by_v2(pod, binary):
    """Binary images; JSON outputs or binary ones, some of them, in the order asked."""
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("labels", "scores")]
    request = InferRequest("colours", [kserve_tensor(*IMAGES.values())], request_outputs=outputs)

    async def ask():
        async with rest("v2") as client:
            return await client.infer(pod.url, request, model_name="colours")

    response = asyncio.run(ask())
    assert [output.name for output in response.outputs] == ["labels", "scores"]
    assert list(COLOURS) == best_labels(response)


def test_kserve_rest_client_sends_base64_in_json(pod):
    """The JSON form of its own tensors."""
    tensor = InferInput("image", [2, 1], "BYTES")
    texts = [[base64_text(IMAGES["green"])], [base64_text(IMAGES["red"])]]
    tensor.set_data_from_numpy(np.array(texts, object), binary_data=False)

    async def ask():
        async with rest("v2") as client:
            request = InferRequest("colours", [tensor])
            return await client.infer(pod.url, request, model_name="colours")

    assert best_labels(asyncio.run(ask())) == ["green", "red"]


def test_kserve_grpc_client_finds_everything_ready(pod):
    """Live, ready, model ready."""

    async def ask() -> list[bool]:
        async with InferenceGRPCClient(pod.grpc) as client:
            return [
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready("colours"),
            ]

    assert asyncio.run(ask()) == [True, True, True]


def test_kserve_grpc_client_is_told_of_an_unknown_model(pod):
    """NOT_FOUND, from inference and readiness alike."""

    async def ask() -> list[grpc.StatusCode]:
        codes = []
        async with InferenceGRPCClient(pod.grpc) as client:
            request = InferRequest("nobody", [kserve_tensor(IMAGES["red"])])
            for call in (client.infer(request), client.is_model_ready("nobody")):
                try:
                    await call
                except grpc.RpcError as error:
                    codes.append(error.code())
        return codes

    assert asyncio.run(ask()) == [grpc.StatusCode.NOT_FOUND] * 2


def test_kserve_grpc_client_infers_with_raw_and_with_typed_contents(pod):
    """Both forms of its tensors."""
    typed = InferInput("image", [3], "BYTES", data=list(IMAGES.values()))

    async def ask() -> list[list[str]]:
        async with InferenceGRPCClient(pod.grpc) as client:
            tensors = (kserve_tensor(*IMAGES.values()), typed)
            said = [await client.infer(InferRequest("colours", [tensor])) for tensor in tensors]
            return [best_labels(response) for response in said]

    assert [list(COLOURS)] * 2 == asyncio.run(ask())


def test_kserve_stub_reads_metadata(pod):
    """What its clients have no method for."""
    with kserve_stub(pod) as stub:
        server = stub.ServerMetadata(kserve_pb2.ServerMetadataRequest())
        model = stub.ModelMetadata(kserve_pb2.ModelMetadataRequest(name="colours"))

    assert server.name == "millrace"
    assert [(tensor.name, list(tensor.shape)) for tensor in model.inputs] == [("image", [-1, 1])]


def test_kserve_stub_unloads_and_loads_the_model(guarded):
    """Its messages have the model's name where Triton's have the repository's."""
    shown = (("authorization", f"Bearer {TOKEN}"),)
    unload = kserve_pb2.RepositoryModelUnloadRequest(model_name="colours")
    load = kserve_pb2.RepositoryModelLoadRequest(model_name="colours")
    ready = kserve_pb2.ModelReadyRequest(name="colours")
    with kserve_stub(guarded) as stub:
        unloaded = stub.RepositoryModelUnload(unload, metadata=shown)
        ready_then = stub.ModelReady(ready).ready
        loaded = stub.RepositoryModelLoad(load, metadata=shown)
        ready_again = stub.ModelReady(ready).ready
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelUnload(unload)

    assert (unloaded.model_name, unloaded.isUnloaded) == ("colours", True)
    assert (loaded.model_name, loaded.isLoaded) == ("colours", True)
    assert (ready_then, ready_again) == (False, True)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


# gRPC


@contextlib.contextmanager
def kserve_stub(pod: Pod) -> Iterator[GRPCInferenceServiceStub]:
    """The generated stub on a channel of its own."""
    with grpc.insecure_channel(pod.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def infer_request(
    *, raw: bool, typed: bool, image: bytes = IMAGES["green"]
) -> kserve_pb2.ModelInferRequest:
    """One image, in either form or both."""
    tensor = kserve_pb2.ModelInferRequest.InferInputTensor(
        name="image", datatype="BYTES", shape=[1]
    )
    if typed:
        tensor.contents.bytes_contents.append(image)
    element = len(image).to_bytes(4, "little") + image
    return kserve_pb2.ModelInferRequest(
        model_name="colours", inputs=[tensor], raw_input_contents=[element] if raw else []
    )


def test_raw_contents_are_answered_raw(pod):
    """One raw blob for each output, and nothing typed."""
    with kserve_stub(pod) as stub:
        answer = stub.ModelInfer(infer_request(raw=True, typed=False))

    assert [output.name for output in answer.outputs] == list(EVERY_TENSOR)
    assert not any(output.HasField("contents") for output in answer.outputs)
    assert len(answer.raw_output_contents) == 3
    assert np.frombuffer(answer.raw_output_contents[0], "<i8")[0] == 1


def test_typed_contents_are_answered_typed(pod):
    """Each output's contents in the field of its type, and nothing raw."""
    with kserve_stub(pod) as stub:
        answer = stub.ModelInfer(infer_request(raw=False, typed=True))

    indices, scores, labels = (output.contents for output in answer.outputs)
    assert indices.int64_contents[0] == 1
    assert len(scores.fp32_contents) == 3
    assert labels.bytes_contents[0] == b"green"
    assert list(answer.raw_output_contents) == []


@pytest.mark.parametrize("both", [True, False])
def test_contents_in_both_forms_or_in_none_are_refused(pod, both):
    """INVALID_ARGUMENT: nobody can say which is meant."""
    with kserve_stub(pod) as stub, pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(infer_request(raw=both, typed=both))

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("raw", [True, False])
def test_declared_base64_is_decoded_over_grpc(pod, raw):
    """``content_type: base64`` of the tensor, as in REST."""
    request = infer_request(raw=raw, typed=not raw, image=base64_text(IMAGES["green"]).encode())
    request.inputs[0].parameters["content_type"].string_param = "base64"
    with kserve_stub(pod) as stub:
        answer = InferResponse.from_grpc(stub.ModelInfer(request))

    assert best_labels(answer) == ["green"]


def test_a_message_over_the_limit_is_refused_with_the_number(guarded):
    """RESOURCE_EXHAUSTED; what is below the limit is answered on the same channel."""
    large = infer_request(raw=False, typed=True, image=bytes(MESSAGE_LIMIT))
    with kserve_stub(guarded) as stub:
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(large)
        answer = stub.ModelInfer(infer_request(raw=False, typed=True))

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MESSAGE_LIMIT) in refused.value.details()
    assert answer.outputs[2].contents.bytes_contents[0] == b"green"


def test_grpc_health_is_served_for_every_name_that_probes_use(pod):
    """The whole server, the service, readiness and liveness; others do not exist."""
    with grpc.insecure_channel(pod.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        statuses = [
            stub.Check(health_pb2.HealthCheckRequest(service=name)).status
            for name in ("", SERVICE, "readiness", "liveness")
        ]
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))

    assert statuses == [SERVING] * 4
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_is_enough_to_make_a_call(pod):
    """The services are listed, and ModelConfig can be called without a .proto file."""
    with grpc.insecure_channel(pod.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        service = DescriptorPool(database).FindServiceByName(SERVICE)
        method = service.FindMethodByName("ModelConfig")
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(GetMessageClass(method.input_type)(name="colours"))

    assert {SERVICE, "grpc.health.v1.Health"} <= services
    assert answer.config.name == "colours"
    assert [list(tensor.dims) for tensor in answer.config.input] == [[1]]


# Clients that leave


def images_that(pod: Pod, *outcomes: str) -> int:
    """How many images had one of these outcomes, by the pod's metrics."""
    return int(metric(pod, "millrace_images_total", f'outcome="(?:{"|".join(outcomes)})"'))


def metric(pod: Pod, name: str, label: str = "") -> float:
    """The sum of a metric's samples whose labels match."""
    text = httpx.get(f"{pod.url}/metrics").text
    found = re.findall(rf"^{name}\{{[^}}]*{label}[^}}]*\}} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def failures(pod: Pod) -> int:
    """How many requests failed, by the pod's statistics."""
    stats = httpx.get(f"{pod.url}/v2/models/colours/stats").json()["model_stats"][0]
    return stats["inference_stats"]["fail"]["count"]


@contextlib.contextmanager
def cancelled_call(pod: Pod) -> Iterator[None]:
    """A gRPC call that its client cancels."""
    with kserve_stub(pod) as stub:
        call = stub.ModelInfer.future(infer_request(raw=True, typed=False))
        yield
        call.cancel()


@contextlib.contextmanager
def late_call(pod: Pod) -> Iterator[None]:
    """A gRPC call whose deadline passes."""
    with kserve_stub(pod) as stub:
        call = stub.ModelInfer.future(infer_request(raw=True, typed=False), timeout=3)
        yield
        assert call.exception(WAIT_S).code() == grpc.StatusCode.DEADLINE_EXCEEDED


@contextlib.contextmanager
def hung_up_request(pod: Pod) -> Iterator[None]:
    """An HTTP request whose client closes the connection."""
    host, port = pod.http.split(":")
    head = (
        "PUT /v1/models/colours:predict HTTP/1.1\r\nHost: pod\r\n"
        f"Content-Length: {len(IMAGES['green'])}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        connection.sendall(head.encode() + IMAGES["green"])
        yield


@pytest.mark.parametrize("request_of", [cancelled_call, late_call, hung_up_request])
def test_the_image_of_a_client_that_leaves_is_never_computed(guarded, request_of):
    """It waits at an instance that stands still; its client leaves, and the instance goes on."""
    (instance,) = guarded.instances()
    until(lambda: metric(guarded, "millrace_queue_depth") == 0)
    computed, dropped = images_that(guarded, "done"), images_that(guarded, "abandoned", "expired")
    failed = failures(guarded)
    instance.suspend()
    try:
        with request_of(guarded):
            until(lambda: metric(guarded, "millrace_queue_depth") == 1)
        until(lambda: failures(guarded) == failed + 1)
    finally:
        instance.resume()

    until(lambda: images_that(guarded, "abandoned", "expired") == dropped + 1)
    answer = httpx.put(f"{guarded.url}/v1/models/colours:predict", content=IMAGES["green"])
    assert answer.status_code == 200
    until(lambda: images_that(guarded, "done") > computed)
    assert computed + 1 == images_that(guarded, "done")


# curl

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
