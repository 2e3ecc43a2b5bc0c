"""What goes wrong over gRPC, and who watches a pod's health."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from predictor.protocol.messages import SERVICE, message
from tests.conftest import colour_image
from tests.end_to_end.conftest import START_S

WAIT_S = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def infer(pod, request: Any) -> Any:
    """Send one request."""
    with grpc.insecure_channel(pod.grpc) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=message("ModelInferRequest").SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )
        return call(request, timeout=WAIT_S)


def one_image(model: str = "colours") -> Any:
    """A request with an image."""
    request = message("ModelInferRequest")(model_name=model)
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(colour_image("red"))
    return request


def test_a_shape_of_millions_costs_a_comparison(pod):
    """It is refused by its length, before any of it is looked at."""
    request = one_image()
    request.inputs[0].shape.extend([1] * 5_000_000)

    with pytest.raises(grpc.RpcError) as refused:
        infer(pod, request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "at most 4 numbers" in refused.value.details()


def test_parameters_without_end_are_refused(pod):
    """By their number."""
    request = one_image()
    for number in range(1000):
        request.parameters[str(number)].bool_param = True

    with pytest.raises(grpc.RpcError) as refused:
        infer(pod, request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1000 parameters" in refused.value.details()


def test_calls_for_another_model_are_not_counted_as_this_ones(start, colours):
    """As over HTTP: neither a failure in the statistics nor a request in the metrics."""
    pod = start(colours, "--drain-delay-s", "0")

    with pytest.raises(grpc.RpcError) as refused:
        infer(pod, one_image("nobody"))

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    stats = httpx.get(f"{pod.url}/v2/models/colours/stats").json()["model_stats"][0]
    assert stats["inference_stats"]["fail"]["count"] == 0
    counted = [
        sample.value
        for family in text_string_to_metric_families(httpx.get(f"{pod.url}/metrics").text)
        for sample in family.samples
        if sample.name == "millrace_requests_total"
    ]
    assert set(counted) == {0}


class Watcher:
    """A client that watches one service's health."""

    def __init__(self, pod, service: str) -> None:
        self.seen: queue.Queue[int] = queue.Queue()
        self._channel = grpc.insecure_channel(pod.grpc)
        stub = health_pb2_grpc.HealthStub(self._channel)
        self._stream = stub.Watch(health_pb2.HealthCheckRequest(service=service))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for answer in self._stream:
                self.seen.put(answer.status)
        except grpc.RpcError:
            pass

    def leave(self) -> None:
        """Watch no more."""
        self._stream.cancel()
        self._thread.join(WAIT_S)
        self._channel.close()


def test_a_watcher_hears_of_each_change_whoever_else_leaves(start, colours):
    """Two watch, one leaves, the other one hears that the model is unloaded, and loaded again."""
    pod = start(colours, "--repository-token", "t", "--drain-delay-s", "0")
    leaving, staying = Watcher(pod, "readiness"), Watcher(pod, "")
    assert (leaving.seen.get(timeout=WAIT_S), staying.seen.get(timeout=WAIT_S)) == (SERVING,) * 2
    leaving.leave()

    for action, status in (("unload", NOT_SERVING), ("load", SERVING)):
        url = f"{pod.url}/v2/repository/models/colours/{action}"
        httpx.post(url, headers={"Authorization": "Bearer t"}, timeout=WAIT_S).raise_for_status()
        assert staying.seen.get(timeout=WAIT_S) == status
    staying.leave()


def test_a_stop_does_not_wait_for_watchers(start, colours):
    """They carry no work: they are told, and let go."""
    pod = start(colours, "--drain-delay-s", "0", "--drain-timeout-s", "3600")
    watcher = Watcher(pod, "")
    assert watcher.seen.get(timeout=WAIT_S) == SERVING

    code = pod.stop()

    assert code == 0
    assert watcher.seen.get(timeout=WAIT_S) == NOT_SERVING
    watcher.leave()


def test_another_pods_grpc_port_is_not_shared(pod, colours):
    """The kernel would let both listen, and spread the calls over two models."""
    port = pod.grpc.rpartition(":")[2]
    command = [sys.executable, "-m", "millrace", "serve", colours.path, "--host", "127.0.0.1"]

    ran = subprocess.run(
        [*command, "--http-port", "0", "--grpc-port", port],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )

    assert ran.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
