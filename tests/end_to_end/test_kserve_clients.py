"""KServe's own clients and its stub through real sockets."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as kserve_pb2
from kserve.protocol.infer_type import RequestedOutput

from tests.conftest import COLOURS
from tests.end_to_end.conftest import TOKEN
from tests.end_to_end.kserve_stub import best_labels, kserve_stub
from tests.end_to_end.test_protocols import IMAGES, base64_text


def kserve_tensor(*images: bytes) -> InferInput:
    """A BYTES input in the binary form."""
    tensor = InferInput("image", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, object), binary_data=True)
    return tensor


def rest(protocol: str) -> InferenceRESTClient:
    """KServe's REST client."""
    return InferenceRESTClient(RESTConfig(protocol=protocol))


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
