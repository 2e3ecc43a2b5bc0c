"""What gRPC messages hold and how large they may be; health and reflection, as tools use them."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from kserve.protocol.infer_type import InferResponse

from tests.end_to_end.conftest import MESSAGE_LIMIT
from tests.end_to_end.kserve_stub import best_labels, infer_request, kserve_stub
from tests.end_to_end.test_protocols import IMAGES, base64_text

SERVICE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING


def test_raw_contents_are_answered_raw(pod):
    """One raw blob for each output, and nothing typed."""
    with kserve_stub(pod) as stub:
        answer = stub.ModelInfer(infer_request(raw=True, typed=False))

    assert [output.name for output in answer.outputs] == ["indices", "scores", "labels"]
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
