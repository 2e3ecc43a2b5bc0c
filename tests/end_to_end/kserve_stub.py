"""Calls by the stub that KServe generates, in either form of a tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as kserve_pb2
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.end_to_end.conftest import Pod
from tests.end_to_end.test_protocols import IMAGES


def best_labels(response) -> list[str]:
    """The best label of every image, out of bytes or text."""
    values = response.get_output_by_name("labels").as_numpy()[:, 0].tolist()
    return [value.decode() if isinstance(value, bytes) else value for value in values]


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
